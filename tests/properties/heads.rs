//! Heads that keep the grammar and the gateway's additional rules.

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate::oracles;
use tidegate::proto::http::head;
use tidegate::proto::http::head::{BodyLength, HeadLimits};

use super::{cuts, holds};

const LIMITS: HeadLimits = HeadLimits { head_size_max: 8192, target_size_max: 6144, headers_max: 64 };

/// A field in an allowed spelling: any letter case of its name, any whitespace around its value.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    value: String,
    space: (String, String),
}

impl Field {
    fn new(name: impl Into<String>, value: impl Into<String>, space: &(String, String), upper: bool) -> Self {
        let name = name.into();
        let name = if upper { name.to_ascii_uppercase() } else { name };
        Self { name, value: value.into(), space: space.clone() }
    }

    fn written(&self) -> String {
        format!("{}:{}{}{}\r\n", self.name, self.space.0, self.value, self.space.1)
    }
}

fn space() -> impl Strategy<Value = (String, String)> {
    ("[ \t]{0,2}", "[ \t]{0,2}")
}

/// A value with a visible character at both ends, or an empty one.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just(String::new()), 9 => "[!-~]([ \t!-~]{0,20}[!-~])?"]
}

/// Fields that the gateway does not know.
fn others() -> impl Strategy<Value = Vec<Field>> {
    let field = ("X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,10}", value(), space());
    vec(field.prop_map(|(name, value, space)| Field::new(name, value, &space, false)), 0..6)
}

/// The fields that a request may have once, in the order of [`Expected::known`].
const KNOWN: [&str; 12] = [
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
    "Origin",
    "User-Agent",
    "Authorization",
    "Content-Type",
    "If-Match",
    "If-None-Match",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
];

#[derive(Debug, Clone)]
struct Expected {
    method: String,
    target: String,
    /// Whether the target is written in absolute form.
    absolute: bool,
    host: String,
    known: Vec<Option<String>>,
    others: Vec<Field>,
    body: BodyLength,
    /// The `Connection` field: 0 none, 1 `close`, 2 an upgrade.
    connection: u8,
    space: (String, String),
    upper: bool,
    empty_line: bool,
    rotation: prop::sample::Index,
}

fn expected() -> impl Strategy<Value = Expected> {
    let host = prop_oneof![
        Just("gate.example".to_owned()),
        Just("[2001:db8::1]:8443".to_owned()),
        "[a-z][a-z0-9.-]{0,20}(:[0-9]{1,4})?",
    ];
    let body = prop_oneof![
        Just(BodyLength::None),
        (1..u64::MAX).prop_map(BodyLength::Length),
        Just(BodyLength::Chunked),
    ];
    (
        ("[A-Z]{1,16}", "/[!\"$-~]{0,200}", any::<bool>(), host),
        (vec(proptest::option::weighted(0.4, value()), KNOWN.len()), others(), body, 0..3_u8),
        (space(), any::<bool>(), any::<bool>(), any::<prop::sample::Index>()),
    )
        .prop_map(|((method, target, absolute, host), (known, others, body, connection), rest)| {
            let (space, upper, empty_line, rotation) = rest;
            Expected {
                method,
                target,
                absolute,
                host,
                known,
                others,
                body,
                connection,
                space,
                upper,
                empty_line,
                rotation,
            }
        })
}

impl Expected {
    fn written(&self) -> Vec<u8> {
        let field = |name: &str, value: &str| Field::new(name, value, &self.space, self.upper);
        let mut fields = vec![field("Host", &self.host)];
        let known = KNOWN.iter().zip(&self.known);
        fields.extend(known.filter_map(|(name, value)| Some(field(name, value.as_deref()?))));
        match self.body {
            BodyLength::None => {}
            BodyLength::Length(length) => fields.push(field("Content-Length", &length.to_string())),
            BodyLength::Chunked => fields.push(field("Transfer-Encoding", "Chunked")),
        }
        match self.connection {
            0 => {}
            1 => fields.push(field("Connection", "x-hop, Close")),
            _ => fields.extend([field("Connection", "Upgrade"), field("Upgrade", "WebSocket")]),
        }
        fields.extend(self.others.iter().cloned());
        let rotation = self.rotation.index(fields.len());
        fields.rotate_left(rotation);
        let fields: String = fields.iter().map(Field::written).collect();
        let form = if self.absolute { format!("https://{}", self.host) } else { String::new() };
        let start = if self.empty_line { "\r\n" } else { "" };
        format!("{start}{} {form}{} HTTP/1.1\r\n{fields}\r\n", self.method, self.target).into_bytes()
    }
}

#[test]
fn a_request_that_keeps_the_grammar_is_accepted_and_read_correctly() {
    holds(1000, (expected(), cuts()), |(expected, cuts)| {
        let mut bytes = expected.written();
        let size = bytes.len();
        bytes.extend_from_slice(b"what follows");
        oracles::head(&bytes);
        let mut seen = 0;
        for cut in cuts.iter().cycle() {
            let arrived = (seen + cut).min(size - 1);
            prop_assert_eq!(head::request(&bytes[..arrived], seen, &LIMITS), Ok(None));
            seen = arrived;
            if arrived == size - 1 {
                break;
            }
        }
        let read = head::request(&bytes, seen, &LIMITS);
        let Ok(Some((request, used))) = read else { return Err(TestCaseError::fail(format!("{read:?}"))) };
        prop_assert_eq!(used, size);
        prop_assert_eq!(
            (request.method, request.target),
            (expected.method.as_str(), expected.target.as_str())
        );
        prop_assert_eq!((request.host, request.body), (expected.host.as_str(), expected.body));
        prop_assert_eq!(request.keep_alive, expected.connection != 1);
        prop_assert_eq!(request.upgrade_websocket, expected.connection == 2);
        let read = [
            request.ws_key,
            request.ws_version,
            request.ws_extensions.as_deref(),
            request.ws_protocol.as_deref(),
            request.origin,
            request.user_agent.and_then(|value| std::str::from_utf8(value).ok()),
            request.authorization,
            request.content_type,
            request.if_match.as_deref(),
            request.if_none_match.as_deref(),
            request.acr_method,
            request.acr_headers.as_deref(),
        ];
        let known: Vec<Option<&str>> = expected.known.iter().map(Option::as_deref).collect();
        prop_assert_eq!(read.to_vec(), known);
        Ok(())
    });
}

#[test]
fn a_response_that_keeps_the_grammar_is_accepted_and_its_allowed_fields_are_forwarded() {
    let forwarded = ["Content-Type", "ETag", "Link", "Retry-After", "WWW-Authenticate", "Accept-Patch"];
    let known = vec(proptest::option::of(value()), forwarded.len());
    let inputs = (200..600_u16, "[ -~]{0,20}", known, others(), space(), any::<bool>());
    holds(600, inputs, move |(status, reason, known, others, space, upper)| {
        let named =
            || forwarded.iter().zip(&known).filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let allowed = named().map(|(name, value)| Field::new(name, value, &space, upper).written());
        let fields: String = allowed.chain(others.iter().map(Field::written)).collect();
        let bytes = format!("HTTP/1.1 {status} {reason}\r\n{fields}\r\n").into_bytes();
        oracles::node_answer(&bytes);
        let read = tidegate::proto::http::forward_fields::answer(&bytes, 0, &LIMITS);
        let Ok(Some((answer, used))) = read else { return Err(TestCaseError::fail(format!("{read:?}"))) };
        prop_assert_eq!((answer.head.status, used), (status, bytes.len()));
        prop_assert_eq!(answer.fields, named().collect::<Vec<_>>());
        Ok(())
    });
}
