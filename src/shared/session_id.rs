//! The id of a session: a number, written as 16 hexadecimal digits.

use std::fmt::{self, Display, Formatter};
use std::ops::Deref;
use std::str::FromStr;

/// Digits of a written id.
const DIGITS: usize = 16;

/// The id of a session. At any moment no two sessions of a worker have the same id. Ids order as their written forms do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// The written form: 16 lower-case hexadecimal digits. It needs no memory of the heap.
    pub fn text(self) -> SessionIdText {
        let digits = std::array::from_fn(|at| {
            let nibble = self.0 >> (4 * (DIGITS - 1 - at)) & 0xf;
            b"0123456789abcdef"[nibble as usize]
        });
        SessionIdText(digits)
    }
}

impl Display for SessionId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

/// The written form of a [`SessionId`]; it dereferences to a `str`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionIdText([u8; DIGITS]);

impl Deref for SessionIdText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A text is no session id: it does not consist of exactly 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSessionId;

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    /// Reads exactly 16 hexadecimal digits, of either case. Anything else fails, a sign and spaces included.
    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidSessionId);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidSessionId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixteen_digits() {
        assert_eq!("00000000000000ff".parse(), Ok(SessionId(255)));
        assert_eq!("00000000000000FF".parse(), Ok(SessionId(255)));
        for wrong in ["", "ff", "+0000000000000ff", "00000000000000fg", "000000000000000ff"] {
            assert_eq!(wrong.parse::<SessionId>(), Err(InvalidSessionId), "{wrong}");
        }
    }

    #[test]
    fn a_written_id_reads_back() {
        for number in [0, 1, 0xff, 0x0123_4567_89ab_cdef, u64::MAX] {
            let id = SessionId(number);
            assert_eq!(id.to_string(), format!("{number:016x}"));
            assert_eq!(&*id.text(), id.to_string());
            assert_eq!(id.text().parse(), Ok(id));
        }
    }
}
