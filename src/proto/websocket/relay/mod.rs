//! The life of a relayed session as a state machine: bytes, ends of file and the time go in, decisions come out.
//!
//! ```text
//!            a Close from a side, or a reason of our own at a frame's end
//!   ┌──────┐ ──────────────────────────────────────────► ┌─────────┐  both legs closed and   ┌──────┐
//!   │ Open │                                             │ Closing │  read to their end, ──► │ Over │
//!   └──────┘ ◄── frames flow both ways                   └─────────┘  or `close_timeout`     └──────┘
//! ```
//!
//! Each direction is a *lane*, named after the side its bytes come from. A Close of the gateway's own is put into a lane
//! at its next frame boundary and shuts it: what arrives later is read and dropped. A side that vanished without a Close
//! is told of on the other leg. The first cause is the session's [`End`].
//!
//! This file knows no socket and no clock: `now` is milliseconds on any monotonic clock.

use crate::proto::millis::Millis;
use crate::proto::websocket::frame::{FrameFault, FrameRules, Scan, Scanner, Side, write_close, write_ping};

/// Waits and limits of a relay; `None` is "off".
#[derive(Debug, Clone)]
pub struct RelayRules {
    pub message_max: Option<u64>,
    /// A Ping goes to the client when nothing came from it for so long.
    pub ping_interval: Option<Millis>,
    /// Nothing came for so long after that Ping: the client is gone.
    pub pong_timeout: Millis,
    /// Nothing but pings in either direction for so long.
    pub idle: Option<Millis>,
    pub lifetime: Option<Millis>,
    /// From the first Close to the end of both connections. In a drain our Close may wait longer than that for a frame
    /// to end: the drain has an end of its own.
    pub close_timeout: Millis,
    /// An extension was agreed on end to end.
    pub extensions: bool,
}

/// Who ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Client,
    Node,
    Gateway,
}

impl By {
    /// All of them, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 3] = [Self::Client, Self::Node, Self::Gateway];

    /// The label in metrics and logs. A node is called `origin` there: the outside was fixed with that word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "origin",
            Self::Gateway => "gateway",
        }
    }
}

impl From<Side> for By {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Node => Self::Node,
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A Close frame.
    Close,
    /// The connection ended without one, at a frame boundary.
    Lost,
    Drain,
    Idle,
    /// The client answered no Ping.
    Silent,
    Lifetime,
    TooBig,
    Violation,
    /// The connection ended inside a frame.
    Truncated,
    Kicked,
    /// A drain was over before its Close could be said on both legs.
    Cut,
}

impl How {
    /// All of them, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 11] = [
        Self::Close,
        Self::Lost,
        Self::Drain,
        Self::Idle,
        Self::Silent,
        Self::Lifetime,
        Self::TooBig,
        Self::Violation,
        Self::Truncated,
        Self::Kicked,
        Self::Cut,
    ];

    /// The label in metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Lost => "lost",
            Self::Drain => "drain",
            Self::Idle => "idle",
            Self::Silent => "silent",
            Self::Lifetime => "lifetime",
            Self::TooBig => "too_big",
            Self::Violation => "violation",
            Self::Truncated => "torn",
            Self::Kicked => "kicked",
            Self::Cut => "cut",
        }
    }
}

/// The first cause of a session's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub by: By,
    pub how: How,
}

/// A close that the gateway asks for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OwnClose {
    code: u16,
    reason: &'static str,
}

/// Close codes (RFC 6455 7.4.1 and the IANA registry).
mod code {
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const TOO_BIG: u16 = 1009;
    pub(crate) const BAD_GATEWAY: u16 = 1014;
}

/// One direction; `Lane` of the client carries what the client sends.
#[derive(Debug)]
struct Lane {
    scanner: Scanner,
    /// To be put in at the next boundary.
    own_close: Option<OwnClose>,
    /// Nothing is passed on any more: a Close went through it, whoever made it.
    shut: bool,
    /// A Close frame of its side was seen.
    closed: bool,
    /// Its side will send nothing more.
    eof: bool,
    /// The way to the lane's far end is gone: what is put in can't arrive.
    dead: bool,
}

