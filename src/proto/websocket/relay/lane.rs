//! One direction of a relay.

use crate::proto::websocket::frame::{FrameRules, Scanner, Side};

/// What the gateway wants to insert into a lane as its last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PendingClose {
    /// A Close for a reason of the gateway's own.
    Own(GatewayClose),
    /// The answer to the Close of the lane's far end, which the lane's side did not give: the same code and reason.
    Answer,
}

/// A Close frame of the gateway's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GatewayClose {
    /// Close code, one of [`code`] or the configured `drain_close_code`.
    pub(crate) code: u16,
    /// The reason; the id of the session is added to it when the frame is written.
    pub(crate) reason: &'static str,
}

/// Close codes (RFC 6455 7.4.1 and the IANA registry).
pub(crate) mod code {
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const TOO_BIG: u16 = 1009;
    pub(crate) const BAD_GATEWAY: u16 = 1014;
}

/// One direction of a relay; the client's lane carries what the client sends.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) scanner: Scanner,
    /// To be inserted at the next frame boundary.
    pub(crate) pending_close: Option<PendingClose>,
    /// Nothing is forwarded any more: a Close went through this lane, from its side or from the gateway.
    pub(crate) shut: bool,
    /// Its side sent a Close frame, or an illegal frame after which no boundary can be found.
    pub(crate) closed: bool,
    /// Its side will send nothing more.
    pub(crate) eof: bool,
    /// Nothing can be written to the lane's far end any more.
    pub(crate) unwritable: bool,
}

impl Lane {
    /// An open lane for the frames that `side` sends.
    pub(crate) const fn new(side: Side, rules: FrameRules) -> Self {
        Self {
            scanner: Scanner::new(side, rules),
            pending_close: None,
            shut: false,
            closed: false,
            eof: false,
            unwritable: false,
        }
    }
}
