//! WebSocket frames (RFC 6455 5.2): headers are read, payload is never touched.
//!
//! The scanner works cut-through: bytes are forwarded as they arrive, a frame is never assembled. The scanner holds back
//! only a header that is not complete yet (at most 13 bytes, which no receiver could use). So a frame is judged before its
//! first byte is forwarded, and the forwarded bytes always end inside a payload or at a frame boundary: the gateway knows
//! at every moment whether it may insert a frame of its own.
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

use crate::proto::websocket::close::{CONTROL_MAX, SentClose};
pub use crate::proto::websocket::side::Side;
use std::ops::Range;

/// Longest header: 2 bytes, 8 of length, 4 of mask. A Pong to the gateway's Ping fits too, payload included.
const HEADER_MAX: usize = 14;

/// Payload of the gateway's own Pings. The client's Pong with this payload is for the gateway and is not forwarded.
pub const PING_PAYLOAD: &[u8; 8] = b"tidegate";

/// Which rule of RFC 6455 a frame breaks, or which limit it exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// A reserved bit is set without an extension that gives it a meaning, or in a control frame (5.2).
    ReservedBit,
    /// An opcode that RFC 6455 reserves (5.2).
    ReservedOpcode,
    /// A length that is not in its shortest form, or has its top bit set (5.2).
    BadLength,
    /// A control frame that is fragmented or longer than 125 bytes, or a Close with a payload of one byte (5.5).
    BadControl,
    /// A client frame without a mask, or a node frame with one (5.1).
    BadMask,
    /// A continuation of no message, or a new message inside a fragmented one (5.4).
    BadContinuation,
    /// The message is longer than [`FrameRules::message_max`].
    TooBig,
}

/// What one call of [`Scanner::scan`] found. The bytes to forward are `held`, then the range `forward` of the input.
#[derive(Debug, Default)]
pub struct Scan {
    /// A header that earlier input began and this input completed; empty otherwise.
    pub held: Held,
    /// The part of the input to forward.
    pub forward: Range<usize>,
    /// Bytes of the input that are done with. If it is not all of them, scan the rest in another call.
    pub used: usize,
    /// Number of frames whose header was completed in this call.
    pub frames: u32,
    /// Whether bytes of a frame other than Ping and Pong are forwarded.
    pub data: bool,
    /// Whether a Close frame ends where `forward` ends: no byte after it is forwarded.
    pub close: bool,
    /// Whether a Pong to the gateway's Ping was removed.
    pub pong: bool,
}

/// The bytes of one header at most, held back until it is complete.
#[derive(Debug, Default, Clone, Copy)]
pub struct Held {
    bytes: [u8; HEADER_MAX],
    len: u8,
}

impl Held {
    /// The bytes that are held back, in the order in which they came.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }
}

/// Which frames of one side are legal, beyond RFC 6455.
#[derive(Debug, Clone, Copy)]
pub struct FrameRules {
    /// Most payload bytes of one message, all its fragments together.
    pub message_max: u64,
    /// Whether client and node agreed on an extension: the reserved bits of data frames are theirs then.
    pub extensions: bool,
}

/// Reads the frame headers of one direction and knows its frame boundaries, whatever pieces the bytes come in.
#[derive(Debug)]
pub struct Scanner {
    side: Side,
    rules: FrameRules,
    /// Payload bytes of the present frame still to come.
    left: u64,
    held: Held,
    /// Payload bytes that the headers of the present message have announced so far.
    message: u64,
    /// The present message has fragments still to come.
    fragmented: bool,
    /// The kind of frame that the present payload belongs to.
    payload: Payload,
    /// The gateway's Pings whose Pong has not come yet.
    pongs_due: u8,
    /// The Close frame that this side sent, or has begun to send. Boxed, since a session has one at its end only.
    close: Option<Box<SentClose>>,
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
    /// Bytes of the payload.
    len: u64,
    /// Bytes of the header itself.
    size: usize,
}

