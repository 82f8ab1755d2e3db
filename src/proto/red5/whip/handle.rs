//! The handle of a WHIP session, which stands in the path of its resource.

use std::borrow::Cow;
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

    /// A target with the digits of each handle in it replaced by `***`. A handle lets its holder end the WHIP session, so it
    /// is as secret as a password. It is borrowed if there is none.
    pub fn masked(target: &str) -> Cow<'_, str> {
        let mut masked = Cow::Borrowed(target);
        for start in ["~", ESCAPED[0], ESCAPED[1]] {
            let mut from = 0;
            while let Some(at) = masked[from..].find(start).map(|at| from + at + start.len()) {
                from = at;
                let digits = masked.as_bytes().get(at..at + Self::DIGITS);
                if digits.is_some_and(|digits| Self::parse(digits).is_some()) {
                    masked.to_mut().replace_range(at..at + Self::DIGITS, "***");
                }
            }
        }
        masked
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_of_every_handle_in_a_target_are_masked() {
        let handle = Handle::new([0xab; 16]).to_string();
        let digits = &handle[1..];
        for (target, masked) in [
            (format!("/live/whip/resource/s{handle}?x=1"), "/live/whip/resource/s~***?x=1"),
            (format!("/s%7E{digits}/%7e{digits}"), "/s%7E***/%7e***"),
            (format!("/s{handle}{handle}?at={handle}"), "/s~***~***?at=~***"),
            (format!("/s~~{digits}"), "/s~~***"),
        ] {
            assert_eq!(Handle::masked(&target), masked);
        }
        for other in ["/s~".to_owned(), format!("/s{digits}"), format!("/s~{}", &digits[1..])] {
            assert!(matches!(Handle::masked(&other), Cow::Borrowed(same) if same == other));
        }
    }
}
