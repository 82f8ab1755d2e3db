//! A record in short: what lists, the access log and metrics show of a session or of one request.

use crate::metrics::{DialOutcome, RequestRoute, Version, WhipEnd};
use crate::proto::red5::role::Role;
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};
use crate::shared::cache_status::CacheStatus;
use crate::shared::record::event::{Event, Traced};
use std::net::SocketAddr;
use std::time::Duration;

/// What a record says in short. Times are since the connection was accepted; what did not happen is `None` or 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary<'r> {
    /// The client's address.
    pub client: Option<SocketAddr>,
    /// The version of TLS, and whether the handshake resumed an earlier session.
    pub tls: Option<(Version, bool)>,
    /// What the request was for.
    pub route: Option<RequestRoute>,
    /// The trace that it belongs to.
    pub traced: Option<Traced<'r>>,
    /// Publisher or subscriber.
    pub role: Option<Role>,
    /// The method of the request.
    pub method: &'r str,
    /// The target of the request, redacted.
    pub target: &'r str,
    /// The app that the client named.
    pub app: &'r str,
    /// The stream that the client named.
    pub stream: &'r str,
    /// The node that was tried last.
    pub node: Option<SocketAddr>,
    /// The HTTP status of the last node that gave an answer of no use.
    pub node_status: Option<u16>,
    /// How many nodes were tried.
    pub tries: u32,
    /// Where the last answer of the stream manager came from.
    pub cache: Option<CacheStatus>,
    /// The HTTP status that the client got.
    pub status: Option<u16>,
    /// Why the request was refused.
    pub refusal: Option<Refusal>,
    /// Bytes of the answer.
    pub answer_bytes: u64,
    /// Close codes of the client and of the node; 1005 for a Close without a code (RFC 6455, 7.1.5).
    pub closes: [Option<u16>; 2],
    /// Close codes that the gateway sent to the client and to the node.
    pub sent_closes: [Option<u16>; 2],
    /// How it ended.
    pub cause: Option<Cause>,
    /// Frames of the client and of the node.
    pub frames: [u64; 2],
    /// Bytes of the client and of the node.
    pub bytes: [u64; 2],
    /// When the request came.
    pub requested: Duration,
    /// How long questions to the stream manager took, all together.
    pub asking: Duration,
    /// When the client got its answer: 101 or another status.
    pub answered: Option<Duration>,
    /// When the node's first frame came.
    pub first_frame: Option<Duration>,
    /// The side that does not take the bytes that wait for it, and since when that is known.
    pub stalled: Option<(Side, Duration)>,
    /// When the last event happened.
    pub last: Duration,
}

/// How a session or a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A relay.
    Relay(By, How),
    /// A WHIP or WHEP session.
    Whip(WhipEnd),
    /// The client left before it had an answer.
    Left,
}

impl Cause {
    /// Which party ended it, and how, in the words of the metrics.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Relay(by, how) => (by.word(), how.word()),
            Self::Whip(how) => (how.by().word(), how.word()),
            Self::Left => (By::Client.word(), "left"),
        }
    }
}

/// The code that stands for a Close without one (RFC 6455, 7.1.5).
pub const NO_CODE: u16 = 1005;

impl<'r> Summary<'r> {
    /// The summary of these events.
    pub fn of(events: impl Iterator<Item = (Duration, Event<'r>)>) -> Self {
        let mut summary = Self::default();
        for (at, event) in events {
            summary.last = at;
            summary.add(at, &event);
        }
        summary
    }

    fn add(&mut self, at: Duration, event: &Event<'r>) {
        match *event {
            Event::Accepted { client, .. } => self.client = Some(client),
            Event::Inherited { node } => self.node = Some(node),
            Event::Secured { tls, resumed, .. } => self.tls = Some((tls, resumed)),
            Event::Requested { route, role, method, target, app, stream } => {
                // of a WHIP session, the request that made it tells what it is about
                if self.route.is_none() {
                    (self.route, self.role, self.app, self.stream) = (Some(route), role, app, stream);
                    (self.method, self.target, self.requested) = (method, target, at);
                }
            }
            Event::Asked { by, took, .. } => {
                self.cache = Some(by);
                self.asking += Duration::from_micros(took);
            }
            Event::Tried { node, outcome, status, .. } => {
                self.tries += 1;
                self.node_status = status;
                // of two nodes that were tried side by side, the one that took the request counts
                if outcome != DialOutcome::Cancelled || self.node.is_none() {
                    self.node = Some(node);
                }
            }
            Event::Answered { status, refusal, bytes } => {
                if self.answered.is_none() {
                    (self.status, self.refusal, self.answered) = (Some(status), refusal, Some(at));
                    self.answer_bytes = bytes;
                }
            }
            Event::FirstFrame { from: Side::Node, .. } => self.first_frame = Some(at),
            Event::WantedStream { stream } => self.stream = stream,
            Event::Closed { from, code } => self.closes[from as usize] = Some(code.unwrap_or(NO_CODE)),
            Event::SentClose { to, code } => self.sent_closes[to as usize] = Some(code),
            Event::Ended { by, how, frames, bytes, .. } => {
                self.cause = Some(Cause::Relay(by, how));
                (self.frames, self.bytes) = (frames, bytes);
            }
            Event::WhipEnded { how } => self.cause = Some(Cause::Whip(how)),
            // a WHIP session has its own behind that of its POST
            Event::Traced(traced) => self.traced = Some(traced),
            Event::Left => self.cause = Some(Cause::Left),
            Event::Stalled { to, .. } => {
                if self.stalled.is_none_or(|(side, _)| side != to) {
                    self.stalled = Some((to, at));
                }
            }
            Event::Flowing { to, .. } => self.stalled = self.stalled.filter(|(side, _)| *side != to),
            Event::FirstFrame { .. } | Event::Signalled { .. } => {}
        }
    }
}
