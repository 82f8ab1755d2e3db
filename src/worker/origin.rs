//! Dialling an admitted node and upgrading the connection to WebSocket.

use super::conn::Outbox;
use super::net::Sock;
use super::scratch;
use crate::config::Origins;
use crate::metrics::DialOutcome;
use crate::proto::admission::Admitted;
use crate::proto::head::{self, HeadLimits};
use crate::proto::upgrade::{Agreed, Upgrade, UpgradeFault};
use std::io::ErrorKind;
use std::net::SocketAddr;

/// A node's answer to an upgrade is small; Tomcat's limit is the same.
const RESPONSE: HeadLimits = HeadLimits { head_size_max: 8192, target_size_max: 8192, headers_max: 64 };

/// Bytes that a node may send together with its 101.
const EARLY_MAX: usize = 64 * 1024;

/// An upgraded connection to a node.
pub(super) struct Opened {
    pub sock: Sock,
    pub agreed: Agreed,
    /// Bytes that came together with the node's 101.
    pub early: Vec<u8>,
}

/// Why a node can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialFault {
    /// Refused, unreachable, or reset.
    Refused,
    /// This machine has no descriptor, port or memory left for it: no fault of the node.
    Exhausted,
    ConnectTimeout,
    /// Connected, but no whole answer in time.
    UpgradeTimeout,
    /// An answer that is no right 101; `None` is one that is no HTTP, or that ended early.
    BadHandshake(Option<UpgradeFault>),
}

impl DialFault {
    /// Its label in the metrics.
    pub(super) const fn outcome(self) -> DialOutcome {
        match self {
            Self::Refused => DialOutcome::Refused,
            Self::Exhausted => DialOutcome::Exhausted,
            Self::ConnectTimeout => DialOutcome::Timeout,
            Self::UpgradeTimeout => DialOutcome::UpgradeTimeout,
            Self::BadHandshake(_) => DialOutcome::BadHandshake,
        }
    }
}

/// Dials and upgrades. Dropping the future closes the socket: a client that leaves cancels its dial.
pub(super) async fn open(
    admitted: &Admitted,
    upgrade: &Upgrade,
    client: SocketAddr,
    config: &Origins,
) -> Result<Opened, DialFault> {
    let address = admitted.address();
    let sock = monoio::time::timeout(config.connect_timeout, Sock::connect(address))
        .await
        .map_err(|_| DialFault::ConnectTimeout)?
        .map_err(|e| connect_fault(&e))?;
    let request = upgrade.request(address, client);
    monoio::time::timeout(config.upgrade_timeout, exchange(sock, &request, upgrade))
        .await
        .unwrap_or(Err(DialFault::UpgradeTimeout))
}

fn connect_fault(e: &std::io::Error) -> DialFault {
    match e.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => {
            tracing::warn!(error = %e, "a node could not be dialled for want of descriptors, ports or memory");
            DialFault::Exhausted
        }
        _ => DialFault::Refused,
    }
}

async fn exchange(sock: Sock, request: &[u8], upgrade: &Upgrade) -> Result<Opened, DialFault> {
    let mut out = Outbox::default();
    out.send(&sock, request).map_err(|_| DialFault::Refused)?;
    while !out.is_empty() {
        sock.writable().await;
        out.flush(&sock).map_err(|_| DialFault::Refused)?;
    }
    let mut bytes = Vec::new();
    let mut seen = 0;
    loop {
        match head::response(&bytes, seen, &RESPONSE) {
            Err(_) => return Err(DialFault::BadHandshake(None)),
            Ok(Some((response, used))) => {
                let agreed =
                    upgrade.check(&response).map_err(|fault| DialFault::BadHandshake(Some(fault)))?;
                return Ok(Opened { sock, agreed, early: bytes.split_off(used) });
            }
            Ok(None) => seen = bytes.len(),
        }
        sock.readable().await;
        let taken = scratch::with(|scratch| {
            let taken = sock.recv(&mut scratch.input[..EARLY_MAX])?;
            bytes.extend_from_slice(&scratch.input[..taken]);
            Ok::<_, std::io::Error>(taken)
        });
        match taken {
            Ok(0) => return Err(DialFault::BadHandshake(None)),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Err(DialFault::Refused),
        }
    }
}
