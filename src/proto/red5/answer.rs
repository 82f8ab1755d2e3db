//! Answers of the stream manager: the nodes that they name, and for how long they may be stored.
//!
//! Clients get bodies unchanged, so only the addresses are read from them. This file knows no clock, no cache and no HTTP
//! client; whether a named node may be learned is decided by [`admission`](crate::proto::admission).

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::proto::red5::route::{EventKind, Keep};

/// Most nodes that are read from one answer; further ones are ignored.
pub const NODES_MAX: usize = 4096;

/// An answer of the stream manager, as far as the gateway acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A 200 with well-formed JSON.
    Found {
        /// The nodes that it names, each once, in the order in which they stand there. They may be learned even if the
        /// answer itself is not stored.
        nodes: Vec<IpAddr>,
    },
    /// A 404 or 400: no such stream, or no node is free. It is stored for a short time.
    Missing,
    /// Everything else: forwarded or turned into a refusal. It is never stored, and no node is learned from it.
    Other,
}

/// The longest time for which each kind of answer is stored (`[answers]`); zero means not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessRules {
    /// Found answers to [`EventKind::Broadcast`].
    pub broadcast: Duration,
    /// Found answers to [`EventKind::Subscribe`].
    pub subscribe: Duration,
    /// Found answers to [`EventKind::List`].
    pub list: Duration,
    /// Missing answers, whatever was asked.
    pub missing: Duration,
}

/// Reads an answer from its status, its `Content-Type` and its body. It never fails: an answer that can't be used is
/// [`Answer::Other`].
pub fn read(status: u16, content_type: Option<&str>, body: &[u8]) -> Answer {
    match status {
        200 if content_type.is_some_and(is_json) => match nodes(body) {
            Some(nodes) => Answer::Found { nodes },
            None => Answer::Other,
        },
        400 | 404 => Answer::Missing,
        _ => Answer::Other,
    }
}

impl Answer {
    /// For how long this answer to a question of this kind may be stored; `None` means not at all.
    ///
    /// `cache_control` is the stream manager's `Cache-Control` (RFC 9111 5.2), several fields joined by commas. It can shorten
    /// the configured time, never lengthen it; with a directive that can't be read the answer is not stored.
    pub fn freshness(
        &self,
        rules: &FreshnessRules,
        kind: EventKind,
        keep: Keep,
        cache_control: Option<&str>,
    ) -> Option<Duration> {
        let ours = match (self, kind) {
            (Self::Other, _) | (_, EventKind::Other) => return None,
            (Self::Found { .. }, _) if !keep.found() => return None,
            (Self::Missing, _) if !keep.missing() => return None,
            (Self::Missing, _) => rules.missing,
            (Self::Found { .. }, EventKind::Broadcast) => rules.broadcast,
            (Self::Found { .. }, EventKind::Subscribe) => rules.subscribe,
            (Self::Found { .. }, EventKind::List) => rules.list,
        };
        let fresh = match cache_control {
            Some(text) => ours.min(longest_by(text)?),
            None => ours,
        };
        (!fresh.is_zero()).then_some(fresh)
    }
}

/// The longest time for which `Cache-Control` lets an answer be stored; `None` if it forbids it, or has an age that can't be
/// read.
fn longest_by(cache_control: &str) -> Option<Duration> {
    let mut longest = Duration::MAX;
    for directive in cache_control.split(',') {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (directive.trim(), None),
        };
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("no-store") || is("no-cache") || is("private") {
            return None;
        }
        if is("max-age") || is("s-maxage") {
            let digits = value.filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()))?;
            if digits.is_empty() {
                return None;
            }
            // more digits than a number can have are a very long time
            longest = longest.min(Duration::from_secs(digits.parse().unwrap_or(u64::MAX)));
        }
    }
    Some(longest)
}

/// Whether a content type is `application/json`, in any case and with any parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The nodes that a body names, or `None` if it is not one well-formed JSON text. serde_json limits the depth.
fn nodes(body: &[u8]) -> Option<Vec<IpAddr>> {
    let mut found = Found::default();
    let mut reader = serde_json::Deserializer::from_str(std::str::from_utf8(body).ok()?);
    Shape { found: &mut found, level: 0 }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(found.nodes)
}

/// The nodes found so far, each once.
#[derive(Default)]
struct Found {
    nodes: Vec<IpAddr>,
    known: HashSet<IpAddr>,
}

impl Found {
    fn add(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if self.nodes.len() < NODES_MAX && self.known.insert(address) {
            self.nodes.push(address);
        }
    }
}

