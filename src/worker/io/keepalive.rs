//! TCP keepalive on both connections of a relay, so that a peer whose cable was pulled is noticed.
//!
//! Pings find a silent client, but not a silent node, which may have nothing to send for hours. And a Ping can't be put
//! inside a frame. So both legs have keepalive probes and a limit for unacknowledged bytes, in the times that the operator
//! chose for pings. This file knows no frame and no session.

use crate::config::WebSocket;
use socket2::{SockRef, TcpKeepalive};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Most bytes that the kernel holds unsent. By default it takes megabytes for a peer that reads slowly, and a Ping behind
/// them would arrive after its Pong is due.
const UNSENT_MAX: u32 = 128 * 1024;

/// The kernel counts these times in seconds, so none is shorter.
const TIME_MIN: Duration = Duration::from_secs(1);

/// When the kernel probes a peer, and when it gives the connection up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeepaliveTimes {
    /// The first probe is sent when nothing came for this long.
    idle: Duration,
    /// The time between probes.
    interval: Duration,
    /// The connection is broken when nothing was acknowledged for this long: no bytes, no probes, no window probes.
    limit: Duration,
}

impl KeepaliveTimes {
    /// The times that follow from the configured pings; `None` if pings are off.
    fn new(websocket: &WebSocket) -> Option<Self> {
        let idle = websocket.ping_interval?;
        let limit = (idle + websocket.pong_timeout).max(TIME_MIN);
        // two probes fit into the limit, so that one lost probe does not end the session
        let interval = websocket.pong_timeout / 2;
        Some(Self { idle: whole_seconds(idle), interval: whole_seconds(interval), limit })
    }
}

fn whole_seconds(wait: Duration) -> Duration {
    let up = Duration::from_secs(u64::from(wait.subsec_nanos() > 0));
    Duration::from_secs(wait.as_secs()).saturating_add(up).max(TIME_MIN)
}

/// Switches keepalive on for a connection to a node, or for all connections that a listener will accept: they inherit it,
/// which saves the calls for each of them.
pub(crate) fn configure(socket: BorrowedFd<'_>, websocket: &WebSocket) {
    if let Err(error) = try_configure(socket, websocket) {
        // a broken socket fails at its next use; the session is served either way
        tracing::debug!(%error, "can't set keepalive on a socket");
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
    fn keepalive_times_follow_the_configured_pings() {
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
