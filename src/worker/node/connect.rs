//! A TCP connection to an admitted node, and bytes over it.

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

/// Limits for the heads of nodes. These are small; 8 KiB is also the limit of Tomcat, which runs a node's HTTP.
pub(crate) const HEAD_LIMITS: HeadLimits =
    HeadLimits { head_size_max: 8192, target_size_max: 8192, headers_max: 64 };

/// Whether a node reads a request head of `size` bytes. A node may answer a longer one with a reset, which looks like a
/// node that is down: one client could make all sessions avoid a healthy node.
pub(crate) const fn takes_head(size: usize) -> bool {
    size <= HEAD_LIMITS.head_size_max
}

/// Most bytes that are received at once.
const RECEIVE_MAX: usize = 16 * 1024;

/// Why a node did not serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialFault {
    /// The node refused the connection or is unreachable.
    Refused,
    /// Connected, but the connection broke before an answer.
    Broken,
    /// This machine has no descriptor, port or memory left for a connection; the node is not at fault.
    Exhausted,
    /// No connection in time.
    ConnectTimeout,
    /// Connected, but no whole answer in time.
    UpgradeTimeout,
    /// The answer is not what was asked for: a wrong 101, with its fault, or `None` for one that is no valid HTTP, has an
    /// unusable status, or ended early.
    BadHandshake(Option<UpgradeFault>),
}

impl DialFault {
    /// The label in the metrics.
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

/// Connects to an admitted node within `timeout`.
pub(crate) async fn connect(admitted: &Admitted, timeout: Duration) -> Result<Sock, DialFault> {
    runtime::timeout(timeout, Sock::connect(admitted.address()))
        .await
        .map_err(|_| DialFault::ConnectTimeout)?
        .map_err(|e| connect_fault(&e))
}

fn connect_fault(e: &std::io::Error) -> DialFault {
    match e.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => {
            tracing::warn!(error = %e, "no descriptor, port or memory left to dial a node");
            DialFault::Exhausted
        }
        _ => DialFault::Refused,
    }
}

/// Sends a whole request.
pub(crate) async fn send(sock: &Sock, request: &[u8]) -> Result<(), DialFault> {
    let mut out = Outbox::default();
    out.send(sock, request).map_err(|_| DialFault::Broken)?;
    while !out.is_empty() {
        sock.writable().await;
        out.flush(sock).map_err(|_| DialFault::Broken)?;
    }
    Ok(())
}

/// Waits for bytes and appends them to `bytes`. The result is their number; 0 at the end of the connection.
pub(crate) async fn receive(sock: &Sock, bytes: &mut Vec<u8>) -> Result<usize, DialFault> {
    loop {
        sock.readable().await;
        let taken = buffers::with(|scratch| {
            let taken = sock.recv(&mut scratch.input[..RECEIVE_MAX])?;
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