impl Scanner {
    /// A scanner for the frames that `side` sends, at a frame boundary and outside of any message.
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
            close: None,
        }
    }

    /// The payload of the Close frame that this side sent, without its mask; `None` while there is no whole one.
    pub fn close_payload(&self) -> Option<Vec<u8>> {
        self.close.as_ref().filter(|_| self.left == 0).map(|close| close.unmasked())
    }

    /// Whether this side sent a whole Close frame.
    pub const fn has_closed(&self) -> bool {
        self.close.is_some() && self.left == 0
    }

    /// Whether the bytes forwarded so far end at a frame boundary.
    pub const fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// Whether the next byte begins a frame.
    pub const fn begins_frame(&self) -> bool {
        self.left == 0 && self.held.len == 0
    }

    /// Tells the scanner that the gateway sent a Ping with [`PING_PAYLOAD`], so that it removes one Pong with this payload.
    /// Several may be due, if the client sent other frames first and fell silent again.
    pub const fn expect_pong(&mut self) {
        self.pongs_due = self.pongs_due.saturating_add(1);
    }

    /// Scans the next bytes, as far as it can; with `stop` only up to the first frame boundary, where the gateway may then
    /// insert a frame of its own.
    ///
    /// Fails at the first header that breaks a rule, before any byte of that frame is forwarded: of `bytes` only what an
    /// earlier call reported may be forwarded. After an `Err` the scanner must not be used again.
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
            if self.payload == Payload::Close && self.keep_close(bytes, at - take, at) {
                scan.close = true;
                return Ok(scan);
            }
            let moved = at > start || scan.held.len > 0;
            if at == bytes.len() || (stop && moved && self.left == 0) {
                return Ok(scan);
            }
            match self.header_at(&bytes[at..]) {
                Front::Incomplete => {
                    bytes[at..].iter().for_each(|byte| self.held.push(*byte));
                    scan.used = bytes.len();
                    return Ok(scan);
                }
                // the bytes before it are forwarded first; the next call finds the fault again
                Front::Fault(_) if moved => return Ok(scan),
                Front::Fault(fault) => return Err(fault),
                Front::OwnPong(size) => {
                    self.remove_pong(&mut scan);
                    scan.used = at + size;
                    return Ok(scan);
                }
                Front::Header(header) => {
                    at += header.size;
                    self.begin(&header, &mut scan);
                    if self.payload == Payload::Close {
                        self.begin_close(&bytes[..at]);
                    }
                }
            }
        }
    }

    /// Completes the held header from `bytes`. False: it is still not complete, or it was a removed Pong; `scan` says how
    /// many bytes were used.
    fn complete_held(&mut self, bytes: &[u8], scan: &mut Scan) -> Result<bool, FrameFault> {
        for (index, byte) in bytes.iter().enumerate() {
            self.held.push(*byte);
            scan.used = index + 1;
            match self.header_at(self.held.as_slice()) {
                Front::Incomplete => {}
                Front::Fault(fault) => return Err(fault),
                Front::OwnPong(_) => {
                    self.held = Held::default();
                    self.remove_pong(scan);
                    return Ok(false);
                }
                Front::Header(header) => {
                    scan.held = std::mem::take(&mut self.held);
                    self.begin(&header, scan);
                    if self.payload == Payload::Close {
                        self.begin_close(scan.held.as_slice());
                    }
                    // while a Pong is due, payload that may belong to it is held back together with the header
                    self.left -= u64::from(scan.held.len) - header.size as u64;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn remove_pong(&mut self, scan: &mut Scan) {
        self.pongs_due = self.pongs_due.saturating_sub(1);
        scan.frames += 1;
        scan.pong = true;
    }

    /// Keeps the mask of a Close, whose header ends where `bytes` end. Apart, so that other frames do not pay for it.
    #[cold]
    #[inline(never)]
    fn begin_close(&mut self, bytes: &[u8]) {
        let mask = match self.side {
            Side::Client => bytes.last_chunk().copied().unwrap_or_default(),
            Side::Node => [0; 4],
        };
        self.close = Some(Box::new(SentClose::new(mask)));
    }

    /// Keeps the payload of a Close in `bytes[from..to]`. True when the Close is whole. Apart, as [`Scanner::begin_close`].
    #[cold]
    #[inline(never)]
    fn keep_close(&mut self, bytes: &[u8], from: usize, to: usize) -> bool {
        if let Some(close) = &mut self.close {
            close.append(&bytes[from..to]);
        }
        self.left == 0
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

    /// Judges the header at the front of `bytes`, in the order of its bytes, so that pieces never change the result.
    fn header_at(&self, bytes: &[u8]) -> Front {
        let &[first, second, ref rest @ ..] = bytes else { return Front::Incomplete };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let (masked, short) = (second & 0x80 != 0, second & 0x7f);
        if let Err(fault) = self.judge_opcode(first, short) {
            return Front::Fault(fault);
        }
        if masked != (self.side == Side::Client) {
            return Front::Fault(FrameFault::BadMask);
        }
        let (len, extra) = match short {
            126 => match rest.first_chunk::<2>() {
                Some(len) => (u64::from(u16::from_be_bytes(*len)), 2),
                None => return Front::Incomplete,
            },
            127 => match rest.first_chunk::<8>() {
                Some(len) => (u64::from_be_bytes(*len), 8),
                None => return Front::Incomplete,
            },
            short => (u64::from(short), 0),
        };
        if (extra == 2 && len < 126) || (extra == 8 && !(65_536..=u64::MAX >> 1).contains(&len)) {
            return Front::Fault(FrameFault::BadLength);
        }
        let so_far = if opcode == CONTINUATION { self.message } else { 0 };
        if opcode < CLOSE && so_far.saturating_add(len) > self.rules.message_max {
            return Front::Fault(FrameFault::TooBig);
        }
        let size = 2 + extra + if masked { 4 } else { 0 };
        if bytes.len() < size {
            return Front::Incomplete;
        }
        if self.pongs_due > 0 && opcode == PONG && len == PING_PAYLOAD.len() as u64 {
            return own_pong(bytes).unwrap_or(Front::Header(Header { opcode, fin, len, size }));
        }
        Front::Header(Header { opcode, fin, len, size })
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

/// Judges a masked Pong with eight bytes of payload: one for the gateway, which is removed; not decidable yet
/// (`Incomplete`); or one for the node (`None`).
fn own_pong(bytes: &[u8]) -> Option<Front> {
    let (mask, payload) = (&bytes[2..6], &bytes[6..]);
    let len = payload.len().min(PING_PAYLOAD.len());
    if (0..len).any(|index| payload[index] ^ mask[index % 4] != PING_PAYLOAD[index]) {
        return None;
    }
    Some(if len == PING_PAYLOAD.len() { Front::OwnPong(6 + len) } else { Front::Incomplete })
}

/// What stands at the front of some bytes.
enum Front {
    /// The beginning of a header, legal so far.
    Incomplete,
    /// A header that breaks a rule.
    Fault(FrameFault),
    /// A Pong to the gateway's Ping; its size in bytes, header and payload.
    OwnPong(usize),
    /// A whole legal header.
    Header(Header),
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Longest reason of a Close: 125 bytes of payload (RFC 6455 5.5) without the two of the code.
const REASON_MAX: usize = CONTROL_MAX - 2;

/// Appends a Close frame of the gateway (RFC 6455 5.5.1) for `to`; `mask` is used if that is the node, whose client the
/// gateway is. A reason of more than 123 bytes is cut at a character boundary.
pub fn write_close(to: Side, code: u16, reason: &str, mask: [u8; 4], out: &mut Vec<u8>) {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let payload = [&code.to_be_bytes()[..], &reason.as_bytes()[..end]].concat();
    write_control(to, CLOSE, &payload, mask, out);
}

/// Appends a Close frame for `to` with the payload of its own Close, which the other side did not answer (RFC 6455 5.5.1: the
/// answer typically repeats the code); `mask` as in [`write_close`].
pub fn write_close_answer(to: Side, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    write_control(to, CLOSE, payload, mask, out);
}

/// Appends a Ping frame of the gateway with [`PING_PAYLOAD`] (RFC 6455 5.5.2) for `to`; `mask` as in [`write_close`].
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