impl Lane {
    const fn new(side: Side, rules: FrameRules) -> Self {
        Self {
            scanner: Scanner::new(side, rules),
            own_close: None,
            shut: false,
            closed: false,
            eof: false,
            dead: false,
        }
    }
}

/// A relayed session.
#[derive(Debug)]
pub struct Relay {
    client: Lane,
    origin: Lane,
    end: Option<End>,
    closing_since: Option<Millis>,
    started: Millis,
    client_heard: Millis,
    pinged: Option<Millis>,
    ping_wanted: bool,
    data_moved: Millis,
}

/// What a tick asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Nothing, or look at [`Relay::insert`].
    Go,
    /// `close_timeout` is over: end both connections now.
    Cut,
}

impl Relay {
    /// A relay that begins at `now`.
    pub fn new(rules: &RelayRules, now: Millis) -> Self {
        let frames =
            FrameRules { message_max: rules.message_max.unwrap_or(u64::MAX), extensions: rules.extensions };
        Self {
            client: Lane::new(Side::Client, frames),
            origin: Lane::new(Side::Node, frames),
            end: None,
            closing_since: None,
            started: now,
            client_heard: now,
            pinged: None,
            ping_wanted: false,
            data_moved: now,
        }
    }

    const fn lane(&mut self, from: Side) -> &mut Lane {
        match from {
            Side::Client => &mut self.client,
            Side::Node => &mut self.origin,
        }
    }

    const fn lane_ref(&self, from: Side) -> &Lane {
        match from {
            Side::Client => &self.client,
            Side::Node => &self.origin,
        }
    }

    /// Looks at bytes that `from` sent. What [`Scan::held`] and [`Scan::forward`] name goes to the other side, then
    /// [`Relay::insert`] is asked, then the rest is scanned. A fault is not returned but acted on: the scan then says
    /// that all is used and nothing goes on.
    pub fn scan(&mut self, from: Side, bytes: &[u8], now: Millis) -> Scan {
        if from == Side::Client {
            self.client_heard = now;
            self.pinged = None;
        }
        let lane = self.lane(from);
        if lane.closed {
            return drop_all(bytes);
        }
        if lane.shut {
            return self.scan_shut(from, bytes);
        }
        let stop = self.wants_insert(from.other());
        match self.lane(from).scanner.scan(bytes, stop) {
            Ok(scan) => {
                if scan.data {
                    self.data_moved = now;
                }
                if scan.close {
                    let lane = self.lane(from);
                    lane.shut = true;
                    lane.closed = true;
                    lane.own_close = None;
                    self.ending(End { by: from.into(), how: How::Close }, now);
                }
                scan
            }
            Err(fault) => {
                self.fault(from, fault, now);
                drop_all(bytes)
            }
        }
    }

    /// A lane that our own Close shut: nothing goes on, only the peer's Close is waited for.
    fn scan_shut(&mut self, from: Side, bytes: &[u8]) -> Scan {
        let lane = self.lane(from);
        let mut used = 0;
        while used < bytes.len() && !lane.closed {
            match lane.scanner.scan(&bytes[used..], false) {
                Ok(scan) => {
                    lane.closed = scan.close;
                    used += scan.used;
                }
                Err(_) => lane.closed = true,
            }
        }
        drop_all(bytes)
    }

    fn fault(&mut self, from: Side, fault: FrameFault, now: Millis) {
        let (code, reason, how) = match fault {
            FrameFault::TooBig => (code::TOO_BIG, "message too big", How::TooBig),
            _ => (code::PROTOCOL, "illegal frame", How::Violation),
        };
        // what this side sends from here on has no boundaries any more
        self.lane(from).closed = true;
        self.close_both(code, code::GOING_AWAY, reason, End { by: from.into(), how }, now);
    }

