//! A TCP connection to an admitted node, and bytes over it.

use crate::metrics::DialOutcome;
use crate::proto::admission::Admitted;
use crate::proto::http::head::HeadLimits;
use crate::proto::websocket::upgrade::UpgradeFault;
use crate::worker::io::buffers;
use crate::worker::io::outbox::Outbox;
use crate::worker::io::runtime;
use crate::worker::io::socket::{ConnectError, Sock};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

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
    /// Something else on this machine prevents the connection, such as a missing route or a rule of its firewall; the node
    /// is not at fault. `reached`: bytes of the request may have reached the node.
    Local { reached: bool },
    /// No connection in time.
    ConnectTimeout,
    /// Connected, but no whole answer in time.
    UpgradeTimeout,
    /// The answer is not what was asked for: a wrong 101, with its fault, or `None` for one that is no valid HTTP, has an
    /// unusable status, or ended early.
    BadHandshake(Option<UpgradeFault>),
}

/// A node that answers with a status of 500 or more, in words.
pub(crate) const SERVER_ERROR: &str = "it answers with a server error (HTTP status 5xx)";

impl DialFault {
    /// The label in the metrics.
    pub(crate) const fn outcome(self) -> DialOutcome {
        match self {
            Self::Refused | Self::Broken => DialOutcome::Refused,
            Self::Exhausted => DialOutcome::Exhausted,
            Self::Local { .. } => DialOutcome::Local,
            Self::ConnectTimeout => DialOutcome::Timeout,
            Self::UpgradeTimeout => DialOutcome::UpgradeTimeout,
            Self::BadHandshake(_) => DialOutcome::BadHandshake,
        }
    }

    /// The fault in words if it is the node's or that of the way to it. An answer that is of no use may be the client's: players
    /// ask for streams that have not begun.
    pub(crate) const fn of_node(self) -> Option<&'static str> {
        match self {
            Self::Refused => Some("connection refused, or the node is unreachable"),
            Self::Broken => Some("the connection broke before an answer"),
            Self::ConnectTimeout => Some("no connection in time"),
            Self::UpgradeTimeout => Some("connected, but no answer in time"),
            Self::BadHandshake(Some(UpgradeFault::Status(500..))) => Some(SERVER_ERROR),
            Self::BadHandshake(_) | Self::Exhausted | Self::Local { .. } => None,
        }
    }

    /// The HTTP status of an answer that is of no use because of it.
    pub(crate) const fn status(self) -> Option<u16> {
        match self {
            Self::BadHandshake(Some(UpgradeFault::Status(status))) => Some(status),
            _ => None,
        }
    }

    /// Whether bytes of the request may have reached the node.
    pub(crate) const fn reached(self) -> bool {
        !matches!(
            self,
            Self::Refused | Self::Exhausted | Self::ConnectTimeout | Self::Local { reached: false }
        )
    }
}

/// Connects to an admitted node within `timeout`.
pub(crate) async fn connect(admitted: &Admitted, timeout: Duration) -> Result<Sock, DialFault> {
    runtime::timeout(timeout, Sock::connect(admitted.address()))
        .await
        .map_err(|_| DialFault::ConnectTimeout)?
        .map_err(|e| connect_fault(&e))
}

/// Whose fault it is that a connect failed. Only what the node or the network on the way to it said counts as the node's.
fn connect_fault(error: &ConnectError) -> DialFault {
    let (ConnectError::Unsent(e) | ConnectError::Sent(e)) = error;
    let sent = matches!(error, ConnectError::Sent(_));
    match e.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => {
            if warns_now() {
                tracing::warn!(error = %e, "no descriptor, port or memory left to dial a node");
            }
            DialFault::Exhausted
        }
        Some(libc::ECONNREFUSED | libc::ECONNRESET) => DialFault::Refused,
        // no answer to any SYN, or a router or the neighbour table says that no such host is there
        Some(libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::EHOSTDOWN) if sent => DialFault::Refused,
        _ => {
            if warns_now() {
                tracing::warn!(error = %e, "this machine can't dial a node: look at its routes and its firewall");
            }
            DialFault::Local { reached: false }
        }
    }
}

