//! Connection parameters that keep the rules P1 to P14.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate::oracles;
use tidegate::proto::red5::params::{ConnectionParams, Host};

use super::{escaped, holds};

/// The parameters of a request, before they are written as a query.
#[derive(Debug, Clone)]
struct Expected {
    host: Host,
    /// The host as it is written, before percent-encoding.
    host_text: String,
    app: String,
    context: Vec<String>,
    /// Where the context stands: 0 in `app`, 1 in `context`, 2 in the path, 3 in both of the latter.
    context_in: u8,
    /// Pairs that the gateway does not read and passes on to the node.
    opaque: Vec<String>,
    /// Positions of `host`, `app` and `context` among these pairs.
    positions: [prop::sample::Index; 3],
    escape: Vec<bool>,
    slashes: [bool; 2],
    /// Characters without a meaning: a question mark in front, additional ampersands between the pairs.
    question_mark: bool,
    ampersands: bool,
}

pub(crate) fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        // addresses with runs of zeros, which have a short form
        vec(prop_oneof![Just(0_u16), any::<u16>()], 8)
            .prop_map(|groups| IpAddr::V6(<[u16; 8]>::try_from(groups).unwrap().into())),
    ]
}

/// A host in an allowed spelling: an IPv6 address may have leading zeros, upper case and brackets.
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

/// Pairs for the node, with all characters that a target may contain.
pub(crate) fn opaque() -> impl Strategy<Value = Vec<String>> {
    let known = ["host", "app", "context", "accesstoken", "username", "nodegroup", "requestid"];
    let key = "[a-zA-Z0-9_.~-]{1,12}"
        .prop_filter("a key that the gateway reads, in any letter case", move |key: &String| {
            !known.contains(&key.to_ascii_lowercase().as_str())
        });
    // visible ASCII without `&` and `#`
    let value = proptest::option::of("[!\"$%'-~]{0,16}");
    vec(
        (key, value).prop_map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key,
        }),
        0..12,
    )
}

fn expected() -> impl Strategy<Value = Expected> {
    let segment = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}".prop_filter(
        "a word that scripts leave behind",
        |segment: &String| {
            !["undefined", "null", "NaN", "true", "false", "api", "whip", "whep"].contains(&segment.as_str())
        },
    );
    (
        (host(), prop::sample::select(vec!["live", "webrtc"]), vec(segment, 0..4), 0..4_u8),
        (opaque(), any::<[prop::sample::Index; 3]>(), vec(any::<bool>(), 1..7)),
        (any::<[bool; 2]>(), any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(
                (host, app, context, context_in),
                (opaque, positions, escape),
                (slashes, question_mark, ampersands),
            )| {
                let ((host, host_text), app) = (host, app.to_owned());
                Expected {
                    host,
                    host_text,
                    app,
                    context,
                    context_in,
                    opaque,
                    positions,
                    escape,
                    slashes,
                    question_mark,
                    ampersands,
                }
            },
        )
}

impl Expected {
    /// Returns the suffix of the path and the query.
    fn written(&self) -> (String, String) {
        let context = self.context.join("/");
        let context_in = |forms: &[u8]| forms.contains(&self.context_in) && !context.is_empty();
        let mut app = self.app.clone();
        if context_in(&[0]) {
            app = format!("{app}/{context}");
        }
        let [before, after] = self.slashes.map(|slash| if slash { "/" } else { "" });
        let app = escaped(&format!("{before}{app}{after}"), &self.escape);
        let mut pairs = self.opaque.clone();
        let mut put = |at: &prop::sample::Index, pair: String| pairs.insert(at.index(pairs.len() + 1), pair);
        put(&self.positions[0], format!("host={}", escaped(&self.host_text, &self.escape)));
        put(&self.positions[1], format!("app={app}"));
        if context_in(&[1, 3]) {
            put(&self.positions[2], format!("context={}", escaped(&context, &self.escape)));
        }
        let query = pairs.join(if self.ampersands { "&&" } else { "&" });
        let suffix = if context_in(&[2, 3]) { format!("/{context}{after}") } else { after.to_owned() };
        (suffix, if self.question_mark { format!("?{query}") } else { query })
    }
}

#[test]
fn parameters_that_keep_the_rules_are_accepted_and_forwarded_byte_for_byte() {
    holds(1500, expected(), |expected| {
        let (suffix, query) = expected.written();
        oracles::params(format!("{suffix}\n{query}").as_bytes());
        let read = ConnectionParams::read(&suffix, &query, &oracles::param_rules());
        let params = read.map_err(|refusal| TestCaseError::fail(format!("{suffix} {query}: {refusal:?}")))?;
        prop_assert_eq!(params.host, expected.host);
        let scope = [&[expected.app.clone()][..], &expected.context].concat().join("/");
        prop_assert_eq!(&params.scope, &scope);
        let mark = if expected.opaque.is_empty() { "" } else { "?" };
        prop_assert_eq!(params.node_target, format!("/{scope}/{mark}{}", expected.opaque.join("&")));
        Ok(())
    });
}
