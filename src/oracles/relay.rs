//! The oracle of the relay: whatever the two sides send and whenever the gateway inserts a frame, each side gets whole, legal
//! frames, nothing after a Close, and the other side's bytes unchanged and in order.

use crate::proto::websocket::frame::{FrameRules, Scanner, Side};
use crate::proto::websocket::relay::{Relay, RelayRules, Tick};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, OpCode};

/// Rules with short waits, so that a few ticks reach every deadline.
pub const RULES: RelayRules = RelayRules {
    message_max: Some(512),
    ping_interval: Some(15),
    pong_timeout: 10,
    idle: Some(60),
    lifetime: Some(200),
    close_timeout: 20,
    extensions: false,
};

/// The id of the session, which stands in the reasons of the gateway's Closes.
const ID: &str = "0123456789abcdef";

/// What one side has sent and received.
#[derive(Default)]
struct Leg {
    sent: Vec<u8>,
    received: Vec<u8>,
    /// Of `received`, what the other side sent; the rest is the gateway's own.
    relayed: Vec<u8>,
    ended: bool,
}

/// A relay between two simulated sides.
struct Session {
    relay: Relay,
    client: Leg,
    node: Leg,
    now: u64,
    cut: bool,
}

/// Runs a session that the input describes, and asserts after each step what must hold. Each step is an operation and its
/// argument, some followed by payload.
pub fn relay(mut script: &[u8]) {
    let mut session = Session {
        relay: Relay::new(&RULES, 0),
        client: Leg::default(),
        node: Leg::default(),
        now: 0,
        cut: false,
    };
    while let [operation, argument, rest @ ..] = script
        && !session.cut
    {
        let side = if operation & 1 == 0 { Side::Client } else { Side::Node };
        let size = usize::from(*argument).min(rest.len());
        script = rest;
        match operation >> 1 & 7 {
            0..=3 => {
                session.feed(side, &rest[..size]);
                script = &rest[size..];
            }
            4 => session.advance(u64::from(*argument)),
            5 => session.end(side, argument & 1 == 0),
            6 => session.relay.drain(1001),
            _ => session.relay.kick(session.now),
        }
        session.insert_both();
        session.check();
    }
    session.finish();
}

impl Session {
    fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Node => &mut self.node,
        }
    }

    fn feed(&mut self, from: Side, bytes: &[u8]) {
        if self.leg(from).ended {
            return;
        }
        self.leg(from).sent.extend_from_slice(bytes);
        let to = from.other();
        let mut rest = bytes;
        while !rest.is_empty() {
            let scan = self.relay.scan(from, rest, self.now);
            assert!(scan.used > 0, "no progress");
            let piece = [scan.held.as_slice(), &rest[scan.forward.clone()]].concat();
            let leg = self.leg(to);
            leg.received.extend_from_slice(&piece);
            leg.relayed.extend_from_slice(&piece);
            rest = &rest[scan.used..];
            self.insert(to);
        }
    }

    fn insert(&mut self, to: Side) {
        let mut own = Vec::new();
        self.relay.insert(to, ID, [7, 0, 9, 1], self.now, &mut own);
        if !own.is_empty() {
            assert!(!self.relay.is_unwritable(to), "a frame for a side that can't be written to");
            if let (Some(sent), Some(heard)) =
                (close_payload(&self.leg(to.other()).relayed), close_payload(&own))
            {
                check_answer(&sent, &heard);
            }
        }
        self.leg(to).received.extend_from_slice(&own);
    }

    fn insert_both(&mut self) {
        self.insert(Side::Client);
        self.insert(Side::Node);
    }

    fn advance(&mut self, by: u64) {
        self.now += by;
        self.cut = self.relay.tick(&RULES, self.now, true) == Tick::Cut;
    }

    fn end(&mut self, side: Side, orderly: bool) {
        self.leg(side).ended = true;
        match orderly {
            true => self.relay.eof(side, self.now),
            false => self.relay.lost(side, self.now),
        }
    }

    fn check(&self) {
        for (from, to) in [(&self.client, &self.node), (&self.node, &self.client)] {
            // only a Pong to the gateway's Ping may be missing
            assert!(is_subsequence(&to.relayed, &from.sent), "bytes changed on their way");
        }
        assert_legal(Side::Client, &self.node.received);
        assert_legal(Side::Node, &self.client.received);
    }

    /// Ends both sides and asserts that the relay is over then, or after `close_timeout` at the latest.
    fn finish(mut self) {
        let began = self.relay.end();
        if !self.cut {
            self.end(Side::Client, true);
            self.insert_both();
            self.end(Side::Node, true);
            self.insert_both();
            self.check();
            assert!(self.relay.is_over(), "both are gone");
            for side in [Side::Client, Side::Node] {
                assert!(
                    self.relay.may_finish(side) || self.relay.is_truncated(),
                    "{side:?} is never finished"
                );
            }
            self.advance(RULES.close_timeout);
            assert!(self.cut, "close_timeout cuts");
        }
        let end = self.relay.end();
        assert!(end.is_some() && (began.is_none() || began == end), "the first cause stays");
    }
}

