//! A connection to an admitted node, and plain bytes over it.

use crate::metrics::DialOutcome;
use crate::proto::admission::Admitted;
use crate::proto::http::head::HeadLimits;
use crate::proto::websocket::upgrade::UpgradeFault;
use crate::worker::io::buffers;
use crate::worker::io::outbox::Outbox;
use crate::worker::io::runtime;
use crate::worker::io::socket::Sock;
use std::io::ErrorKind;
use std::time::Duration;

/// A node's heads are small; Tomcat's own limit is the same.
pub(crate) const HEAD: HeadLimits =
    HeadLimits { head_size_max: 8192, target_size_max: 8192, headers_max: 64 };

/// Whether a node reads a request head of so many bytes. It might answer a longer one by a reset, which looks like a node
/// that is down: one client could have it avoided by all.
pub(crate) const fn takes_head(size: usize) -> bool {
    size <= HEAD.head_size_max
}

/// Bytes taken at once.
const RECEIVE: usize = 16 * 1024;

/// Why a node can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialFault {
    /// Refused or unreachable.
    Refused,
    /// Connected, but the connection broke before an answer.
    Broken,
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
    pub(crate) const fn outcome(self) -> DialOutcome {
        match self {
            Self::Refused | Self::Broken => DialOutcome::Refused,
            Self::Exhausted => DialOutcome::Exhausted,
            Self::ConnectTimeout => DialOutcome::Timeout,
            Self::UpgradeTimeout => DialOutcome::UpgradeTimeout,
            Self::BadHandshake(_) => DialOutcome::BadHandshake,
        }
    }

    /// Whether bytes of the request may have reached the node.
    pub(crate) const fn reached(self) -> bool {
        !matches!(self, Self::Refused | Self::Exhausted | Self::ConnectTimeout)
    }
}

/// Connects to a node that may be dialled.
pub(crate) async fn connect(admitted: &Admitted, patience: Duration) -> Result<Sock, DialFault> {
    runtime::timeout(patience, Sock::connect(admitted.address()))
        .await
        .map_err(|_| DialFault::ConnectTimeout)?
        .map_err(|e| connect_fault(&e))
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

/// Sends all of a request.
pub(crate) async fn send(sock: &Sock, request: &[u8]) -> Result<(), DialFault> {
    let mut out = Outbox::default();
    out.send(sock, request).map_err(|_| DialFault::Broken)?;
    while !out.is_empty() {
        sock.writable().await;
        out.flush(sock).map_err(|_| DialFault::Broken)?;
    }
    Ok(())
}

/// Waits for bytes and appends them; 0 is the end.
pub(crate) async fn receive(sock: &Sock, bytes: &mut Vec<u8>) -> Result<usize, DialFault> {
    loop {
        sock.readable().await;
        let taken = buffers::with(|scratch| {
            let taken = sock.recv(&mut scratch.input[..RECEIVE])?;
            bytes.extend_from_slice(&scratch.input[..taken]);
            Ok::<_, std::io::Error>(taken)
        });
        match taken {
            Ok(taken) => return Ok(taken),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Err(DialFault::Broken),
        }
    }
}
