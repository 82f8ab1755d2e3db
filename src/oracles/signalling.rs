//! The oracles of what the gateway looks at in signalling: frames are those that the scanner counts, and of a message that is
//! JSON the first name decides as a whole reader of JSON finds it.

use crate::proto::red5::signal::{PREFIX_MAX, Signal, requested_stream};
use crate::proto::websocket::frame::{FrameRules, Scanner, Side};
use crate::proto::websocket::peek::frames;
use serde::Deserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use tungstenite::protocol::frame::FrameHeader;

/// Asserts that the frames that peeking sees are those that the scanner counts, with the sizes and payloads that tungstenite's
/// header reader finds. The first byte of the input chooses the side; the rest is what that side sends.
pub fn peek(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let side = if choice & 1 == 0 { Side::Client } else { Side::Node };
    let (counted, to_the_end) = scanned(side, bytes);
    let seen = frames(side, bytes).count();
    assert!(seen >= counted, "the scanner counts {counted} frames, peeking sees {seen}");
    assert!(!to_the_end || seen == counted, "nothing is behind the {counted} frames, peeking sees {seen}");
    let mut rest = bytes;
    for frame in frames(side, bytes).take(counted) {
        let mut cursor = std::io::Cursor::new(rest);
        let (header, size) = FrameHeader::parse(&mut cursor).expect("a good header").expect("a whole one");
        let begin = usize::try_from(cursor.position()).expect("it is inside a slice");
        assert_eq!((frame.opcode, frame.size), (u8::from(header.opcode), size));
        let end = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(begin).min(rest.len());
        let mask = header.mask.unwrap_or_default();
        let payload: Vec<u8> =
            rest[begin..end].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        for room in [0, 1, 5, PREFIX_MAX] {
            assert_eq!(frame.unmask(&mut vec![0; room]), &payload[..payload.len().min(room)]);
        }
        rest = &rest[end..];
    }
}

/// How many frames the scanner counts, and whether it read to the end without a Close and without a fault.
fn scanned(side: Side, bytes: &[u8]) -> (usize, bool) {
    let mut scanner = Scanner::new(side, FrameRules { message_max: u64::MAX, extensions: true });
    let (mut rest, mut counted) = (bytes, 0);
    while !rest.is_empty() {
        let Ok(scan) = scanner.scan(rest, false) else { return (counted, false) };
        counted += scan.frames as usize;
        if scan.close {
            return (counted, false);
        }
        rest = &rest[scan.used..];
    }
    (counted, true)
}

/// The names that begin a message, with their kinds.
const NAMES: [(&str, Signal); 9] = [
    ("isAvailable", Signal::Availability),
    ("handleOffer", Signal::Offer),
    ("requestOffer", Signal::OfferRequest),
    ("handleAnswer", Signal::Answer),
    ("handleCandidate", Signal::Candidate),
    ("publish", Signal::Publish),
    ("subscribe", Signal::Subscribe),
    ("unpublish", Signal::Unpublish),
    ("switchChannel", Signal::Switch),
];

/// Asserts that the kind of any message depends on its beginning alone, that a name of a stream is one, and that both are what a
/// reader of JSON finds in a message that is JSON.
pub fn signal(text: &[u8]) {
    let beginning = &text[..text.len().min(PREFIX_MAX)];
    let (kind, stream) = (Signal::of(text), requested_stream(text));
    assert_eq!((kind, stream), (Signal::of(beginning), requested_stream(beginning)));
    assert!(!kind.words().is_empty());
    if let Some(stream) = stream {
        assert!(
            (1..=80).contains(&stream.len()) && stream.bytes().all(|byte| byte.is_ascii_graphic()),
            "{stream}"
        );
        assert!(!stream.contains(['"', '\\']), "{stream}");
        assert_eq!(kind, Signal::OfferRequest);
    }
    if text.len() > PREFIX_MAX {
        return;
    }
    let Some((name, value)) = first_pair(text) else { return };
    let is_plain = !text.contains(&b'\\');
    let known = NAMES.iter().find(|(known, _)| is_plain && *known == name);
    if let Some((_, expected)) = known {
        assert_eq!(kind, *expected, "{name}");
    }
    let is_name =
        |value: &str| (1..=80).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    let expected = value.as_deref().filter(|value| is_plain && name == "requestOffer" && is_name(value));
    if is_plain {
        assert_eq!(stream, expected, "{name}");
    }
}

/// The first name of a JSON object with its value, if that is a string; `None` if the text is none, or has no pair.
fn first_pair(text: &[u8]) -> Option<(String, Option<String>)> {
    struct FirstPair;

    impl<'de> Visitor<'de> for FirstPair {
        type Value = (String, Option<String>);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with a pair")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let name = map.next_key()?.ok_or_else(|| A::Error::custom("no pair"))?;
            let value = map.next_value::<serde_json::Value>()?;
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok((name, value.as_str().map(str::to_owned)))
        }
    }

    let mut reader = serde_json::Deserializer::from_slice(text);
    let pair = reader.deserialize_map(FirstPair).ok()?;
    reader.end().is_ok().then_some(pair)
}
