//! What the kernel is told about the two connections of a relay, so that a peer whose cable was pulled is noticed.
//!
//! Pings find a client that is silent, but nothing finds a node that is: it may have nothing to say for hours. And a ping
//! can't be put inside a frame. So both legs have keepalive probes and a limit for what nobody acknowledges, in the times
//! that the operator chose for pings. This file knows no frame and no session.

use crate::config::WebSocket;
use socket2::{SockRef, TcpKeepalive};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Bytes that the kernel may hold unsent. By default it takes megabytes for a peer that reads slowly, and a Ping behind
/// them would not arrive before its Pong is due.
const UNSENT_MAX: u32 = 128 * 1024;

/// The kernel counts these waits in seconds.
const LEAST: Duration = Duration::from_secs(1);

/// When the kernel looks for a peer, and when it gives it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeepaliveTimes {
    /// Nothing came for so long: the first probe.
    idle: Duration,
    /// Between probes.
    interval: Duration,
    /// Nothing was acknowledged for so long, neither bytes nor probes nor an empty window's: the connection is broken.
    limit: Duration,
}

impl KeepaliveTimes {
    /// In the times of pings; `None` if there are none.
    fn new(websocket: &WebSocket) -> Option<Self> {
        let idle = websocket.ping_interval?;
        let limit = (idle + websocket.pong_timeout).max(LEAST);
        // so that a probe that is lost costs nobody the session, and the last one is looked at when the limit is over
        let interval = websocket.pong_timeout / 2;
        Some(Self { idle: whole_seconds(idle), interval: whole_seconds(interval), limit })
    }
}

fn whole_seconds(wait: Duration) -> Duration {
    let up = Duration::from_secs(u64::from(wait.subsec_nanos() > 0));
    Duration::from_secs(wait.as_secs()).saturating_add(up).max(LEAST)
}

/// Has the kernel watch over a connection to a node, or over all that a listener will accept: they inherit it, which saves
/// the calls for each of them.
pub(crate) fn configure(socket: BorrowedFd<'_>, websocket: &WebSocket) {
    if let Err(error) = try_configure(socket, websocket) {
        // a socket that is broken already says so at its next use; the session is served either way
        tracing::debug!(%error, "the kernel does not watch over a connection");
    }
}

fn try_configure(socket: BorrowedFd<'_>, websocket: &WebSocket) -> std::io::Result<()> {
    let sock = SockRef::from(&socket);
    sock.set_tcp_notsent_lowat(UNSENT_MAX)?;
    let Some(watch) = KeepaliveTimes::new(websocket) else { return Ok(()) };
    sock.set_tcp_keepalive(&TcpKeepalive::new().with_time(watch.idle).with_interval(watch.interval))?;
    sock.set_tcp_user_timeout(Some(watch.limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch_of(ping_interval: &str, pong_timeout: &str) -> Option<KeepaliveTimes> {
        let text = format!(
            "stream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{{ chain = \"c\", key = \"k\" }}]\n\
             websocket = {{ ping_interval = \"{ping_interval}\", pong_timeout = \"{pong_timeout}\" }}\n"
        );
        KeepaliveTimes::new(&crate::config::read(&text).expect("a good configuration").websocket)
    }

    #[test]
    fn the_kernel_waits_as_long_as_the_operator_said() {
        let seconds = Duration::from_secs;
        let watch = |idle, interval, limit| {
            Some(KeepaliveTimes { idle: seconds(idle), interval: seconds(interval), limit })
        };
        assert_eq!(watch_of("15s", "10s"), watch(15, 5, seconds(25)), "the default");
        assert_eq!(watch_of("1500ms", "1500ms"), watch(2, 1, seconds(3)), "whole seconds, rounded up");
        assert_eq!(watch_of("100ms", "200ms"), watch(1, 1, seconds(1)), "the kernel's clock is not finer");
        assert_eq!(watch_of("off", "10s"), None);
    }
}
