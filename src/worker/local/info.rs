//! What drains and operators may see of a session. The session writes it, its worker reads it.
//!
//! Nothing here is secret: of a request target only the app and the stream, never the other parameters.

use crate::metrics::Route;
use crate::proto::millis::Millis;
use crate::proto::red5::role::Role;
use crate::shared::session_id::SessionId;
use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;

/// Longest name of an app or a stream that is kept, in bytes. Longer names are cut: they are shown to people only.
const NAME_MAX: usize = 80;

/// The node of a relay, and what the client asked it for.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) node: SocketAddr,
    pub(crate) names: Names,
    /// When the relay began, on the worker's clock.
    pub(crate) since: Millis,
}

/// App and stream as the client wrote them, cut to 80 bytes each.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) app: Box<str>,
    pub(crate) stream: Box<str>,
}

impl Names {
    /// Keeps an app and a stream of a request target, which is ASCII.
    pub(crate) fn new(app: &str, stream: &str) -> Self {
        let short = |name: &str| name.get(..NAME_MAX).unwrap_or(name).into();
        Self { app: short(app), stream: short(stream) }
    }
}

/// What a connection does, from its first request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It sends HTTP requests.
    Requests,
    /// It is a WebSocket session, or asks for one.
    WebSocket(Route, Role),
}

impl Activity {
    /// The word for its route in the API and in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requests => "http",
            Self::WebSocket(route, _) => route.word(),
        }
    }

    /// The role of a WebSocket session.
    pub const fn role(self) -> Option<Role> {
        match self {
            Self::Requests => None,
            Self::WebSocket(_, role) => Some(role),
        }
    }
}

/// The visible part of a session.
#[derive(Debug)]
pub(crate) struct SessionInfo {
    /// The client's address. Behind a load balancer it is the balancer's until the PROXY header has been read.
    pub(crate) peer: Cell<SocketAddr>,
    /// When the connection was accepted, on the worker's clock.
    pub(crate) began: Millis,
    /// What the session does; `None` before its first request.
    pub(crate) activity: Cell<Option<Activity>>,
    pub(crate) relayed: OnceCell<Box<Relayed>>,
    /// When it carried something last that was no Ping or Pong.
    pub(crate) moved: Cell<Millis>,
    /// Whether the relay is ending.
    pub(crate) closing: Cell<bool>,
    /// Frames from the client and from the node.
    frames: Cell<[u64; 2]>,
    /// Bytes from the client and from the node.
    bytes: Cell<[u64; 2]>,
}

impl SessionInfo {
    /// The info of a connection that was accepted just now.
    pub(crate) const fn new(peer: SocketAddr, now: Millis) -> Self {
        Self {
            peer: Cell::new(peer),
            began: now,
            activity: Cell::new(None),
            relayed: OnceCell::new(),
            moved: Cell::new(now),
            closing: Cell::new(false),
            frames: Cell::new([0; 2]),
            bytes: Cell::new([0; 2]),
        }
    }

    /// Notes what a relay has carried so far, when the last of it came, and whether the relay is ending.
    pub(crate) fn update(&self, frames: [u64; 2], bytes: [u64; 2], moved: Millis, closing: bool) {
        self.frames.set(frames);
        self.bytes.set(bytes);
        self.moved.set(moved);
        self.closing.set(closing);
    }

    /// Notes that the session began to relay.
    pub(crate) fn begin_relay(&self, node: SocketAddr, names: Names, since: Millis) {
        self.moved.set(since);
        // the first and only call: a connection relays once
        let _ = self.relayed.set(Box::new(Relayed { node, names, since }));
    }
}

/// One session at one moment, as the admin API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshot {
    pub id: SessionId,
    /// Index of its worker.
    pub worker: usize,
    /// What the session does.
    pub activity: Activity,
    pub state: State,
    /// The client's address.
    pub peer: SocketAddr,
    /// The node of its relay.
    pub node: Option<SocketAddr>,
    /// App and stream of its relay, as the client named them.
    pub app: Option<String>,
    pub stream: Option<String>,
    /// Time since the connection was accepted.
    pub age: Millis,
    /// Time since it carried something that was no Ping or Pong.
    pub idle: Millis,
    /// Frames from the client and from the node.
    pub frames: [u64; 2],
    /// Bytes from the client and from the node.
    pub bytes: [u64; 2],
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A WebSocket that has not got its 101.
    Opening,
    /// A relay, or a connection with HTTP requests.
    Open,
    /// A WebSocket that is ending.
    Closing,
}

impl State {
    /// Its word in the admin API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }
}

impl SessionSnapshot {
    /// A snapshot of a session at `now`; `None` if the session has had no request yet.
    pub(crate) fn of(id: SessionId, worker: usize, info: &SessionInfo, now: Millis) -> Option<Self> {
        let activity = info.activity.get()?;
        let relayed = info.relayed.get();
        let name = |of: fn(&Names) -> &str| relayed.map(|relayed| of(&relayed.names).to_owned());
        Some(Self {
            id,
            worker,
            activity,
            state: match relayed {
                Some(_) if info.closing.get() => State::Closing,
                None if activity != Activity::Requests => State::Opening,
                _ => State::Open,
            },
            peer: info.peer.get(),
            node: relayed.map(|relayed| relayed.node),
            app: name(|names| &names.app),
            stream: name(|names| &names.stream),
            age: now.saturating_sub(info.began),
            idle: now.saturating_sub(info.moved.get()),
            frames: info.frames.get(),
            bytes: info.bytes.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_how_far_a_session_has_come() {
        let info = SessionInfo::new(SocketAddr::from(([127, 0, 0, 1], 5)), 10);
        let snapshot = || SessionSnapshot::of(SessionId(7), 0, &info, 100);
        assert_eq!(snapshot(), None, "it has had no request");
        info.activity.set(Some(Activity::WebSocket(Route::TwoStep, Role::Publisher)));
        assert_eq!(
            snapshot().map(|snapshot| (snapshot.state, snapshot.node, snapshot.age)),
            Some((State::Opening, None, 90))
        );
        let node = SocketAddr::from(([10, 0, 0, 1], 5080));
        info.begin_relay(node, Names::new("live", &"s".repeat(200)), 40);
        let open = snapshot().expect("it relays now");
        assert_eq!((open.state, open.node, open.idle), (State::Open, Some(node), 60));
        assert_eq!(open.stream.map(|stream| stream.len()), Some(NAME_MAX));
        info.closing.set(true);
        assert_eq!(snapshot().map(|snapshot| snapshot.state), Some(State::Closing));
    }
}
