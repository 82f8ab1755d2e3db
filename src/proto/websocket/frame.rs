//! WebSocket frames (RFC 6455, 5.2): headers are looked at, payload is never touched.
//!
//! The scanner works cut-through: what has arrived goes on, a frame is never assembled. It keeps back only a header that
//! is not complete yet (at most 13 bytes, nobody can act on them), so its verdict comes before the first byte of the
//! frame it judges is passed on, and the bytes passed on always end inside a payload or at a frame's end: the gateway
//! knows at every moment whether it may put a frame of its own in.
//!
//! ```text
//!            ┌────────────── header complete, legal ──────────────┐
//!            │                                                    ▼
//!      ┌───────────┐   header incomplete: keep      ┌────────────────────────┐
//!      │ boundary  │ ──────────────────────► …      │ payload, `left` to go  │
//!      └───────────┘                                └────────────────────────┘
//!            ▲                                                    │
//!            └──────────────── left = 0 ──────────────────────────┘
//! ```

use std::ops::Range;

/// Longest header: 2 bytes, 8 of length, 4 of mask. A Pong of ours with its payload fits too.
const HEADER_MAX: usize = 14;

/// Payload of the gateway's own pings. The client's Pong with it is for us and is not passed on.
pub const PING_PAYLOAD: &[u8; 8] = b"tidegate";

/// The two peers of a relay; also: where bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Node,
}

impl Side {
    /// Both sides, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 2] = [Self::Client, Self::Node];

    /// The label in metrics and logs. A node is called `origin` there: the outside was fixed with that word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "origin",
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Node,
            Self::Node => Self::Client,
        }
    }
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// A reserved bit that no extension gave a meaning.
    ReservedBit,
    /// An opcode that RFC 6455 reserves.
    ReservedOpcode,
    /// A length that is not in its shortest form, or has its top bit set.
    BadLength,
    /// A control frame that is fragmented or longer than 125 bytes, or a Close with one byte.
    BadControl,
    /// A client frame without mask, or an origin frame with one.
    BadMask,
    /// A continuation of nothing, or a new message inside a fragmented one.
    BadContinuation,
    /// The message is over the limit.
    TooBig,
}

/// What one look at some bytes gave. The bytes to pass on are `held`, then `forward` of the input.
#[derive(Debug, Default)]
pub struct Scan {
    /// Header bytes that earlier input began and this input completed.
    pub held: Held,
    /// Which part of the input may be passed on.
    pub forward: Range<usize>,
    /// How much of the input is dealt with; call again with the rest unless it is all of it.
    pub used: usize,
    /// Frames whose header was completed in this look.
    pub frames: u32,
    /// Something other than Ping and Pong moved.
    pub data: bool,
    /// A Close frame ends where `forward` ends: nothing after it is passed on.
    pub close: bool,
    /// A Pong to our own Ping was taken out.
    pub pong: bool,
}

/// At most one header's bytes.
#[derive(Debug, Default, Clone, Copy)]
pub struct Held {
    bytes: [u8; HEADER_MAX],
    len: u8,
}

impl Held {
    /// The bytes held.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }
}

/// What the frames of one side may look like.
#[derive(Debug, Clone, Copy)]
pub struct FrameRules {
    /// Bytes of one message with all its fragments.
    pub message_max: u64,
    /// An extension was agreed on end to end: the reserved bits are theirs.
    pub extensions: bool,
}

/// Knows every frame boundary of one direction.
#[derive(Debug)]
pub struct Scanner {
    side: Side,
    rules: FrameRules,
    /// Payload bytes of the present frame still to come.
    left: u64,
    held: Held,
    /// Payload bytes of the present message so far announced.
    message: u64,
    fragmented: bool,
    /// What the present payload belongs to.
    payload: Payload,
    /// Pings of ours that were not answered yet.
    pongs_due: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    Data,
    Ping,
    Close,
}

struct Header {
    opcode: u8,
    fin: bool,
    len: u64,
    size: usize,
}

impl Scanner {
    /// A scanner for what `side` sends.
    pub const fn new(side: Side, rules: FrameRules) -> Self {
        Self {
            side,
            rules,
            left: 0,
            held: Held { bytes: [0; HEADER_MAX], len: 0 },
            message: 0,
            fragmented: false,
            payload: Payload::Data,
            pongs_due: 0,
        }
    }

