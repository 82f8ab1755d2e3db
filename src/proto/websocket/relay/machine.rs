//! The state machine of a relay: what each event does to the two lanes.

use crate::proto::millis::Millis;
use crate::proto::websocket::close;
use crate::proto::websocket::frame::{
    FrameFault, FrameRules, Scan, Side, write_close, write_close_answer, write_ping,
};
use crate::proto::websocket::relay::end::{By, End, How};
use crate::proto::websocket::relay::lane::{GatewayClose, Lane, PendingClose, code};
use crate::proto::websocket::relay::rules::RelayRules;

/// The state of one relay: both lanes, the deadlines, and the end once there is one. It holds no bytes but a cut header.
#[derive(Debug)]
pub struct Relay {
    /// What the client sends.
    client: Lane,
    /// What the node sends.
    node: Lane,
    end: Option<End>,
    /// When `close_timeout` began.
    closing_since: Option<Millis>,
    started: Millis,
    /// When the client last sent bytes, or took bytes that had waited for it.
    client_heard: Millis,
    /// When the Ping was sent that the client has not reacted to.
    pinged: Option<Millis>,
    /// A Ping is to be inserted at the next frame boundary.
    ping_wanted: bool,
    data_moved: Millis,
    /// Pings that the gateway sent to the client.
    pings: u32,
    /// The code of the gateway's own Close to the client, and to the node; 0 for none.
    sent_codes: [u16; 2],
}

/// What the worker has to do after a [`Relay::tick`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Go on as before; [`Relay::insert`] may have a frame to write.
    Go,
    /// `close_timeout` is over: end both connections now.
    Cut,
}

impl Relay {
    /// A relay that begins at `now`, with both lanes open and at a frame boundary.
    pub fn new(rules: &RelayRules, now: Millis) -> Self {
        let frames =
            FrameRules { message_max: rules.message_max.unwrap_or(u64::MAX), extensions: rules.extensions };
        Self {
            client: Lane::new(Side::Client, frames),
            node: Lane::new(Side::Node, frames),
            end: None,
            closing_since: None,
            started: now,
            client_heard: now,
            pinged: None,
            ping_wanted: false,
            data_moved: now,
            pings: 0,
            sent_codes: [0; 2],
        }
    }

    const fn lane_mut(&mut self, from: Side) -> &mut Lane {
        match from {
            Side::Client => &mut self.client,
            Side::Node => &mut self.node,
        }
    }

    const fn lane(&self, from: Side) -> &Lane {
        match from {
            Side::Client => &self.client,
            Side::Node => &self.node,
        }
    }

