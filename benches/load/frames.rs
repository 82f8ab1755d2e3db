//! WebSocket frames, and the messages of the benches: each has a number and a payload that both ends know.

use super::Result;

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The masking key of all frames of the clients.
pub const MASK: [u8; 4] = [0x5a, 0xc3, 0x11, 0x7e];

/// Length of the number at the start of a message, in bytes.
const NUMBER: usize = 8;

/// Appends a frame.
pub fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8], masked: bool) {
    let bit = if masked { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match payload.len() {
        short @ 0..=125 => out.push(bit | short as u8),
        middle @ 126..=0xffff => {
            out.push(bit | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(bit | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend_from_slice(&MASK);
    }
    let start = out.len();
    out.extend_from_slice(payload);
    if masked {
        mask(&mut out[start..], MASK);
    }
}

fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        let value = u64::from_ne_bytes(word.try_into().expect("a chunk of eight")) ^ wide;
        word.copy_from_slice(&value.to_ne_bytes());
    }
    let rest = words.into_remainder().iter_mut();
    rest.zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

/// A message of a fixed size, which can be sent with any number.
#[derive(Debug, Clone)]
pub struct Message {
    payload: Vec<u8>,
    frame: Vec<u8>,
    masked: bool,
}

impl Message {
    /// A message with a payload of `size` bytes, at least eight.
    pub fn new(size: usize, masked: bool) -> Self {
        let payload: Vec<u8> = (0..size).map(|at| (at * 31 + (at >> 8) * 7 + 5) as u8).collect();
        let mut frame = Vec::new();
        write(&mut frame, BINARY, &payload, masked);
        Self { payload, frame, masked }
    }

    /// The frame of this message with `number`.
    pub fn frame(&mut self, number: u64) -> &[u8] {
        let mut bytes = number.to_be_bytes();
        if self.masked {
            mask(&mut bytes, MASK);
        }
        let start = self.frame.len() - self.payload.len();
        self.frame[start..start + NUMBER].copy_from_slice(&bytes);
        &self.frame
    }

    /// Whether `payload` equals this message with `number` in every byte.
    pub fn is(&self, payload: &[u8], number: u64) -> bool {
        payload.len() == self.payload.len()
            && payload[..NUMBER] == number.to_be_bytes()
            && payload[NUMBER..] == self.payload[NUMBER..]
    }
}

/// Assembles frames from bytes that arrive in pieces.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// Whether all frames received so far are complete.
    pub fn is_between_frames(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes bytes and calls `frame` with the opcode and the unmasked payload of each complete frame.
    pub fn feed(&mut self, bytes: &[u8], mut frame: impl FnMut(u8, &[u8]) -> Result<()>) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((header, length, key)) = header(&self.bytes[at..])? {
            let end = at + header + length;
            if end > self.bytes.len() {
                break;
            }
            let opcode = self.bytes[at] & 0x0f;
            let payload = &mut self.bytes[at + header..end];
            if let Some(key) = key {
                mask(payload, key);
            }
            frame(opcode, payload)?;
            at = end;
        }
        if at == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..at);
        }
        Ok(())
    }
}

/// Length of the header, length of the payload, mask.
type Header = (usize, usize, Option<[u8; 4]>);

fn header(bytes: &[u8]) -> Result<Option<Header>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 {
        return Err("expected a whole frame without an extension, found a fragment or a reserved bit".into());
    }
    let (extra, length) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (2, usize::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (8, usize::try_from(u64::from_be_bytes(*length))?),
            None => return Ok(None),
        },
        short => (0, usize::from(short)),
    };
    if second & 0x80 == 0 {
        return Ok(Some((2 + extra, length, None)));
    }
    let key = rest.get(extra..).and_then(|rest| rest.first_chunk::<4>());
    Ok(key.map(|key| (6 + extra, length, Some(*key))))
}
