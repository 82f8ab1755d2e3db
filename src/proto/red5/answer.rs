//! What the stream manager said: which nodes it names, and how long that may be believed.
//!
//! Bodies pass to clients unchanged, so nothing of them is kept here but the addresses. This file knows no clock, no
//! cache and no HTTP client; whether a named address may be learned is for [`admission`](super::admission) to say.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::proto::red5::route::{EventKind, Keep};

/// Most nodes that one answer can name; what comes after is not heard.
pub const NODES_MAX: usize = 4096;

/// An answer of the stream manager, as far as we care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200 with well-formed JSON; the nodes it names, each once, in order of mention. To be learned even if the answer
    /// itself is not kept.
    Found { nodes: Vec<IpAddr> },
    /// 404 or 400: no such stream, or no node free. A value with a short life.
    Missing,
    /// Everything else: passed on or turned into a refusal, but never kept and nothing is learned from it.
    Other,
}

/// How long answers are believed at most; zero means not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessRules {
    pub broadcast: Duration,
    pub subscribe: Duration,
    pub list: Duration,
    pub missing: Duration,
}

/// Reads an answer; never fails, because whatever a stream manager says is an answer.
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
    /// For how long this answer to such a question may be kept; `None` means not at all.
    ///
    /// `cache_control` is the stream manager's word (several fields joined by commas): it can shorten, never lengthen.
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
            Some(text) => ours.min(stricter(text)?),
            None => ours,
        };
        (!fresh.is_zero()).then_some(fresh)
    }
}

/// How long `Cache-Control` lets an answer live; `None` if it may not be kept, or says something we can't read.
fn stricter(cache_control: &str) -> Option<Duration> {
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
            // more digits than fit are a very long time
            longest = longest.min(Duration::from_secs(digits.parse().unwrap_or(u64::MAX)));
        }
    }
    Some(longest)
}

/// Whether a content type is JSON: any case, parameters allowed.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The nodes that a body names, or `None` if it is not one well-formed JSON text. serde_json bounds the depth.
fn nodes(body: &[u8]) -> Option<Vec<IpAddr>> {
    let mut found = Found::default();
    let mut reader = serde_json::Deserializer::from_str(std::str::from_utf8(body).ok()?);
    Shape { found: &mut found, level: 0 }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(found.nodes)
}

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

/// An object, or an array of objects: the two shapes that answers have. What is nested deeper names no node.
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
        // of two equal keys the last one counts, as it does for the pages that read this
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

/// Whether a key is `serverAddress`.
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

/// A value, if it is an address in canonical form; a name or a scoped address is nothing we could dial.
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
    fn nodes_in_every_shape() {
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
    fn a_huge_answer_names_a_bounded_number() {
        let objects: Vec<String> =
            (0..5000_u32).map(|n| format!(r#"{{"serverAddress":"10.1.{}.{}"}}"#, n >> 8, n & 255)).collect();
        assert_eq!(named(&format!("[{}]", objects.join(","))).len(), NODES_MAX);
    }

    #[test]
    fn what_is_no_answer() {
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
    fn how_long_an_answer_lives() {
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
    fn the_manager_can_only_shorten_it() {
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