    /// Whether everything passed on so far ends at a frame's end.
    pub const fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// The gateway sent a Ping with [`PING_PAYLOAD`]: take its Pong out. Several may be under way, when other bytes of the
    /// client came first and it fell silent again.
    pub const fn expect_pong(&mut self) {
        self.pongs_due = self.pongs_due.saturating_add(1);
    }

    /// Looks at the next bytes. After an `Err` the scanner must not be used again, and nothing of `bytes` that was not
    /// reported by an earlier call may be passed on: the fault is found before the frame's first byte is let go.
    ///
    /// With `stop` it comes back at the first frame's end, so that the caller may put a frame of its own in there.
    pub fn scan(&mut self, bytes: &[u8], stop: bool) -> Result<Scan, FrameFault> {
        let mut scan = Scan::default();
        if self.held.len > 0 && !self.complete_held(bytes, &mut scan)? {
            return Ok(scan);
        }
        let start = scan.used;
        let mut at = start;
        scan.forward = start..start;
        loop {
            let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
            at += take;
            self.left -= take as u64;
            scan.data |= take > 0 && self.payload != Payload::Ping;
            scan.forward.end = at;
            scan.used = at;
            if self.left == 0 && self.payload == Payload::Close {
                scan.close = true;
                return Ok(scan);
            }
            let moved = at > start || scan.held.len > 0;
            if at == bytes.len() || (stop && moved && self.left == 0) {
                return Ok(scan);
            }
            match self.header_at(&bytes[at..]) {
                Look::Incomplete => {
                    bytes[at..].iter().for_each(|byte| self.held.push(*byte));
                    scan.used = bytes.len();
                    return Ok(scan);
                }
                // what stands before it goes out first; the fault is found again from the boundary
                Look::Fault(_) if moved => return Ok(scan),
                Look::Fault(fault) => return Err(fault),
                Look::OwnPong(size) => {
                    self.take_pong(&mut scan);
                    scan.used = at + size;
                    return Ok(scan);
                }
                Look::Header(header) => {
                    at += header.size;
                    self.begin(&header, &mut scan);
                }
            }
        }
    }

