//! Looks at frames without taking anything of them: their headers, and the first bytes of their payload.
//!
//! The relay does not depend on it: what it can't read, such as a frame that is cut inside its header, it leaves out.

use crate::proto::websocket::frame::Side;

/// One frame, as far as its bytes are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peeked<'b> {
    /// Its opcode (RFC 6455, 5.2).
    pub opcode: u8,
    /// Bytes of the whole payload.
    pub size: u64,
    /// The payload that is there, still masked if `mask` is not zero.
    payload: &'b [u8],
    mask: [u8; 4],
}

impl Peeked<'_> {
    /// Writes the first bytes of the payload, without their mask, to `to`. The result is how many there are.
    pub fn unmask<'t>(&self, to: &'t mut [u8]) -> &'t [u8] {
        let len = self.payload.len().min(to.len());
        for (index, byte) in self.payload[..len].iter().enumerate() {
            to[index] = byte ^ self.mask[index % 4];
        }
        &to[..len]
    }
}

/// The frames in `bytes` that `side` sent; the first begins where `bytes` begin. It ends with the first frame whose header is
/// not whole.
pub fn frames(side: Side, bytes: &[u8]) -> Frames<'_> {
    Frames { side, rest: bytes }
}

/// The frames of [`frames`], one after the other.
#[derive(Debug)]
pub struct Frames<'b> {
    side: Side,
    rest: &'b [u8],
}

impl<'b> Iterator for Frames<'b> {
    type Item = Peeked<'b>;

    fn next(&mut self) -> Option<Peeked<'b>> {
        let &[first, second, ref rest @ ..] = self.rest else { return None };
        let (size, rest) = match second & 0x7f {
            126 => rest
                .split_first_chunk::<2>()
                .map(|(size, rest)| (u64::from(u16::from_be_bytes(*size)), rest))?,
            127 => rest.split_first_chunk::<8>().map(|(size, rest)| (u64::from_be_bytes(*size), rest))?,
            short => (u64::from(short), rest),
        };
        let (mask, rest) = match self.side {
            Side::Client => rest.split_first_chunk::<4>().map(|(mask, rest)| (*mask, rest))?,
            Side::Node => ([0; 4], rest),
        };
        let there = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        let (payload, behind) = rest.split_at(there);
        self.rest = behind;
        Some(Peeked { opcode: first & 0x0f, size, payload, mask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::websocket::frame::write_ping;

    #[test]
    fn frames_are_read_one_after_the_other() {
        let mut bytes = vec![0x81, 2, b'h', b'i', 0x82, 126, 1, 0];
        bytes.extend([7; 256]);
        bytes.extend([0x81, 5, b'c', b'u']);
        let seen: Vec<_> = frames(Side::Node, &bytes).collect();
        assert_eq!(
            seen.iter().map(|frame| (frame.opcode, frame.size)).collect::<Vec<_>>(),
            [(1, 2), (2, 256), (1, 5)]
        );
        assert_eq!(seen[0].unmask(&mut [0; 8]), b"hi");
        assert_eq!(seen[2].unmask(&mut [0; 8]), b"cu", "what is there");
    }

    #[test]
    fn a_mask_is_taken_away() {
        let mut bytes = Vec::new();
        write_ping(Side::Node, [1, 2, 3, 4], &mut bytes);
        let frame = frames(Side::Client, &bytes).next().expect("a frame");
        assert_eq!((frame.opcode, frame.unmask(&mut [0; 4])), (9, &b"tide"[..]));
    }

    #[test]
    fn a_cut_header_ends_it() {
        for bytes in [&[][..], &[0x81], &[0x81, 126, 1], &[0x81, 0x82, 1, 2, 3]] {
            assert_eq!(frames(Side::Client, bytes).next(), None, "{bytes:?}");
        }
    }
}
