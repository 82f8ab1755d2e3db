//! Connection parameters that keep P1 to P14.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate::oracles;
use tidegate::proto::red5::params::{ConnectionParams, Host};

use super::{escaped, holds};

/// What a client means, before it is written down.
#[derive(Debug, Clone)]
struct Meant {
    host: Host,
    /// As it is written, before escaping.
    host_text: String,
    app: String,
    context: Vec<String>,
    /// How the context is said: in `app`, in `context`, in the path, or in both of the latter.
    way: u8,
    /// Pairs that are not ours.
    opaque: Vec<String>,
    /// Slots of `host`, `app` and `context` among them.
    places: [prop::sample::Index; 3],
    escape: Vec<bool>,
    slashes: [bool; 2],
    /// Bytes that mean nothing: a question mark in front, ampersands anywhere.
    question_mark: bool,
    ampersands: bool,
}

pub(crate) fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        // with runs of zeros, which have a way of their own to be written
        vec(prop_oneof![Just(0_u16), any::<u16>()], 8)
            .prop_map(|groups| IpAddr::V6(<[u16; 8]>::try_from(groups).unwrap().into())),
    ]
}

/// A host as it may be written; groups of an IPv6 address with zeros in front, in upper case, in brackets.
fn host() -> impl Strategy<Value = (Host, String)> {
    let written = (address(), any::<(bool, bool, bool)>()).prop_map(|(address, (brackets, long, upper))| {
        let text = match address {
            IpAddr::V6(v6) if long => v6.segments().map(|group| format!("{group:04x}")).join(":"),
            address => address.to_string(),
        };
        let text = if upper { text.to_ascii_uppercase() } else { text };
        let text = if brackets && address.is_ipv6() { format!("[{text}]") } else { text };
        (Host::Address(address), text)
    });
    let name = Just((Host::Name("node1.example.net".into()), "Node1.Example.NET".to_owned()));
    prop_oneof![9 => written, 1 => name]
}

/// Pairs that are for the node, with whatever a target may hold in them.
pub(crate) fn opaque() -> impl Strategy<Value = Vec<String>> {
    let known = ["host", "app", "context", "accesstoken", "username", "nodegroup", "requestid"];
    let key = "[a-zA-Z0-9_.~-]{1,12}".prop_filter("not ours in any case", move |key: &String| {
        !known.contains(&key.to_ascii_lowercase().as_str())
    });
    // visible bytes without `&` and `#`
    let value = proptest::option::of("[!\"$%'-~]{0,16}");
    vec(
        (key, value).prop_map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key,
        }),
        0..12,
    )
}

fn meant() -> impl Strategy<Value = Meant> {
    let segment =
        "[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}".prop_filter("no word of a script", |segment: &String| {
            !["undefined", "null", "NaN", "true", "false", "api", "whip", "whep"].contains(&segment.as_str())
        });
    (
        (host(), prop::sample::select(vec!["live", "webrtc"]), vec(segment, 0..4), 0..4_u8),
        (opaque(), any::<[prop::sample::Index; 3]>(), vec(any::<bool>(), 1..7)),
        (any::<[bool; 2]>(), any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |((host, app, context, way), (opaque, places, escape), (slashes, question_mark, ampersands))| {
                let ((host, host_text), app) = (host, app.to_owned());
                Meant {
                    host,
                    host_text,
                    app,
                    context,
                    way,
                    opaque,
                    places,
                    escape,
                    slashes,
                    question_mark,
                    ampersands,
                }
            },
        )
}

impl Meant {
    /// The path's suffix and the query.
    fn written(&self) -> (String, String) {
        let context = self.context.join("/");
        let say = |way: &[u8]| way.contains(&self.way) && !context.is_empty();
        let mut app = self.app.clone();
        if say(&[0]) {
            app = format!("{app}/{context}");
        }
        let [before, behind] = self.slashes.map(|slash| if slash { "/" } else { "" });
        let app = escaped(&format!("{before}{app}{behind}"), &self.escape);
        let mut pairs = self.opaque.clone();
        let mut put =
            |place: &prop::sample::Index, pair: String| pairs.insert(place.index(pairs.len() + 1), pair);
        put(&self.places[0], format!("host={}", escaped(&self.host_text, &self.escape)));
        put(&self.places[1], format!("app={app}"));
        if say(&[1, 3]) {
            put(&self.places[2], format!("context={}", escaped(&context, &self.escape)));
        }
        let query = pairs.join(if self.ampersands { "&&" } else { "&" });
        let suffix = if say(&[2, 3]) { format!("/{context}{behind}") } else { behind.to_owned() };
        (suffix, if self.question_mark { format!("?{query}") } else { query })
    }
}

#[test]
fn what_keeps_the_rules_is_accepted_and_goes_on_byte_for_byte() {
    holds(1500, meant(), |meant| {
        let (suffix, query) = meant.written();
        oracles::params(format!("{suffix}\n{query}").as_bytes());
        let read = ConnectionParams::read(&suffix, &query, &oracles::param_rules());
        let params = read.map_err(|refusal| TestCaseError::fail(format!("{suffix} {query}: {refusal:?}")))?;
        prop_assert_eq!(params.host, meant.host);
        let scope = [&[meant.app.clone()][..], &meant.context].concat().join("/");
        prop_assert_eq!(&params.scope, &scope);
        let mark = if meant.opaque.is_empty() { "" } else { "?" };
        prop_assert_eq!(params.node_target, format!("/{scope}/{mark}{}", meant.opaque.join("&")));
        Ok(())
    });
}