/// Time between two warnings of one worker about dials that fail on this machine: there may be one for each session.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Whether the worker may warn now. The answer counts as a warning.
fn warns_now() -> bool {
    thread_local!(static WARNED: Cell<Option<Instant>> = const { Cell::new(None) });
    let due = WARNED.get().is_none_or(|warned| warned.elapsed() >= WARN_INTERVAL);
    if due {
        WARNED.set(Some(Instant::now()));
    }
    due
}

/// What an error of a connection says about the node.
fn broken(e: &io::Error) -> DialFault {
    match e.raw_os_error() {
        Some(
            libc::EPERM | libc::EACCES | libc::ENETUNREACH | libc::ENETDOWN | libc::ENOBUFS | libc::ENOMEM,
        ) => DialFault::Local { reached: true },
        _ => DialFault::Broken,
    }
}

/// Sends a whole request while `answer` receives, and gives what `answer` gives.
///
/// A node may answer before it has read everything, for example 413, and then stop reading or reset the connection, so that
/// the sending stops or fails. Its answer counts all the same. A failure to send is the result only when there is no answer.
pub(crate) async fn send_while<T>(
    sock: &Sock,
    request: &[u8],
    answer: impl Future<Output = Result<T, DialFault>>,
) -> Result<T, DialFault> {
    let (mut sending, mut answer) = (pin!(send(sock, request)), pin!(answer));
    let mut sent = None;
    std::future::poll_fn(|cx| {
        if sent.is_none()
            && let Poll::Ready(result) = sending.as_mut().poll(cx)
        {
            sent = Some(result);
        }
        let answered = std::task::ready!(answer.as_mut().poll(cx));
        Poll::Ready(match (answered, sent) {
            // the end of a connection that could not take the request is no answer
            (Err(DialFault::Broken | DialFault::BadHandshake(None)), Some(Err(fault))) => Err(fault),
            (answered, _) => answered,
        })
    })
    .await
}

async fn send(sock: &Sock, request: &[u8]) -> Result<(), DialFault> {
    let mut out = Outbox::default();
    out.send(sock, request).map_err(|e| broken(&e))?;
    while !out.is_empty() {
        sock.writable().await;
        out.flush(sock).map_err(|e| broken(&e))?;
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
            Ok::<_, io::Error>(taken)
        });
        match taken {
            Ok(taken) => return Ok(taken),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(broken(&e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_node_or_the_way_to_it_says_is_the_fault_of_the_node() {
        let fault = |sent: bool, errno| {
            let e = io::Error::from_raw_os_error(errno);
            connect_fault(&if sent { ConnectError::Sent(e) } else { ConnectError::Unsent(e) })
        };
        let local = DialFault::Local { reached: false };
        for sent in [false, true] {
            for errno in [libc::EPERM, libc::EACCES, libc::ENETUNREACH, libc::ENETDOWN, libc::EINVAL] {
                assert_eq!(fault(sent, errno), local, "{errno} {sent}");
            }
            for errno in [libc::EMFILE, libc::ENFILE, libc::EADDRNOTAVAIL, libc::ENOMEM] {
                assert_eq!(fault(sent, errno), DialFault::Exhausted, "{errno} {sent}");
            }
            assert_eq!(fault(sent, libc::ECONNREFUSED), DialFault::Refused);
        }
        for errno in [libc::EHOSTUNREACH, libc::ETIMEDOUT] {
            assert_eq!((fault(false, errno), fault(true, errno)), (local, DialFault::Refused), "{errno}");
        }
        assert!(!local.reached() && DialFault::Local { reached: true }.reached());
        let of = |errno| broken(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::ENETUNREACH), DialFault::Local { reached: true });
        assert_eq!((of(libc::EPIPE), of(libc::ECONNRESET)), (DialFault::Broken, DialFault::Broken));
    }
}
