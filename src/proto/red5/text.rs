//! The text of targets: escapes, paths with two readings, words that scripts leave behind, keys in disguise.
//!
//! Rules are named as in `docs/parameters.md` (P4, P7).

use crate::proto::http::redact::unescaped;
use percent_encoding::percent_decode;

/// Whether two readers could understand this path differently. It is checked as it came, decoded once, and decoded until no
/// escape is left, as several readers in a row would do.
pub(crate) fn is_ambiguous(path: &str) -> bool {
    if has_trick(path.as_bytes()) {
        return true;
    }
    if !path.contains('%') {
        return false;
    }
    let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
    !escapes_whole(path)
        || std::str::from_utf8(&decoded).is_err()
        || has_trick(&decoded)
        || has_trick(&unescaped(path.as_bytes()))
}

/// Dot segments, empty segments, parameters of segments, backslashes, control bytes, and escapes of separators.
fn has_trick(path: &[u8]) -> bool {
    let odd = path.iter().any(|&byte| byte < 0x20 || byte == 0x7f || byte == b';' || byte == b'\\');
    let escaped = path.windows(3).any(|three| {
        three[0] == b'%'
            && matches!([three[1], three[2].to_ascii_lowercase()], [b'2', b'f'] | [b'5', b'c'] | [b'0', b'0'])
    });
    let dots = |segment: &[u8]| percent_decode(segment).eq(*b".") || percent_decode(segment).eq(*b"..");
    odd || escaped || path.windows(2).any(|two| two == b"//") || path.split(|&byte| byte == b'/').any(dots)
}

/// Whether every `%` begins an escape with two hexadecimal digits.
pub(crate) fn escapes_whole(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'%', bytes)
        .all(|at| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// Whether a value is a word that a script leaves behind where it had no value (P7).
pub(crate) fn is_leftover(value: &str) -> bool {
    matches!(value, "undefined" | "null" | "NaN" | "[object Object]" | "true" | "false")
}

/// Whether a key is the routing parameter `name` in disguise: decoded once, without question marks, in any case (P4).
pub(crate) fn disguises(key: &str, name: &str) -> bool {
    let plain =
        percent_decode(key.as_bytes()).filter(|&byte| byte != b'?').map(|byte| byte.to_ascii_lowercase());
    plain.eq(name.bytes().map(|byte| byte.to_ascii_lowercase()))
}