    /// The client took bytes that had waited for it. It is slow and not silent: a Ping behind those bytes could not be
    /// answered before.
    pub fn took(&mut self, now: Millis) {
        self.client_heard = now;
        self.pinged = self.pinged.map(|_| now);
    }

    /// `from` will send nothing more: its connection ended in an orderly way.
    pub fn eof(&mut self, from: Side, now: Millis) {
        let lane = self.lane(from);
        if std::mem::replace(&mut lane.eof, true) || lane.shut {
            return;
        }
        let torn = !lane.scanner.at_boundary();
        lane.shut = torn;
        if !torn {
            lane.own_close = Some(match from {
                Side::Client => OwnClose { code: code::GOING_AWAY, reason: "client lost" },
                Side::Node => OwnClose { code: code::BAD_GATEWAY, reason: "origin lost" },
            });
        }
        let how = if torn { How::Truncated } else { How::Lost };
        self.ending(End { by: from.into(), how }, now);
    }

    /// The connection to `side` is broken both ways, and read to its end.
    pub fn lost(&mut self, side: Side, now: Millis) {
        self.eof(side, now);
        self.write_failed(side, now);
    }

    /// `side` takes nothing more, but what it said before may still wait to be read: its end comes by reading, and
    /// within `close_timeout` in any case.
    pub fn write_failed(&mut self, side: Side, now: Millis) {
        let towards = self.lane(side.other());
        towards.dead = true;
        towards.shut = true;
        towards.own_close = None;
        self.closing_since.get_or_insert(now);
    }

    /// The gateway goes down: Close at the next boundary of each direction, however long that takes.
    pub fn drain(&mut self, code: u16) {
        if self.end.is_none() {
            self.ask_close(code, code, "draining");
            self.end = Some(End { by: By::Gateway, how: How::Drain });
        }
    }

    /// Both connections are ended now, whatever was not said yet. `unsent`: our last words still wait for a socket.
    pub fn cut(&mut self, unsent: bool) {
        let drained = End { by: By::Gateway, how: How::Drain };
        let unsaid = unsent || self.client.own_close.is_some() || self.origin.own_close.is_some();
        if self.end.is_none() || (self.end == Some(drained) && unsaid) {
            self.end = Some(End { by: By::Gateway, how: How::Cut });
        }
    }

    /// The operator ended this session.
    pub fn kick(&mut self, now: Millis) {
        self.own_end(code::GOING_AWAY, code::GOING_AWAY, "kicked", How::Kicked, now);
    }

    fn own_end(&mut self, client: u16, origin: u16, reason: &'static str, how: How, now: Millis) {
        if self.end.is_none() {
            self.close_both(client, origin, reason, End { by: By::Gateway, how }, now);
        }
    }

    fn close_both(&mut self, client: u16, origin: u16, reason: &'static str, end: End, now: Millis) {
        self.ask_close(client, origin, reason);
        self.ending(end, now);
    }

    fn ask_close(&mut self, client: u16, origin: u16, reason: &'static str) {
        for (lane, code) in [(&mut self.origin, client), (&mut self.client, origin)] {
            if !lane.shut {
                lane.own_close = Some(OwnClose { code, reason });
            }
        }
    }

    fn ending(&mut self, end: End, now: Millis) {
        self.end.get_or_insert(end);
        self.closing_since.get_or_insert(now);
    }

    /// Looks at the time. `listening`: whether the gateway reads from the client at present; while it does not, because
    /// the origin is slow, the client can't be called silent.
    pub fn tick(&mut self, rules: &RelayRules, now: Millis, listening: bool) -> Tick {
        if let Some(since) = self.closing_since {
            return if now.saturating_sub(since) >= rules.close_timeout { Tick::Cut } else { Tick::Go };
        }
        let over = |limit: Option<Millis>, since: Millis| {
            limit.is_some_and(|limit| now.saturating_sub(since) >= limit)
        };
        let going_away = code::GOING_AWAY;
        if over(rules.lifetime, self.started) {
            self.own_end(going_away, going_away, "lifetime over", How::Lifetime, now);
        } else if over(rules.idle, self.data_moved) {
            self.own_end(going_away, going_away, "idle", How::Idle, now);
        } else if !listening {
            self.client_heard = now;
            self.pinged = None;
        } else if let Some(pinged) = self.pinged {
            if now.saturating_sub(pinged) >= rules.pong_timeout {
                self.own_end(going_away, going_away, "client silent", How::Silent, now);
            }
        } else if over(rules.ping_interval, self.client_heard) {
            self.ping_wanted = true;
        }
        Tick::Go
    }

