//! The reference for a stream manager's answers: JSON by RFC 8259, the nodes that it names, and the time for which it may be
//! stored.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::oracles::reference::address;
use crate::proto::red5::answer::{Answer, FreshnessRules, NODES_MAX};
use crate::proto::red5::route::{EventKind, Keep};

/// Deepest level of values that is walked.
const DEPTH_MAX: usize = 200;

/// Why a body could not be walked.
#[derive(Debug, PartialEq, Eq)]
pub enum WalkFault {
    /// The body is no JSON text.
    Malformed,
    /// Values are nested deeper than 200 levels.
    TooDeep,
}

/// The nodes that a body names, by serde_json's tree of values. `None` if the tree can't hold the body: with numbers out of
/// range, and with halves of surrogate pairs.
pub fn nodes_by_tree(body: &[u8]) -> Option<Vec<IpAddr>> {
    let objects = match serde_json::from_slice(body).ok()? {
        Value::Array(objects) => objects,
        value => vec![value],
    };
    let addresses = objects.iter().map(|object| object.get("serverAddress").and_then(Value::as_str));
    Some(named(addresses))
}

/// The nodes that a body names, by a reader of JSON that is written here. Fails if the body is no JSON or nested too deep.
pub fn nodes_by_walk(body: &[u8]) -> Result<Vec<IpAddr>, WalkFault> {
    let mut walk = Walk { rest: body };
    let value = walk.value(0)?;
    walk.space();
    if !walk.rest.is_empty() || std::str::from_utf8(body).is_err() {
        return Err(WalkFault::Malformed);
    }
    let objects = match value {
        Json::Array(objects) => objects,
        value => vec![value],
    };
    Ok(named(objects.iter().map(|object| match object {
        // of two equal keys the last one counts
        Json::Object(pairs) => match pairs.iter().rev().find(|(key, _)| key == "serverAddress") {
            Some((_, Json::Text(text))) => Some(text.as_str()),
            _ => None,
        },
        _ => None,
    })))
}

/// Each address once, in the order in which they stand there, as many as one answer may name.
fn named<'t>(texts: impl Iterator<Item = Option<&'t str>>) -> Vec<IpAddr> {
    let mut nodes = Vec::new();
    for address in texts.flatten().filter_map(address::any) {
        if !nodes.contains(&address) && nodes.len() < NODES_MAX {
            nodes.push(address);
        }
    }
    nodes
}

/// A value, as far as nodes depend on it.
enum Json {
    Object(Vec<(String, Self)>),
    Array(Vec<Self>),
    Text(String),
    Other,
}

/// The rest of a body that is being read.
struct Walk<'b> {
    rest: &'b [u8],
}

impl Walk<'_> {
    fn space(&mut self) {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Skips these bytes if they come next; returns whether they did.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(bytes);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, bytes: &[u8]) -> Result<(), WalkFault> {
        if self.takes(bytes) { Ok(()) } else { Err(WalkFault::Malformed) }
    }

    fn value(&mut self, depth: usize) -> Result<Json, WalkFault> {
        if depth > DEPTH_MAX {
            return Err(WalkFault::TooDeep);
        }
        self.space();
        if self.takes(b"{") {
            return self.object(depth);
        }
        if self.takes(b"[") {
            return self.array(depth);
        }
        if self.takes(b"\"") {
            return self.text().map(Json::Text);
        }
        if !(self.takes(b"null") || self.takes(b"true") || self.takes(b"false")) {
            self.number()?;
        }
        Ok(Json::Other)
    }

    fn object(&mut self, depth: usize) -> Result<Json, WalkFault> {
        let mut pairs = Vec::new();
        self.space();
        if self.takes(b"}") {
            return Ok(Json::Object(pairs));
        }
        loop {
            self.space();
            self.expect(b"\"")?;
            let key = self.text()?;
            self.space();
            self.expect(b":")?;
            pairs.push((key, self.value(depth + 1)?));
            self.space();
            if self.takes(b"}") {
                return Ok(Json::Object(pairs));
            }
            self.expect(b",")?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, WalkFault> {
        let mut values = Vec::new();
        self.space();
        if self.takes(b"]") {
            return Ok(Json::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.space();
            if self.takes(b"]") {
                return Ok(Json::Array(values));
            }
            self.expect(b",")?;
        }
    }

    /// A string, behind its opening quotation mark.
    fn text(&mut self) -> Result<String, WalkFault> {
        let mut units: Vec<u16> = Vec::new();
        loop {
            let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            let (plain, rest) = self.rest.split_at(end.ok_or(WalkFault::Malformed)?);
            units.extend(String::from_utf8_lossy(plain).encode_utf16());
            self.rest = &rest[1..];
            match rest[0] {
                b'"' => return Ok(String::from_utf16_lossy(&units)),
                b'\\' => units.push(self.escape()?),
                _ => return Err(WalkFault::Malformed),
            }
        }
    }

    /// An escape, behind its backslash.
    fn escape(&mut self) -> Result<u16, WalkFault> {
        let (&kind, rest) = self.rest.split_first().ok_or(WalkFault::Malformed)?;
        self.rest = rest;
        let index = b"\"\\/bfnrt".iter().position(|&known| known == kind);
        if let Some(index) = index {
            return Ok(u16::from(b"\"\\/\x08\x0c\n\r\t"[index]));
        }
        let digits = self.rest.get(..4).filter(|four| kind == b'u' && four.iter().all(u8::is_ascii_hexdigit));
        let digits =
            std::str::from_utf8(digits.ok_or(WalkFault::Malformed)?).map_err(|_| WalkFault::Malformed)?;
        self.rest = &self.rest[4..];
        u16::from_str_radix(digits, 16).map_err(|_| WalkFault::Malformed)
    }

    fn number(&mut self) -> Result<(), WalkFault> {
        self.takes(b"-");
        if !self.takes(b"0") {
            self.digits()?;
        }
        if self.takes(b".") {
            self.digits()?;
        }
        if self.takes(b"e") || self.takes(b"E") {
            let _ = self.takes(b"+") || self.takes(b"-");
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), WalkFault> {
        let end = self.rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
        if end == 0 { Err(WalkFault::Malformed) } else { Ok(()) }
    }
}

/// For how long an answer may be stored: the configured time, or less if the stream manager says so.
pub fn freshness(
    answer: &Answer,
    rules: &FreshnessRules,
    kind: EventKind,
    keep: Keep,
    cache_control: Option<&str>,
) -> Option<Duration> {
    let ours = match (answer, keep, kind) {
        (Answer::Other, ..) | (_, Keep::Never, _) | (_, _, EventKind::Other) => return None,
        (Answer::Missing, Keep::Found, _) => return None,
        (Answer::Missing, Keep::Both, _) => rules.missing,
        (Answer::Found { .. }, _, EventKind::Broadcast) => rules.broadcast,
        (Answer::Found { .. }, _, EventKind::Subscribe) => rules.subscribe,
        (Answer::Found { .. }, _, EventKind::List) => rules.list,
    };
    let mut seconds = ours.as_secs();
    for directive in cache_control.unwrap_or_default().split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" | "private" => return None,
            "max-age" | "s-maxage" => {
                let value = value.trim().trim_matches('"');
                if value.is_empty() || value.chars().any(|digit: char| !digit.is_ascii_digit()) {
                    return None;
                }
                // more digits than a number can have are more than the configured time
                seconds = seconds.min(value.parse().unwrap_or(seconds));
            }
            _ => {}
        }
    }
    (seconds > 0).then(|| Duration::from_secs(seconds))
}