    /// Fills the held header from `bytes`. False: still not complete, or taken out; `scan` says what was used.
    fn complete_held(&mut self, bytes: &[u8], scan: &mut Scan) -> Result<bool, FrameFault> {
        for (index, byte) in bytes.iter().enumerate() {
            self.held.push(*byte);
            scan.used = index + 1;
            match self.header_at(self.held.as_slice()) {
                Look::Incomplete => {}
                Look::Fault(fault) => return Err(fault),
                Look::OwnPong(_) => {
                    self.held = Held::default();
                    self.take_pong(scan);
                    return Ok(false);
                }
                Look::Header(header) => {
                    scan.held = std::mem::take(&mut self.held);
                    self.begin(&header, scan);
                    // waiting for our own Pong may have kept payload back together with the header
                    self.left -= u64::from(scan.held.len) - header.size as u64;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn take_pong(&mut self, scan: &mut Scan) {
        self.pongs_due = self.pongs_due.saturating_sub(1);
        scan.frames += 1;
        scan.pong = true;
    }

    fn begin(&mut self, header: &Header, scan: &mut Scan) {
        self.left = header.len;
        self.payload = match header.opcode {
            CLOSE => Payload::Close,
            PING | PONG => Payload::Ping,
            _ => Payload::Data,
        };
        if header.opcode < CLOSE {
            let so_far = if header.opcode == CONTINUATION { self.message } else { 0 };
            self.message = so_far.saturating_add(header.len);
            self.fragmented = !header.fin;
        }
        scan.frames += 1;
        scan.data |= self.payload != Payload::Ping;
    }

    /// Judges the header at the front of `bytes`, in the order of its bytes: cuts never change the verdict.
    fn header_at(&self, bytes: &[u8]) -> Look {
        let &[first, second, ref rest @ ..] = bytes else { return Look::Incomplete };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let (masked, short) = (second & 0x80 != 0, second & 0x7f);
        if let Err(fault) = self.judge_opcode(first, short) {
            return Look::Fault(fault);
        }
        if masked != (self.side == Side::Client) {
            return Look::Fault(FrameFault::BadMask);
        }
        let (len, extra) = match short {
            126 => match rest.first_chunk::<2>() {
                Some(len) => (u64::from(u16::from_be_bytes(*len)), 2),
                None => return Look::Incomplete,
            },
            127 => match rest.first_chunk::<8>() {
                Some(len) => (u64::from_be_bytes(*len), 8),
                None => return Look::Incomplete,
            },
            short => (u64::from(short), 0),
        };
        if (extra == 2 && len < 126) || (extra == 8 && !(65_536..=u64::MAX >> 1).contains(&len)) {
            return Look::Fault(FrameFault::BadLength);
        }
        let so_far = if opcode == CONTINUATION { self.message } else { 0 };
        if opcode < CLOSE && so_far.saturating_add(len) > self.rules.message_max {
            return Look::Fault(FrameFault::TooBig);
        }
        let size = 2 + extra + if masked { 4 } else { 0 };
        if bytes.len() < size {
            return Look::Incomplete;
        }
        if self.pongs_due > 0 && opcode == PONG && len == PING_PAYLOAD.len() as u64 {
            return own_pong(bytes).unwrap_or(Look::Header(Header { opcode, fin, len, size }));
        }
        Look::Header(Header { opcode, fin, len, size })
    }

    fn judge_opcode(&self, first: u8, short: u8) -> Result<(), FrameFault> {
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let control = opcode >= CLOSE;
        if first & 0x70 != 0 && (!self.rules.extensions || control) {
            return Err(FrameFault::ReservedBit);
        }
        match opcode {
            CONTINUATION if !self.fragmented => Err(FrameFault::BadContinuation),
            TEXT | BINARY if self.fragmented => Err(FrameFault::BadContinuation),
            CONTINUATION | TEXT | BINARY => Ok(()),
            CLOSE if short == 1 => Err(FrameFault::BadControl),
            CLOSE | PING | PONG if fin && short <= 125 => Ok(()),
            CLOSE | PING | PONG => Err(FrameFault::BadControl),
            _ => Err(FrameFault::ReservedOpcode),
        }
    }
}

/// A masked frame with eight bytes of payload: ours (then it is taken out), not ours (`None`), or not yet to be told.
fn own_pong(bytes: &[u8]) -> Option<Look> {
    let (mask, payload) = (&bytes[2..6], &bytes[6..]);
    let len = payload.len().min(PING_PAYLOAD.len());
    if (0..len).any(|index| payload[index] ^ mask[index % 4] != PING_PAYLOAD[index]) {
        return None;
    }
    Some(if len == PING_PAYLOAD.len() { Look::OwnPong(6 + len) } else { Look::Incomplete })
}

enum Look {
    Incomplete,
    Fault(FrameFault),
    /// Header and payload of a Pong to our Ping, so many bytes.
    OwnPong(usize),
    Header(Header),
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Longest reason that a Close may carry: 125 bytes without the two of the code.
const REASON_MAX: usize = 123;

/// Writes a Close frame of the gateway's own towards `to`: masked when it goes to the origin, whose client we are.
/// A reason that is too long is cut at a character.
pub fn write_close(to: Side, code: u16, reason: &str, mask: [u8; 4], out: &mut Vec<u8>) {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let payload = [&code.to_be_bytes()[..], &reason.as_bytes()[..end]].concat();
    write_control(to, CLOSE, &payload, mask, out);
}

/// Writes the gateway's own Ping towards `to`.
pub fn write_ping(to: Side, mask: [u8; 4], out: &mut Vec<u8>) {
    write_control(to, PING, PING_PAYLOAD, mask, out);
}

fn write_control(to: Side, opcode: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let len = u8::try_from(payload.len()).expect("control payloads are at most 125 bytes by construction");
    out.push(0x80 | opcode);
    match to {
        Side::Client => {
            out.push(len);
            out.extend_from_slice(payload);
        }
        Side::Node => {
            out.push(0x80 | len);
            out.extend_from_slice(&mask);
            out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
    }
}
