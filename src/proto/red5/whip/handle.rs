//! The handle of a WHIP session, which stands in the path of its resource.

use std::fmt;

/// Stands between a stream and its handle. No browser and no SDK escapes it, but some libraries do.
const MARK: char = '~';

/// Escapes of the mark (RFC 3986 2.3: the same as the mark).
const ESCAPED: [&str; 2] = ["%7E", "%7e"];

/// The random name of a WHIP session, 128 bits, so that it can't be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle([u8; 16]);

impl Handle {
    /// Number of hexadecimal digits of a handle.
    const DIGITS: usize = 32;

    /// A handle of these bytes, which have to come from a cryptographic random generator.
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Splits a path's last segment into the stream and the handle behind it, if there is one. A text that is not exactly
    /// what `Display` writes, but for an escape of the mark, is no handle and belongs to the stream.
    pub fn split(segment: &str) -> (&str, Option<Self>) {
        let handle = || {
            let (before, digits) = segment.split_at_checked(segment.len().checked_sub(Self::DIGITS)?)?;
            let escaped = || ESCAPED.iter().find_map(|escape| before.strip_suffix(escape));
            let stream = before.strip_suffix(MARK).or_else(escaped).filter(|stream| !stream.is_empty())?;
            Some((stream, Self::parse(digits.as_bytes())?))
        };
        handle().map_or((segment, None), |(stream, handle)| (stream, Some(handle)))
    }

    /// Reads 32 hexadecimal digits in lower case.
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

/// Writes `~` and 32 hexadecimal digits, to be put behind a stream.
impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{:032x}", u128::from_be_bytes(self.0))
    }
}