/// The payload of the whole Close frame at the end of some legal frames, without its mask.
fn close_payload(mut frames: &[u8]) -> Option<Vec<u8>> {
    loop {
        let mut cursor = std::io::Cursor::new(frames);
        let (header, length) = FrameHeader::parse(&mut cursor).ok()??;
        let start = usize::try_from(cursor.position()).ok()?;
        let payload = frames.get(start..start + usize::try_from(length).ok()?)?;
        if header.opcode == OpCode::Control(Control::Close) {
            let mask = header.mask.unwrap_or_default();
            return Some(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect());
        }
        frames = &frames[start + payload.len()..];
    }
}

/// Asserts what a side that sent the Close `sent` gets from the gateway: not that the other side was lost, but its own Close
/// again, 1002 if that was illegal, or a Close with another reason of the gateway's own.
fn check_answer(sent: &[u8], heard: &[u8]) {
    let reason = String::from_utf8_lossy(heard.get(2..).unwrap_or_default()).into_owned();
    match reason.strip_suffix(&format!(" {ID}")) {
        Some("illegal close") => {
            assert!(heard[..2] == 1002_u16.to_be_bytes() && !may_close_with(sent), "{sent:?}");
        }
        Some(own) => assert!(!own.ends_with(" lost"), "it closed and hears {own:?}"),
        None => assert!(heard == sent && may_close_with(sent), "{sent:?} became {heard:?}"),
    }
}

/// Whether an endpoint may send a Close with this payload, as tungstenite judges it. Codes from 1016 to 2999 and above 4999
/// have no meaning yet.
fn may_close_with(payload: &[u8]) -> bool {
    let Some((code, reason)) = payload.split_first_chunk() else { return payload.is_empty() };
    let code = u16::from_be_bytes(*code);
    // tungstenite does not know 1014, which the registry has
    (code == 1014 || CloseCode::from(code).is_allowed()) && std::str::from_utf8(reason).is_ok()
}

/// Asserts that what a side received is legal frames of the other side, and that nothing follows a Close.
fn assert_legal(sender: Side, received: &[u8]) {
    let mut scanner = Scanner::new(sender, FrameRules { message_max: u64::MAX, extensions: false });
    let mut rest = received;
    while !rest.is_empty() {
        let scan = scanner.scan(rest, false).expect("only legal frames are forwarded");
        rest = &rest[scan.used..];
        assert!(!scan.close || rest.is_empty(), "something follows a Close");
    }
}

fn is_subsequence(part: &[u8], whole: &[u8]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|byte| whole.any(|other| other == byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session from a seed: frames that are mostly legal, in pieces, with all other operations in between.
    fn script(seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u8::try_from(state >> 56).expect("eight bits")
        };
        let mut script = Vec::new();
        let mut pending = [Vec::new(), Vec::new()];
        for _ in 0..next() % 40 {
            let side = usize::from(next() % 2);
            match next() % 16 {
                0 => script.extend([8, next() % 30]),
                1 if next() % 4 == 0 => script.extend([u8::try_from(10 + side).expect("small"), next()]),
                2 if next() % 4 == 0 => script.extend([12 + next() % 3, 0]),
                _ => {
                    if pending[side].is_empty() {
                        let opcode =
                            [0x81, 0x82, 0x01, 0x80, 0x89, 0x8a, 0x88, 0x83][usize::from(next() % 8)];
                        let length = match opcode {
                            // half of the Closes are empty: with random bytes nearly all of them are illegal
                            0x88 if next() % 2 == 0 => 0,
                            _ => next() % 100,
                        };
                        pending[side].extend([opcode, length | if side == 0 { 0x80 } else { 0 }]);
                        let body = usize::from(length) + if side == 0 { 4 } else { 0 };
                        pending[side].extend((0..body).map(|_| next()));
                    }
                    let piece = usize::from(1 + next() % 60).min(pending[side].len());
                    script.extend([u8::try_from(side).expect("small"), u8::try_from(piece).expect("small")]);
                    script.extend(pending[side].drain(..piece));
                }
            }
        }
        script
    }

    #[test]
    fn random_sessions_keep_the_rules() {
        for seed in 0..20_000 {
            relay(&script(seed));
        }
    }
}
