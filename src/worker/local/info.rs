//! What others may see of a session: written by the session as it goes, read by its worker for drains and operators.
//!
//! Only what is no secret stands here: of a target its app and stream, never its other parameters.

use crate::metrics::Route;
use crate::proto::millis::Millis;
use crate::shared::session_id::SessionId;
use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;

/// Longest name that is kept of an app or a stream, in bytes: they are there for people.
const NAME_MAX: usize = 80;

/// Where a relay leads.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) node: SocketAddr,
    pub(crate) names: Names,
    /// When it began, on the worker's clock.
    pub(crate) since: Millis,
}

/// App and stream, as the client wrote them, shortened.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) app: Box<str>,
    pub(crate) stream: Box<str>,
}

impl Names {
    /// Parts of a target, which is plain ASCII.
    pub(crate) fn new(app: &str, stream: &str) -> Self {
        let short = |name: &str| name.get(..NAME_MAX).unwrap_or(name).into();
        Self { app: short(app), stream: short(stream) }
    }
}

/// A session, seen from outside.
#[derive(Debug)]
pub(crate) struct SessionInfo {
    /// The client; behind a balancer only once that has said who it is.
    pub(crate) peer: Cell<SocketAddr>,
    /// When it was accepted, on the worker's clock.
    pub(crate) began: Millis,
    /// None before its first request.
    pub(crate) route: Cell<Option<Route>>,
    pub(crate) relayed: OnceCell<Box<Relayed>>,
    /// When something came last that is no Ping or Pong.
    pub(crate) moved: Cell<Millis>,
    /// A relay that ends, for whatever cause.
    pub(crate) closing: Cell<bool>,
    /// Of the client, of the node.
    frames: Cell<[u64; 2]>,
    bytes: Cell<[u64; 2]>,
}

impl SessionInfo {
    /// A connection that was accepted just now.
    pub(crate) const fn new(peer: SocketAddr, now: Millis) -> Self {
        Self {
            peer: Cell::new(peer),
            began: now,
            route: Cell::new(None),
            relayed: OnceCell::new(),
            moved: Cell::new(now),
            closing: Cell::new(false),
            frames: Cell::new([0; 2]),
            bytes: Cell::new([0; 2]),
        }
    }

    /// What a relay has carried, when the last of it came, and whether it ends.
    pub(crate) fn carries(&self, frames: [u64; 2], bytes: [u64; 2], moved: Millis, closing: bool) {
        self.frames.set(frames);
        self.bytes.set(bytes);
        self.moved.set(moved);
        self.closing.set(closing);
    }

    /// It began to relay.
    pub(crate) fn relays(&self, node: SocketAddr, names: Names, since: Millis) {
        self.moved.set(since);
        // a connection relays once
        let _ = self.relayed.set(Box::new(Relayed { node, names, since }));
    }
}

/// One session as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshot {
    pub id: SessionId,
    pub worker: usize,
    pub route: Route,
    pub state: State,
    pub peer: SocketAddr,
    /// The node, once there is one.
    pub node: Option<SocketAddr>,
    pub app: Option<String>,
    pub stream: Option<String>,
    pub age: Millis,
    /// Since something came last that is no Ping or Pong.
    pub idle: Millis,
    /// Of the client, of the node.
    pub frames: [u64; 2],
    pub bytes: [u64; 2],
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A WebSocket without its 101.
    Opening,
    Open,
    /// A WebSocket that ends.
    Closing,
}

impl State {
    /// The bare word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }
}

impl SessionSnapshot {
    /// A session as it is at `now`; `None` while it has asked for nothing.
    pub(crate) fn of(id: SessionId, worker: usize, info: &SessionInfo, now: Millis) -> Option<Self> {
        let route = info.route.get()?;
        let relayed = info.relayed.get();
        let name = |of: fn(&Names) -> &str| relayed.map(|relayed| of(&relayed.names).to_owned());
        Some(Self {
            id,
            worker,
            route,
            state: match relayed {
                Some(_) if info.closing.get() => State::Closing,
                None if route != Route::Http => State::Opening,
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
    fn a_card_tells_the_life_of_a_session() {
        let info = SessionInfo::new(SocketAddr::from(([127, 0, 0, 1], 5)), 10);
        let row = || SessionSnapshot::of(SessionId(7), 0, &info, 100);
        assert_eq!(row(), None, "it has asked for nothing");
        info.route.set(Some(Route::TwoStep));
        assert_eq!(row().map(|row| (row.state, row.node, row.age)), Some((State::Opening, None, 90)));
        let node = SocketAddr::from(([10, 0, 0, 1], 5080));
        info.relays(node, Names::new("live", &"s".repeat(200)), 40);
        let open = row().expect("it relays");
        assert_eq!((open.state, open.node, open.idle), (State::Open, Some(node), 60));
        assert_eq!(open.stream.map(|stream| stream.len()), Some(NAME_MAX));
        info.closing.set(true);
        assert_eq!(row().map(|row| row.state), Some(State::Closing));
    }
}