/// Reads an object, or an array of objects: the two shapes that answers have. Objects nested deeper name no node.
struct Shape<'f> {
    found: &'f mut Found,
    level: u8,
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // of two equal keys the last one counts, as for the pages that read the answer with JSON.parse
        let mut address = None;
        while let Some(is_address) = map.next_key_seed(IsAddress)? {
            if is_address {
                address = map.next_value_seed(Address)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        self.found.add(address);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.level > 0 {
            return IgnoredAny.visit_seq(seq).map(drop);
        }
        while seq.next_element_seed(Shape { found: self.found, level: 1 })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a key: whether it is `serverAddress`.
struct IsAddress;

impl<'de> DeserializeSeed<'de> for IsAddress {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for IsAddress {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == "serverAddress")
    }
}

/// Reads a value: the address, if it is one in canonical form. Names, and addresses with a zone, are never dialled.
struct Address;

impl<'de> DeserializeSeed<'de> for Address {
    type Value = Option<IpAddr>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<IpAddr>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Address {
    type Value = Option<IpAddr>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<IpAddr>, E> {
        Ok(text.parse().ok())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<IpAddr>, A::Error> {
        IgnoredAny.visit_map(map).map(|_| None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<IpAddr>, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<IpAddr>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<IpAddr>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<IpAddr>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<IpAddr>, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<IpAddr>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: FreshnessRules = FreshnessRules {
        broadcast: Duration::from_secs(3),
        subscribe: Duration::from_secs(1),
        list: Duration::from_secs(2),
        missing: Duration::from_millis(250),
    };

    fn named(body: &str) -> Vec<String> {
        match read(200, Some("application/json"), body.as_bytes()) {
            Answer::Found { nodes } => nodes.iter().map(IpAddr::to_string).collect(),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn nodes_are_read_from_both_shapes_and_from_no_other() {
        assert_eq!(
            named(r#"{"name":"s","scope":"/live","serverAddress":"10.0.0.5","region":"x"}"#),
            ["10.0.0.5"]
        );
        assert_eq!(
            named(
                r#"[{"serverAddress":"10.0.0.6"},{"serverAddress":"2001:DB8:0::5"},{"serverAddress":"10.0.0.6"}]"#
            ),
            ["10.0.0.6", "2001:db8::5"]
        );
        assert_eq!(named(r#"{"serverAddress":"10.0.0.5","serverAddress":"10.0.0.6"}"#), ["10.0.0.6"]);
        for body in [
            "[]",
            "{}",
            "null",
            "7",
            r#""10.0.0.5""#,
            r#"{"serverAddress":"node1.example"}"#,
            r#"{"serverAddress":"010.0.0.5"}"#,
            r#"{"serverAddress":" 10.0.0.5"}"#,
            r#"{"serverAddress":"10.0.0.5:22"}"#,
            r#"{"serverAddress":["10.0.0.5"]}"#,
            r#"{"serverAddress":{"serverAddress":"10.0.0.5"}}"#,
            r#"{"x":{"serverAddress":"10.0.0.5"}}"#,
            r#"[[{"serverAddress":"10.0.0.5"}]]"#,
            r#"{"serveraddress":"10.0.0.5"}"#,
        ] {
            assert_eq!(named(body), Vec::<String>::new(), "{body}");
        }
    }

    #[test]
    fn a_huge_answer_names_a_limited_number_of_nodes() {
        let objects: Vec<String> =
            (0..5000_u32).map(|n| format!(r#"{{"serverAddress":"10.1.{}.{}"}}"#, n >> 8, n & 255)).collect();
        assert_eq!(named(&format!("[{}]", objects.join(","))).len(), NODES_MAX);
    }

    #[test]
    fn status_type_and_json_decide_what_an_answer_is() {
        let body = br#"{"serverAddress":"10.0.0.5"}"#;
        assert!(matches!(read(200, Some("Application/JSON ; charset=UTF-8"), body), Answer::Found { .. }));
        for (status, content_type) in [(200, None), (200, Some("text/html")), (201, Some("application/json"))]
        {
            assert_eq!(read(status, content_type, body), Answer::Other);
        }
        for broken in ["", "{", "{}x", "[1,]", "\u{feff}{}", &"[".repeat(100_000)] {
            assert_eq!(read(200, Some("application/json"), broken.as_bytes()), Answer::Other);
        }
        assert_eq!(read(200, Some("application/json"), b"\"\xff\""), Answer::Other);
        assert_eq!(read(404, None, b""), Answer::Missing);
        assert_eq!(read(400, Some("application/json"), b"{}"), Answer::Missing);
        assert_eq!(read(500, Some("application/json"), b"{}"), Answer::Other);
    }

    #[test]
    fn an_answer_is_stored_by_its_kind_and_question() {
        let found = Answer::Found { nodes: Vec::new() };
        let fresh = |answer: &Answer, kind, keep| answer.freshness(&RULES, kind, keep, None);
        assert_eq!(fresh(&found, EventKind::Broadcast, Keep::Both), Some(RULES.broadcast));
        assert_eq!(fresh(&found, EventKind::Subscribe, Keep::Found), Some(RULES.subscribe));
        assert_eq!(fresh(&found, EventKind::List, Keep::Both), Some(RULES.list));
        assert_eq!(fresh(&Answer::Missing, EventKind::Broadcast, Keep::Both), Some(RULES.missing));
        assert_eq!(fresh(&Answer::Missing, EventKind::Broadcast, Keep::Found), None);
        assert_eq!(fresh(&found, EventKind::Subscribe, Keep::Never), None);
        assert_eq!(fresh(&found, EventKind::Other, Keep::Both), None);
        assert_eq!(fresh(&Answer::Other, EventKind::List, Keep::Both), None);
    }

    #[test]
    fn the_manager_can_only_shorten_the_time() {
        let fresh = |text| {
            Answer::Found { nodes: Vec::new() }.freshness(
                &RULES,
                EventKind::Broadcast,
                Keep::Both,
                Some(text),
            )
        };
        for text in
            ["", "public, max-age=60", "max-age=99999999999999999999999", "must-revalidate", "max-age=\"60\""]
        {
            assert_eq!(fresh(text), Some(RULES.broadcast), "{text}");
        }
        assert_eq!(fresh("Max-Age=2"), Some(Duration::from_secs(2)));
        assert_eq!(fresh("max-age=60, s-maxage=1"), Some(Duration::from_secs(1)));
        for text in [
            "no-store",
            "max-age=60,NO-CACHE",
            "private=\"x\"",
            "max-age=0",
            "max-age=",
            "max-age=1.5",
            "max-age=-1",
            "max-age",
        ] {
            assert_eq!(fresh(text), None, "{text}");
        }
    }
}
