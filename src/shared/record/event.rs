//! What can happen in a session, as its record keeps it.

use crate::metrics::{DialOutcome, RequestRoute, Version, WhipEnd};
use crate::proto::red5::role::Role;
use crate::proto::red5::signal::Signal;
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};
use crate::shared::cache_status::CacheStatus;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One event in a session. Nothing in it is secret: a target has its parameters redacted, and of messages there is only their
/// kind and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event<'r> {
    /// The connection was accepted. `through` is the load balancer that announced the client, if one did.
    Accepted {
        /// The client's address.
        client: SocketAddr,
        /// The load balancer's address.
        through: Option<SocketAddr>,
    },
    /// The TLS handshake is done.
    Secured {
        /// The version that both sides agreed on.
        tls: Version,
        /// Whether it resumed an earlier session.
        resumed: bool,
    },
    /// The process before an upgrade handed the session over. What happened before is not known.
    Inherited {
        /// The node that has it.
        node: SocketAddr,
    },
    /// The head of a request came.
    Requested {
        /// What it is for.
        route: RequestRoute,
        /// Whether the client is, or wants to be, a publisher or a subscriber.
        role: Option<Role>,
        /// Its method.
        method: &'r str,
        /// Its target, redacted and cut.
        target: &'r str,
        /// The app that it names, cut; empty if it names none.
        app: &'r str,
        /// The stream that it names, cut; empty if it names none.
        stream: &'r str,
    },
    /// The stream manager was asked, or a stored answer was used. 0 stands for a refusal, which has an event of its own.
    Asked {
        /// Where the answer came from.
        by: CacheStatus,
        /// Its HTTP status; 0 if there was no answer.
        status: u16,
        /// How many nodes it names.
        nodes: u16,
        /// How long it took, in microseconds.
        took: u64,
    },
    /// A node was tried.
    Tried {
        /// Its address.
        node: SocketAddr,
        /// What came of it.
        outcome: DialOutcome,
        /// The HTTP status of its answer, if it gave one that is not what was asked for.
        status: Option<u16>,
        /// How long it took, in microseconds.
        took: u64,
    },
    /// The request got this status, and with a refusal its code.
    Answered {
        /// The HTTP status that the client got.
        status: u16,
        /// Why it was refused.
        refusal: Option<Refusal>,
        /// Bytes of its body.
        bytes: u64,
    },
    /// The client left before it had its answer.
    Left,
    /// The first frame of a side came.
    FirstFrame {
        /// Its sender.
        from: Side,
        /// Bytes of its payload.
        size: u64,
    },
    /// A signalling message passed.
    Signalled {
        /// Its sender.
        from: Side,
        /// What it is about.
        signal: Signal,
        /// Bytes of its payload.
        size: u64,
    },
    /// A subscriber asked for this stream in its first message.
    WantedStream {
        /// Its name.
        stream: &'r str,
    },
    /// A side does not take bytes that wait for it.
    Stalled {
        /// The slow side.
        to: Side,
        /// Bytes that wait.
        bytes: u64,
    },
    /// A side that was slow has taken all bytes.
    Flowing {
        /// The side.
        to: Side,
        /// For how long it was slow, in milliseconds.
        millis: u64,
    },
    /// A side sent its Close.
    Closed {
        /// Its sender.
        from: Side,
        /// Its code; `None` for a Close without one.
        code: Option<u16>,
    },
    /// The gateway sent a Close of its own to a side.
    SentClose {
        /// The side that got it.
        to: Side,
        /// Its code.
        code: u16,
    },
    /// The relay ended.
    Ended {
        /// The side that caused it.
        by: By,
        /// What happened.
        how: How,
        /// Frames of the client and of the node.
        frames: [u64; 2],
        /// Bytes of the client and of the node.
        bytes: [u64; 2],
        /// Pings that the gateway sent to the client.
        pings: u32,
    },
    /// A WHIP or WHEP session ended.
    WhipEnded {
        /// How it ended.
        how: WhipEnd,
    },
}