    /// Scans bytes that `from` sent, received at `now`.
    ///
    /// The worker forwards [`Scan::held`] and [`Scan::forward`] to the other side, then calls [`Relay::insert`], then scans
    /// the bytes behind [`Scan::used`]. A faulty frame is no error here: the relay prepares a Close for both legs, and the
    /// scan says that all bytes are used and none is forwarded.
    pub fn scan(&mut self, from: Side, bytes: &[u8], now: Millis) -> Scan {
        if from == Side::Client {
            self.client_heard = now;
            self.pinged = None;
        }
        let lane = self.lane_mut(from);
        if lane.closed {
            return drop_all(bytes);
        }
        if lane.shut {
            return self.scan_shut(from, bytes);
        }
        let stop = self.wants_insert(from.other());
        match self.lane_mut(from).scanner.scan(bytes, stop) {
            Ok(scan) => {
                if scan.data {
                    self.data_moved = now;
                }
                if scan.close {
                    let lane = self.lane_mut(from);
                    lane.shut = true;
                    lane.closed = true;
                    lane.pending_close = None;
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

    /// Scans bytes of a lane that the gateway's Close shut: none is forwarded, but the side's own Close is noted.
    fn scan_shut(&mut self, from: Side, bytes: &[u8]) -> Scan {
        let lane = self.lane_mut(from);
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

    /// Ends the relay because of a faulty frame of `from`: 1009 or 1002 for the client, 1001 for the node.
    fn fault(&mut self, from: Side, fault: FrameFault, now: Millis) {
        let (code, reason, how) = match fault {
            FrameFault::TooBig => (code::TOO_BIG, "message too big", How::TooBig),
            _ => (code::PROTOCOL, "illegal frame", How::Violation),
        };
        // without a legal header no later frame boundary of this side can be found
        self.lane_mut(from).closed = true;
        self.close_both(code, code::GOING_AWAY, reason, End { by: from.into(), how }, now);
    }

    /// The client took bytes that had waited in the outbox. It is slow and not silent: a Ping behind those bytes could not
    /// reach it before. So its silence counts from `now`.
    pub fn client_took(&mut self, now: Millis) {
        self.client_heard = now;
        self.pinged = self.pinged.map(|_| now);
    }

    /// The connection of `from` was read to its end: no more bytes come from it. Inside a frame the end is
    /// [`How::Truncated`]; at a frame boundary it is [`How::Lost`], and the other side gets a Close: the answer to its own
    /// Close if it sent one, otherwise 1001 or 1014.
    pub fn eof(&mut self, from: Side, now: Millis) {
        let other_closed = self.lane(from.other()).scanner.has_closed();
        let lane = self.lane_mut(from);
        if std::mem::replace(&mut lane.eof, true) || lane.shut {
            return;
        }
        let truncated = !lane.scanner.at_boundary();
        lane.shut = truncated;
        if !truncated {
            // a Close that waits already has the cause that came first
            lane.pending_close.get_or_insert(match from {
                _ if other_closed => PendingClose::Answer,
                Side::Client => {
                    PendingClose::Own(GatewayClose { code: code::GOING_AWAY, reason: "client lost" })
                }
                Side::Node => {
                    PendingClose::Own(GatewayClose { code: code::BAD_GATEWAY, reason: "origin lost" })
                }
            });
        }
        let how = if truncated { How::Truncated } else { How::Lost };
        self.ending(End { by: from.into(), how }, now);
    }

    /// The connection to `side` is broken in both directions: it was read to its end, and nothing can be written to it.
    pub fn lost(&mut self, side: Side, now: Millis) {
        self.eof(side, now);
        self.write_failed(side, now);
    }

    /// A write to `side` failed: nothing more can be sent to it. Bytes that it sent before may still wait to be read, so the
    /// end of its lane comes by reading, or when `close_timeout` is over.
    pub fn write_failed(&mut self, side: Side, now: Millis) {
        let towards = self.lane_mut(side.other());
        towards.unwritable = true;
        towards.shut = true;
        towards.pending_close = None;
        self.closing_since.get_or_insert(now);
    }

    /// The gateway drains: a Close with this code goes into each lane at its next frame boundary, however late that is.
    /// Does nothing if the relay is ending already.
    pub fn drain(&mut self, code: u16) {
        if self.end.is_none() {
            self.set_pending_close(code, code, "draining");
            self.end = Some(End { by: By::Gateway, how: How::Drain });
        }
    }

    /// The worker ends both connections now. An open relay, or a drained one of which a leg did not get its Close, ends as
    /// [`How::Cut`]. `unsent`: bytes for the client, the Close perhaps among them, still wait in the outbox.
    pub fn cut(&mut self, unsent: bool) {
        let drained = End { by: By::Gateway, how: How::Drain };
        let untold = unsent || self.client.pending_close.is_some() || self.node.pending_close.is_some();
        if self.end.is_none() || (self.end == Some(drained) && untold) {
            self.end = Some(End { by: By::Gateway, how: How::Cut });
        }
    }

    /// The operator ends this session: Close 1001 for both sides, unless the relay is ending already.
    pub fn kick(&mut self, now: Millis) {
        self.end_by_gateway(code::GOING_AWAY, code::GOING_AWAY, "kicked", How::Kicked, now);
    }

    /// Begins the end for a reason of the gateway's own, with these Close codes for client and node.
    fn end_by_gateway(&mut self, client: u16, node: u16, reason: &'static str, how: How, now: Millis) {
        if self.end.is_none() {
            self.close_both(client, node, reason, End { by: By::Gateway, how }, now);
        }
    }

    fn close_both(&mut self, client: u16, node: u16, reason: &'static str, end: End, now: Millis) {
        self.set_pending_close(client, node, reason);
        self.ending(end, now);
    }

    fn set_pending_close(&mut self, client: u16, node: u16, reason: &'static str) {
        for (lane, code) in [(&mut self.node, client), (&mut self.client, node)] {
            if !lane.shut {
                lane.pending_close = Some(PendingClose::Own(GatewayClose { code, reason }));
            }
        }
    }

    fn ending(&mut self, end: End, now: Millis) {
        self.end.get_or_insert(end);
        self.closing_since.get_or_insert(now);
    }

    /// Prepares the answer to each Close that got none within `close_timeout`: the side that sent it closed in good order.
    fn answer_unanswered(&mut self) {
        for side in Side::ALL {
            let closed = self.lane(side).scanner.has_closed();
            let answers = self.lane_mut(side.other());
            if closed && !answers.shut {
                answers.pending_close.get_or_insert(PendingClose::Answer);
            }
        }
    }

    /// Checks all deadlines at `now`. `listening`: whether the gateway reads from the client at present. It does not while
    /// the node is slow, and then the client's silence has no meaning, so it is not counted.
    pub fn tick(&mut self, rules: &RelayRules, now: Millis, listening: bool) -> Tick {
        if let Some(since) = self.closing_since {
            if now.saturating_sub(since) < rules.close_timeout {
                return Tick::Go;
            }
            self.answer_unanswered();
            return Tick::Cut;
        }
        let over = |limit: Option<Millis>, since: Millis| {
            limit.is_some_and(|limit| now.saturating_sub(since) >= limit)
        };
        let going_away = code::GOING_AWAY;
        if over(rules.lifetime, self.started) {
            self.end_by_gateway(going_away, going_away, "lifetime over", How::Lifetime, now);
        } else if over(rules.idle, self.data_moved) {
            self.end_by_gateway(going_away, going_away, "idle", How::Idle, now);
        } else if !listening {
            self.client_heard = now;
            self.pinged = None;
        } else if let Some(pinged) = self.pinged {
            if now.saturating_sub(pinged) >= rules.pong_timeout {
                self.end_by_gateway(going_away, going_away, "client silent", How::Silent, now);
            }
        } else if over(rules.ping_interval, self.client_heard) {
            self.ping_wanted = true;
        }
        Tick::Go
    }

    /// Appends the gateway's own frame for `to`, a Close or a Ping, to `out`, if there is one and the lane is at a frame
    /// boundary. All bytes forwarded to `to` so far have to stand before it. The id `session` is added to the reason of a
    /// Close of the gateway's own; `mask` is used for frames to the node only, whose client the gateway is (RFC 6455 5.3).
    pub fn insert(&mut self, to: Side, session: &str, mask: [u8; 4], now: Millis, out: &mut Vec<u8>) {
        let lane = self.lane_mut(to.other());
        if lane.shut || !lane.scanner.at_boundary() {
            return;
        }
        if let Some(close) = lane.pending_close.take() {
            lane.shut = true;
            self.closing_since.get_or_insert(now);
            let (code, reason) = match close {
                PendingClose::Own(GatewayClose { code, reason }) => (code, reason),
                PendingClose::Answer => match self.lane(to).scanner.close_payload() {
                    Some(payload) if close::is_legal(&payload) => {
                        return write_close_answer(to, &payload, mask, out);
                    }
                    _ => (code::PROTOCOL, "illegal close"),
                },
            };
            self.sent_codes[to as usize] = code;
            write_close(to, code, &format!("{reason} {session}"), mask, out);
        } else if to == Side::Client && std::mem::take(&mut self.ping_wanted) {
            write_ping(to, mask, out);
            self.pings = self.pings.saturating_add(1);
            self.client.scanner.expect_pong();
            self.pinged = Some(now);
        }
    }

    /// Whether [`Relay::insert`] has a frame for `to`, now or at the next frame boundary.
    pub const fn wants_insert(&self, to: Side) -> bool {
        let lane = self.lane(to.other());
        !lane.shut && (lane.pending_close.is_some() || matches!(to, Side::Client) && self.ping_wanted)
    }

    /// Whether nothing more will be sent to `to` and the close handshake with it is done, so that its connection may be
    /// half-closed once its outbox is empty. When the client is gone, the node's Close is not waited for: the node has to
    /// free the stream's name soon.
    pub const fn may_finish(&self, to: Side) -> bool {
        let (towards, from) = (self.lane(to.other()), self.lane(to));
        let sent_all = towards.shut || towards.eof && towards.pending_close.is_none();
        let client_gone = matches!(to, Side::Node) && towards.eof;
        sent_all && (from.closed || from.eof || client_gone)
    }

    /// Whether the node vanished inside a frame: the client's connection must then end without an orderly close.
    pub const fn is_truncated(&self) -> bool {
        self.node.eof && !self.node.closed && !self.node.scanner.at_boundary()
    }

    /// Whether the side `from` has sent its Close, after which it sends nothing more.
    pub const fn has_closed(&self, from: Side) -> bool {
        self.lane(from).closed
    }

    /// The code of the Close that `from` sent: `None` without a whole one, `Some(None)` for one without a code.
    pub fn close_code(&self, from: Side) -> Option<Option<u16>> {
        let payload = self.lane(from).scanner.close_payload()?;
        Some(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))
    }

    /// The code of the Close that the gateway itself sent to `to`.
    pub const fn sent_code(&self, to: Side) -> Option<u16> {
        match self.sent_codes[to as usize] {
            0 => None,
            code => Some(code),
        }
    }

    /// How many Pings the gateway sent to the client.
    pub const fn pings(&self) -> u32 {
        self.pings
    }

    /// Whether the next byte of `from` begins a frame.
    pub const fn begins_frame(&self, from: Side) -> bool {
        self.lane(from).scanner.begins_frame()
    }

    /// Whether the connection of `from` was read to its end.
    pub const fn is_eof(&self, from: Side) -> bool {
        self.lane(from).eof
    }

    /// Whether a write to `to` failed, so that nothing written arrives.
    pub const fn is_unwritable(&self, to: Side) -> bool {
        self.lane(to.other()).unwritable
    }

    /// Whether both connections were read to their ends.
    pub const fn is_over(&self) -> bool {
        self.client.eof && self.node.eof
    }

    /// The time of the next deadline that a [`Relay::tick`] has to check; [`Millis::MAX`] if there is none.
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

    /// The first cause of the end; `None` while the relay is open.
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// When bytes of a frame other than Ping and Pong last went through.
    pub const fn data_moved(&self) -> Millis {
        self.data_moved
    }
}

/// The result of a scan that drops all bytes.
fn drop_all(bytes: &[u8]) -> Scan {
    Scan { used: bytes.len(), ..Scan::default() }
}
