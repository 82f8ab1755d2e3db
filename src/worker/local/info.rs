//! What drains and operators may see of a session. The session writes it, its worker reads it.
//!
//! Nothing here is secret: of a request target only the app and the stream, never the other parameters.

use crate::metrics::Route;
use crate::proto::millis::{Millis, millis};
use crate::proto::red5::role::Role;
use crate::shared::record::{Event, Record, Summary};
use crate::shared::session_id::SessionId;
use crate::shared::whip_sessions::WhipSession;
use crate::worker::local::filter::{HTTP, SessionFilter};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::Instant;

/// Where a relay leads, and since when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relayed {
    pub(crate) node: SocketAddr,
    /// When the relay began, on the worker's clock.
    pub(crate) since: Millis,
}

/// What a connection does, from its first request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It sends HTTP requests.
    Requests,
    /// It is a session, or asks for one.
    Session(Route, Role),
}

impl Activity {
    /// The word for its route in the API and in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requests => HTTP,
            Self::Session(route, _) => route.word(),
        }
    }

    /// The role of a session.
    pub const fn role(self) -> Option<Role> {
        match self {
            Self::Requests => None,
            Self::Session(_, role) => Some(role),
        }
    }
}

/// The visible part of a session.
#[derive(Debug)]
pub(crate) struct SessionInfo {
    /// The client's address. Behind a load balancer it is the balancer's until the PROXY header has been read.
    pub(crate) peer: Cell<SocketAddr>,
    /// When the connection was accepted.
    pub(crate) accepted: Instant,
    /// What the session does; `None` before its first request.
    pub(crate) activity: Cell<Option<Activity>>,
    pub(crate) relayed: Cell<Option<Relayed>>,
    /// What happened in the session.
    pub(crate) record: RefCell<Record>,
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
    pub(crate) fn new(peer: SocketAddr, accepted: Instant, now: Millis) -> Self {
        Self {
            peer: Cell::new(peer),
            accepted,
            record: RefCell::default(),
            activity: Cell::new(None),
            relayed: Cell::new(None),
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

    /// Notes that the session began to relay. Its record grows slowly from now on, so it gives back what it does not need.
    pub(crate) fn begin_relay(&self, node: SocketAddr, since: Millis) {
        self.moved.set(since);
        self.relayed.set(Some(Relayed { node, since }));
        self.record.borrow_mut().shrink();
    }

    /// Notes an event of the session that happens now.
    pub(crate) fn note(&self, event: &Event<'_>) {
        self.record.borrow_mut().note(self.accepted.elapsed(), event);
    }
}

/// One session at one moment, as the admin API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshot {
    pub id: SessionId,
    /// Index of its worker; `None` for a WHIP or WHEP session, which belongs to no connection.
    pub worker: Option<usize>,
    /// What the session does.
    pub activity: Activity,
    pub state: State,
    /// The client's address.
    pub peer: SocketAddr,
    /// The node that serves it, or was tried last.
    pub node: Option<SocketAddr>,
    /// App and stream, as the client named them.
    pub app: Option<String>,
    pub stream: Option<String>,
    /// Time since the connection was accepted, or since the WHIP session was created.
    pub age: Millis,
    /// Time since it carried something that was no Ping or Pong; of a WHIP session, since its last request.
    pub idle: Millis,
    /// Time from the request to its answer.
    pub answer: Option<Millis>,
    /// Requests of a WHIP session after the first one.
    pub requests: Option<u32>,
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
    /// A WHIP session whose client has published the same stream again since.
    Superseded,
}

impl State {
    /// Its word in the admin API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Superseded => "superseded",
        }
    }
}

impl SessionSnapshot {
    /// A snapshot of a connection at `now`; `None` if it has had no request yet, or `filter` does not accept it.
    pub(crate) fn of(
        id: SessionId,
        worker: usize,
        info: &SessionInfo,
        now: Millis,
        filter: &SessionFilter,
    ) -> Option<Self> {
        let activity = info.activity.get()?;
        let relayed = info.relayed.get();
        let record = info.record.borrow();
        let summary = Summary::of(record.last_request());
        if !filter.accepts(activity.word(), &summary) {
            return None;
        }
        Some(Self {
            id,
            worker: Some(worker),
            activity,
            state: match relayed {
                Some(_) if info.closing.get() => State::Closing,
                None if activity != Activity::Requests => State::Opening,
                _ => State::Open,
            },
            peer: info.peer.get(),
            node: relayed.map(|relayed| relayed.node).or(summary.node),
            app: text(summary.app),
            stream: text(summary.stream),
            age: millis(info.accepted.elapsed()),
            idle: now.saturating_sub(info.moved.get()),
            answer: answer_time(&summary),
            requests: None,
            frames: info.frames.get(),
            bytes: info.bytes.get(),
        })
    }

    /// A snapshot of a WHIP session; `None` if `filter` does not accept it. `is_newest`: its client has published no other one
    /// of its name since.
    pub(crate) fn of_whip(session: &WhipSession, is_newest: bool, filter: &SessionFilter) -> Option<Self> {
        let (route, role) = session.kind();
        let record = session.record();
        let summary = Summary { role: Some(role), ..Summary::of(record.events()) };
        if !filter.accepts(route.word(), &summary) {
            return None;
        }
        Some(Self {
            id: session.id,
            worker: None,
            activity: Activity::Session(route, role),
            state: if is_newest { State::Open } else { State::Superseded },
            peer: summary.client.unwrap_or_else(|| SocketAddr::from((session.client, 0))),
            node: Some(summary.node.unwrap_or_else(|| SocketAddr::from((session.node, 0)))),
            app: text(summary.app),
            stream: text(summary.stream),
            age: millis(session.created.elapsed()),
            idle: millis(session.epoch.elapsed().saturating_sub(summary.last)),
            answer: answer_time(&summary),
            requests: Some(session.requests()),
            frames: [0; 2],
            bytes: [0; 2],
        })
    }
}

fn text(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

fn answer_time(summary: &Summary<'_>) -> Option<Millis> {
    summary.answered.map(|at| millis(at.saturating_sub(summary.requested)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RequestRoute;

    #[test]
    fn a_snapshot_shows_how_far_a_session_has_come() {
        let info = SessionInfo::new(SocketAddr::from(([127, 0, 0, 1], 5)), Instant::now(), 10);
        let snapshot = || SessionSnapshot::of(SessionId(7), 0, &info, 100, &SessionFilter::default());
        assert_eq!(snapshot(), None, "it has had no request");
        info.activity.set(Some(Activity::Session(Route::TwoStep, Role::Publisher)));
        let (route, role, target) = (RequestRoute::TwoStep, Some(Role::Publisher), "/live?id=s");
        info.record.borrow_mut().begin_request();
        info.note(&Event::Requested { route, role, method: "GET", target, app: "live", stream: "s" });
        let opening = snapshot().map(|snapshot| (snapshot.state, snapshot.node, snapshot.stream));
        assert_eq!(opening, Some((State::Opening, None, Some("s".to_owned()))));
        let node = SocketAddr::from(([10, 0, 0, 1], 5080));
        info.begin_relay(node, 40);
        let open = snapshot().expect("it relays now");
        assert_eq!((open.state, open.node, open.idle), (State::Open, Some(node), 60));
        info.closing.set(true);
        assert_eq!(snapshot().map(|snapshot| snapshot.state), Some(State::Closing));
    }
}