    /// Writes what the gateway itself wants to say towards `to`, if the lane is at a boundary. Call it after everything
    /// that was passed on to `to` stands before it. `session` is added to the reason of a Close.
    pub fn insert(&mut self, to: Side, session: &str, mask: [u8; 4], now: Millis, out: &mut Vec<u8>) {
        let lane = self.lane(to.other());
        if lane.shut || !lane.scanner.at_boundary() {
            return;
        }
        if let Some(OwnClose { code, reason }) = lane.own_close.take() {
            lane.shut = true;
            self.closing_since.get_or_insert(now);
            write_close(to, code, &format!("{reason} {session}"), mask, out);
        } else if to == Side::Client && std::mem::take(&mut self.ping_wanted) {
            write_ping(to, mask, out);
            self.client.scanner.expect_pong();
            self.pinged = Some(now);
        }
    }

    /// Whether [`Relay::insert`] would have something to say towards `to`.
    pub const fn wants_insert(&self, to: Side) -> bool {
        let lane = self.lane_ref(to.other());
        !lane.shut && (lane.own_close.is_some() || matches!(to, Side::Client) && self.ping_wanted)
    }

    /// Whether nothing more will be sent to `to`, so that its connection may be half-closed once all is flushed: the
    /// close handshake with it is done. When the client is gone the origin is not waited for: the stream's name has to
    /// be free again.
    pub const fn may_finish(&self, to: Side) -> bool {
        let (towards, from) = (self.lane_ref(to.other()), self.lane_ref(to));
        let said_all = towards.shut || towards.eof && towards.own_close.is_none();
        let gone = matches!(to, Side::Node) && towards.eof;
        said_all && (from.closed || from.eof || gone)
    }

    /// Whether the client has to see that its stream was cut: the origin vanished inside a frame.
    pub const fn is_truncated(&self) -> bool {
        self.origin.eof && !self.origin.closed && !self.origin.scanner.at_boundary()
    }

    /// Nothing will be read from `from` any more.
    pub const fn is_eof(&self, from: Side) -> bool {
        self.lane_ref(from).eof
    }

    /// The connection to `to` is broken: nothing written arrives.
    pub const fn is_dead(&self, to: Side) -> bool {
        self.lane_ref(to.other()).dead
    }

    /// Both sides have sent their last byte.
    pub const fn is_over(&self) -> bool {
        self.client.eof && self.origin.eof
    }

    /// When the next [`Relay::tick`] has something to look at.
    pub fn next_due(&self, rules: &RelayRules) -> Millis {
        if let Some(since) = self.closing_since {
            return since.saturating_add(rules.close_timeout);
        }
        let after = |limit: Option<Millis>, since: Millis| {
            limit.map_or(Millis::MAX, |limit| since.saturating_add(limit))
        };
        let heard = match self.pinged {
            Some(pinged) => pinged.saturating_add(rules.pong_timeout),
            None => after(rules.ping_interval, self.client_heard),
        };
        heard.min(after(rules.idle, self.data_moved)).min(after(rules.lifetime, self.started))
    }

    /// The first cause, once there is one.
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// When the last frame that is no Ping or Pong went through.
    pub const fn data_moved(&self) -> Millis {
        self.data_moved
    }
}

fn drop_all(bytes: &[u8]) -> Scan {
    Scan { used: bytes.len(), ..Scan::default() }
}

#[cfg(test)]
mod tests;
