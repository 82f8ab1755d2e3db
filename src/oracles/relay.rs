//! The oracle of the relay: whatever the two sides do and whenever the gateway speaks itself, each side sees whole, legal
//! frames, nothing after a Close, and the other side's bytes in order and unchanged.

use crate::proto::websocket::frame::{FrameRules, Scanner, Side};
use crate::proto::websocket::relay::{Relay, RelayRules, Tick};

/// Small waits, so that a few ticks reach every deadline.
pub const RULES: RelayRules = RelayRules {
    message_max: Some(512),
    ping_interval: Some(15),
    pong_timeout: 10,
    idle: Some(60),
    lifetime: Some(200),
    close_timeout: 20,
    extensions: false,
};

/// What one side has sent and seen.
#[derive(Default)]
struct Leg {
    sent: Vec<u8>,
    seen: Vec<u8>,
    /// Of `seen`, what the other side wrote; the rest is the gateway's own.
    relayed: Vec<u8>,
    ended: bool,
}

struct World {
    relay: Relay,
    client: Leg,
    origin: Leg,
    now: u64,
    cut: bool,
}

/// Runs a session written as bytes: each step is an operation and its argument, some of them followed by payload.
pub fn relay(mut script: &[u8]) {
    let mut world = World {
        relay: Relay::new(&RULES, 0),
        client: Leg::default(),
        origin: Leg::default(),
        now: 0,
        cut: false,
    };
    while let [operation, argument, rest @ ..] = script
        && !world.cut
    {
        let side = if operation & 1 == 0 { Side::Client } else { Side::Node };
        let size = usize::from(*argument).min(rest.len());
        script = rest;
        match operation >> 1 & 7 {
            0..=3 => {
                world.feed(side, &rest[..size]);
                script = &rest[size..];
            }
            4 => world.pass_time(u64::from(*argument)),
            5 => world.end(side, argument & 1 == 0),
            6 => world.relay.drain(1001),
            _ => world.relay.kick(world.now),
        }
        world.speak();
        world.check();
    }
    world.finish();
}

impl World {
    fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Node => &mut self.origin,
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
            leg.seen.extend_from_slice(&piece);
            leg.relayed.extend_from_slice(&piece);
            rest = &rest[scan.used..];
            self.insert(to);
        }
    }

    fn insert(&mut self, to: Side) {
        let mut own = Vec::new();
        self.relay.insert(to, "0123456789abcdef", [7, 0, 9, 1], self.now, &mut own);
        if !own.is_empty() {
            assert!(!self.relay.is_unwritable(to), "spoke to the dead");
        }
        self.leg(to).seen.extend_from_slice(&own);
    }

    fn speak(&mut self) {
        self.insert(Side::Client);
        self.insert(Side::Node);
    }

    fn pass_time(&mut self, by: u64) {
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
        for (from, to) in [(&self.client, &self.origin), (&self.origin, &self.client)] {
            // a Pong to our own Ping is the one thing that may be missing
            assert!(is_subsequence(&to.relayed, &from.sent), "bytes changed on their way");
        }
        legal(Side::Client, &self.origin.seen);
        legal(Side::Node, &self.client.seen);
    }

    /// However the script left it: once both sides are gone, or after `close_timeout`, the session is over.
    fn finish(mut self) {
        let began = self.relay.end();
        if !self.cut {
            self.end(Side::Client, true);
            self.speak();
            self.end(Side::Node, true);
            self.speak();
            self.check();
            assert!(self.relay.is_over(), "both are gone");
            for side in [Side::Client, Side::Node] {
                assert!(
                    self.relay.may_finish(side) || self.relay.is_truncated(),
                    "{side:?} is never finished"
                );
            }
            self.pass_time(RULES.close_timeout);
            assert!(self.cut, "close_timeout cuts");
        }
        let end = self.relay.end();
        assert!(end.is_some() && (began.is_none() || began == end), "the first cause stays");
    }
}

/// What a side sees reads as frames of its peer, and nothing follows a Close.
fn legal(sender: Side, seen: &[u8]) {
    let mut scanner = Scanner::new(sender, FrameRules { message_max: u64::MAX, extensions: false });
    let mut rest = seen;
    while !rest.is_empty() {
        let scan = scanner.scan(rest, false).expect("only legal frames are passed on");
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

    /// Sessions from a seed: frames that are mostly legal, in pieces, with everything else in between.
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
                        let length = next() % 100;
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
    fn every_session_keeps_the_promises() {
        for seed in 0..20_000 {
            relay(&script(seed));
        }
    }
}
