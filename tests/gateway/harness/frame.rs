//! WebSocket frames (RFC 6455, 5.2), written as given and read strictly. Independent of the gateway's own parser.

/// One frame, unmasked.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    /// The three reserved bits, as the low bits.
    pub rsv: u8,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// Why no frame could be read: incomplete, or invalid with a reason.
pub enum Fault {
    Short,
    Wrong(&'static str),
}

impl Frame {
    pub const CONTINUATION: u8 = 0;
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;

    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, rsv: 0, opcode, payload: payload.into() }
    }

    pub fn text(text: &str) -> Self {
        Self::new(Self::TEXT, text)
    }

    pub fn binary(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(Self::BINARY, payload)
    }

    pub fn ping(payload: &str) -> Self {
        Self::new(Self::PING, payload)
    }

    pub fn pong(payload: &str) -> Self {
        Self::new(Self::PONG, payload)
    }

    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(Self::CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    pub fn empty_close() -> Self {
        Self::new(Self::CLOSE, "")
    }

    /// The same frame without FIN, so that more frames of its message follow.
    pub fn unfinished(self) -> Self {
        Self { fin: false, ..self }
    }

    /// Code and reason if this is a Close; the code is `None` if it is empty.
    pub fn as_close(&self) -> Option<(Option<u16>, String)> {
        let code = self.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        let reason = String::from_utf8_lossy(self.payload.get(2..).unwrap_or_default()).into_owned();
        (self.opcode == Self::CLOSE && self.fin && self.rsv == 0).then_some((code, reason))
    }

    fn header(&self, mask_bit: u8) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        match self.payload.len() {
            n @ 0..126 => bytes.push(mask_bit | n as u8),
            n @ 126..0x1_0000 => {
                bytes.push(mask_bit | 126);
                bytes.extend((n as u16).to_be_bytes());
            }
            n => {
                bytes.push(mask_bit | 127);
                bytes.extend((n as u64).to_be_bytes());
            }
        }
        bytes
    }

    /// The frame as a node writes it.
    pub fn bare(&self) -> Vec<u8> {
        let mut bytes = self.header(0);
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The frame as a client writes it.
    pub fn masked(&self, key: [u8; 4]) -> Vec<u8> {
        let mut bytes = self.header(0x80);
        bytes.extend_from_slice(&key);
        bytes.extend(xor(&self.payload, key));
        bytes
    }

    /// The first frame of `bytes` and its length in bytes.
    pub fn read(bytes: &[u8], masked: bool) -> Result<(Self, usize), Fault> {
        let &[first, second, ..] = bytes else { return Err(Fault::Short) };
        if (second & 0x80 != 0) != masked {
            return Err(Fault::Wrong(if masked { "an unmasked frame" } else { "a masked frame" }));
        }
        let (length, mut used) = match second & 0x7f {
            126 => {
                let n = bytes.get(2..4).ok_or(Fault::Short)?;
                (usize::from(u16::from_be_bytes(n.try_into().unwrap())), 4)
            }
            127 => {
                let n = bytes.get(2..10).ok_or(Fault::Short)?;
                (u64::from_be_bytes(n.try_into().unwrap()) as usize, 10)
            }
            n => (usize::from(n), 2),
        };
        let mut key = [0; 4];
        if masked {
            used += 4;
            key = bytes.get(used - 4..used).ok_or(Fault::Short)?.try_into().unwrap();
        }
        let payload = xor(bytes.get(used..used + length).ok_or(Fault::Short)?, key);
        let frame = Self { fin: first & 0x80 != 0, rsv: first >> 4 & 7, opcode: first & 15, payload };
        Ok((frame, used + length))
    }
}

/// Masks or unmasks (RFC 6455, 5.3); eight bytes at a time, since tests are not optimised.
fn xor(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let [a, b, c, d] = key;
    let key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut bytes = payload.to_vec();
    for chunk in bytes.chunks_mut(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = (u64::from_ne_bytes(word) ^ key).to_ne_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    bytes
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fin, rsv, opcode, payload } = self;
        write!(f, "Frame(fin {fin}, rsv {rsv}, opcode {opcode}, {})", super::connection::printable(payload))
    }
}
