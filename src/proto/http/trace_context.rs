//! W3C Trace Context: the fields `traceparent` and `tracestate` (<https://www.w3.org/TR/trace-context-2/>).
//!
//! They tell which trace a request belongs to. The gateway passes them on to nodes and stream managers, as they came or with a
//! span of its own as parent. A `traceparent` that breaks a rule is no reason to refuse a request: it is ignored, and
//! `tracestate` with it.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};

/// Bytes of a `traceparent` of version 00: two digits, 32, 16 and two, with hyphens between them.
const PARENT_SIZE: usize = 55;

/// Most members of a `tracestate`.
const MEMBERS_MAX: usize = 32;

/// Most bytes of a `tracestate` that is passed on: what everything that takes part has to pass on at least.
const STATE_MAX: usize = 512;

/// Members with more bytes go first where a `tracestate` is too long.
const LONG_MEMBER: usize = 128;

/// Flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// Flag of a trace whose id has seven random bytes at its end.
const RANDOM: u8 = 2;

/// The id of a trace; never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceId(pub [u8; 16]);

/// The id of a span; never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanId(pub [u8; 8]);

/// What the field `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span whose child a request is.
    pub span: SpanId,
    flags: u8,
}

/// Both fields, as they are passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceFields {
    /// `traceparent`.
    pub parent: TraceParent,
    /// `tracestate`, if there is one.
    pub state: Option<Box<str>>,
}

/// The digits of a trace id, in lower case.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The digits of a span id, in lower case.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl TraceParent {
    /// The parent of what is done for a request in a trace that begins here. The id of the trace has to be random.
    pub const fn of_new_trace(trace: TraceId, span: SpanId, sampled: bool) -> Self {
        Self { trace, span, flags: if sampled { RANDOM | SAMPLED } else { RANDOM } }
    }

    /// A parent with these flags; those without a meaning are left out.
    pub const fn new(trace: TraceId, span: SpanId, flags: u8) -> Self {
        Self { trace, span, flags: flags & (SAMPLED | RANDOM) }
    }

    /// The flags that have a meaning.
    pub const fn flags(self) -> u8 {
        self.flags
    }

    /// The same trace with another span as parent.
    pub const fn with_span(self, span: SpanId) -> Self {
        Self { span, ..self }
    }

    /// Whether the trace is recorded.
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Reads a value of `traceparent`; `None` if it breaks a rule. Of a version above 00 the parts that 00 has are read.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (front, rest) = value.split_at_checked(PARENT_SIZE)?;
        if [front[2], front[35], front[52]] != *b"---" {
            return None;
        }
        let [version] = bytes(&front[..2])?;
        // a later version may have more, behind a hyphen; ff is none
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => matches!(rest.first(), None | Some(b'-')),
        };
        let (trace, span, [flags]) =
            (bytes::<16>(&front[3..35])?, bytes::<8>(&front[36..52])?, bytes(&front[53..])?);
        if !fits || trace == [0; 16] || span == [0; 8] {
            return None;
        }
        // all other flags have no meaning yet, and are passed on as zero
        Some(Self::new(TraceId(trace), SpanId(span), flags))
    }
}

/// The value of the field, in version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl TraceFields {
    /// Reads both fields of a request; `None` without a usable `traceparent`. A `tracestate` that breaks a rule is dropped.
    pub fn read(parent: Option<&[u8]>, state: Option<&str>) -> Option<Self> {
        let parent = TraceParent::read(parent?)?;
        Some(Self { parent, state: state.and_then(read_state) })
    }

    /// Appends the lines of both fields to a head.
    pub fn write(&self, head: &mut String) {
        let _ = write!(head, "traceparent: {}\r\n", self.parent);
        if let Some(state) = &self.state {
            let _ = write!(head, "tracestate: {state}\r\n");
        }
    }
}

