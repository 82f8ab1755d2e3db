//! The name of a session that was made, as it stands in the path of a resource.

use std::fmt;

/// Stands between a stream and its handle. A byte that no browser and no SDK ever escapes.
const MARK: u8 = b'~';

/// Names a session that the gateway made; nobody guesses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle([u8; 16]);

impl Handle {
    /// Hexadecimal digits of a handle.
    const DIGITS: usize = 32;

    /// A handle of bytes that have to come from a secure random generator.
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Takes a last segment apart: the stream, and the handle behind it if there is one. What only looks similar belongs
    /// to the stream.
    pub fn split(segment: &str) -> (&str, Option<Self>) {
        let whole = (segment, None);
        let Some(place) = segment.len().checked_sub(Self::DIGITS + 1) else { return whole };
        if place == 0 || segment.as_bytes()[place] != MARK {
            return whole;
        }
        match Self::parse(&segment.as_bytes()[place + 1..]) {
            Some(handle) => (&segment[..place], Some(handle)),
            None => whole,
        }
    }

    /// Exactly as we write it: lower case, no sign.
    fn parse(digits: &[u8]) -> Option<Self> {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 16];
        if digits.len() != Self::DIGITS {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Some(Self(bytes))
    }
}

/// With its mark, ready to be put behind a stream.
impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:032x}", char::from(MARK), u128::from_be_bytes(self.0))
    }
}