/// The `tracestate` to pass on: unchanged up to 512 bytes. From a longer one whole members are removed: those over 128 bytes
/// first, then from the end (3.3.1.5). `None` if it breaks a rule, or if nothing is left.
fn read_state(value: &str) -> Option<Box<str>> {
    let members = || value.split(',').map(|member| member.trim_matches([' ', '\t']));
    if members().count() > MEMBERS_MAX || !members().all(|member| member.is_empty() || is_member(member)) {
        return None;
    }
    if value.len() <= STATE_MAX {
        return members().any(|member| !member.is_empty()).then(|| value.into());
    }
    let mut kept = String::new();
    for member in members().filter(|member| (1..=LONG_MEMBER).contains(&member.len())) {
        let comma = usize::from(!kept.is_empty());
        if kept.len() + comma + member.len() > STATE_MAX {
            break;
        }
        kept.push_str(&","[..comma]);
        kept.push_str(member);
    }
    (!kept.is_empty()).then(|| kept.into())
}

/// Whether this is a key, `=` and a value (3.3.1.3).
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= 256
        && key.bytes().next().is_some_and(small)
        && key.bytes().all(|byte| small(byte) || b"_-*/@".contains(&byte))
        && (1..=256).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'='))
        && !value.ends_with(' ')
}

/// As many bytes as twice as many digits are; lower case only.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(value: &str) -> Option<TraceParent> {
        TraceParent::read(value.as_bytes())
    }

    #[test]
    fn a_traceparent_is_read_and_written() {
        let parent = read(EXAMPLE).expect("the example");
        assert_eq!(parent.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span.to_string(), "b7ad6b7169203331");
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), EXAMPLE);
        let with =
            |flags: &str| read(&EXAMPLE.replace("-01", flags)).expect("flags are no fault").to_string();
        assert_eq!(with("-fe"), EXAMPLE.replace("-01", "-02"), "unknown flags are not passed on");
        let later = read(&EXAMPLE.replacen("00", "cc", 1)).expect("a later version");
        assert_eq!(later, parent);
        assert_eq!(read(&format!("cc{}-what-comes", &EXAMPLE[2..])), Some(parent));
        let ours = parent.with_span(SpanId([1; 8]));
        assert_eq!(ours.to_string(), "00-0af7651916cd43dd8448eb211c80319c-0101010101010101-01");
        let new = TraceParent::of_new_trace(parent.trace, parent.span, false);
        assert_eq!((new.is_sampled(), new.to_string().ends_with("-02")), (false, true));
    }

    #[test]
    fn a_traceparent_that_breaks_a_rule_is_none() {
        for value in [
            "",
            "00",
            &EXAMPLE[..54],
            &format!("{EXAMPLE}-"),
            &format!("{EXAMPLE}-00"),
            &EXAMPLE.replacen("00", "ff", 1),
            &format!("cc{}.what", &EXAMPLE[2..]),
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replace('-', "_"),
            &EXAMPLE.replace("-01", "-0x"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn a_tracestate_is_passed_on_unchanged_within_its_limits() {
        let state = |value: &str| read_state(value).map(String::from);
        let unchanged = |value: &str| assert_eq!(state(value).as_deref(), Some(value));
        unchanged("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7");
        unchanged("0tenant@vendor=a b , ,x=!~");
        unchanged(&vec!["a=1"; 32].join(","));
        for wrong in ["", ",", "a", "=", "A=1", "a=", "a=b=c", "a=\u{7f}", "@a=1", &vec!["a=1"; 33].join(",")]
        {
            assert_eq!(state(wrong), None, "{wrong}");
        }
        let long = format!("long={}", "x".repeat(200));
        let short = format!("short={}", "y".repeat(94));
        let trimmed = state(&[&*short, &long, &*short, &long, &*short].join(",")).expect("three short ones");
        assert_eq!(trimmed, [&*short; 3].join(","), "long members go first");
        let trimmed = state(&[&*short; 6].join(",")).expect("the first ones");
        assert_eq!(trimmed, [&*short; 5].join(","), "then the last ones");
        assert_eq!(state(&vec![long; 3].join(",")), None);
    }
}
