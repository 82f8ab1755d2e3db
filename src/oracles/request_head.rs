//! The oracle of heads: a head is read as the reference reads it, and the request that a node gets then is read back.

use std::net::SocketAddr;

use crate::oracles::cut::{LIMITS, cut_anywhere};
use crate::oracles::reference::http;
use crate::proto::http::forward_fields::{Fields, NodeOrigin, NodeRequest};
use crate::proto::http::head::{self, BodyLength, HeadLimits, Request};
use crate::proto::http::trace_context::TraceFields;
use crate::proto::websocket::upgrade::{Upgrade, UpgradeOptions};

/// Asserts that a head gives the same result wherever it is cut; that it is accepted if and only if the reference accepts
/// it, with equal values; and that a node then gets exactly one request, with the forwarded fields and no others. Input: the
/// bytes of a client or a node.
pub fn head(bytes: &[u8]) {
    cut_anywhere(bytes, |bytes, seen| head::request(bytes, seen, &LIMITS));
    cut_anywhere(bytes, |bytes, seen| head::response(bytes, seen, &LIMITS));
    let response = head::response(bytes, 0, &LIMITS).ok().flatten();
    assert_eq!(response, http::response(bytes, &LIMITS), "a response");
    let request = head::request(bytes, 0, &LIMITS).ok().flatten();
    assert_eq!(request, http::request(bytes, &LIMITS), "a request");
    let Some((request, used)) = request else { return };
    assert!(bytes[..used].ends_with(b"\r\n\r\n"), "a head ends with a blank line");
    let again = head::request(&bytes[..used], 0, &LIMITS);
    assert_eq!(again, Ok(Some((request.clone(), used))), "what follows a head changes nothing in it");
    upgrade(&request);
    exchange(&request);
}

const NODE: &str = "[2001:db8::5]:5080";
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

fn node() -> SocketAddr {
    NODE.parse().expect("written here")
}

fn client() -> SocketAddr {
    "[::ffff:192.0.2.1]:4711".parse().expect("written here")
}

/// Name and value of each field, in order.
type Expected<'w> = Vec<(&'w str, &'w str)>;

/// The fields that tell a node the client's address; the same in both kinds of request.
const FORWARDED_FOR: [(&str, &str); 4] = [
    ("X-Forwarded-For", "192.0.2.1"),
    ("X-Forwarded-For-Meta-Port", "4711"),
    ("X-Forwarded-For-Meta-Type", "WEB"),
    ("X-Forwarded-For-Meta-Secure", "true"),
];

/// The WebSocket handshake that a node gets.
fn upgrade(request: &Request<'_>) {
    let user_agent = user_agent(request);
    let trace = trace(request);
    let (parent, state) = trace_values(trace.as_ref());
    for extensions in [false, true] {
        let options = UpgradeOptions {
            forward_extensions: extensions,
            node_protocol: Some("chat".into()),
            origin_header: request.origin.map(|origin| NodeOrigin::Text(origin.to_owned())),
            trace: trace.clone(),
        };
        let upgrade = Upgrade::new(request, "the client's", request.target.to_owned(), options);
        let mut expected: Expected<'_> = vec![
            ("Host", NODE),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
        ];
        expected.extend(FORWARDED_FOR);
        expected.push(("Sec-WebSocket-Protocol", "chat"));
        let forwarded = [
            ("Sec-WebSocket-Extensions", request.ws_extensions.as_deref().filter(|_| extensions)),
            ("Origin", request.origin),
            ("User-Agent", user_agent.as_deref()),
            ("traceparent", parent.as_deref()),
            ("tracestate", state),
        ];
        expected.extend(forwarded.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let written = upgrade.request(KEY, node(), client());
        let read = reads_back(&written, ["GET", request.target, "HTTP/1.1"], &expected);
        assert!(read.upgrade_websocket && read.body == BodyLength::None);
    }
}

/// The trace of a request, as it goes on unchanged. `trace_context` is the oracle of its reader.
fn trace(request: &Request<'_>) -> Option<TraceFields> {
    TraceFields::read(request.traceparent, request.tracestate.as_deref())
}

/// The values of both fields.
fn trace_values(trace: Option<&TraceFields>) -> (Option<String>, Option<&str>) {
    (trace.map(|trace| trace.parent.to_string()), trace.and_then(|trace| trace.state.as_deref()))
}

/// The HTTP request that a node gets.
fn exchange(request: &Request<'_>) {
    let user_agent = user_agent(request);
    let trace = trace(request);
    let (parent, state) = trace_values(trace.as_ref());
    for (method, body, credentials) in [
        ("POST", BodyLength::Length(7), true),
        ("POST", BodyLength::None, false),
        ("PATCH", BodyLength::Chunked, false),
        ("DELETE", BodyLength::None, true),
    ] {
        let mut fields = Fields::of(request, credentials).with_trace(trace.clone());
        fields.origin_header = Some(NodeOrigin::Itself);
        let close = credentials;
        let node_request = NodeRequest {
            method,
            target: request.target,
            node: node(),
            client: client(),
            body,
            close,
            fields,
        };
        let mut expected: Expected<'_> = vec![("Host", NODE), ("Accept-Encoding", "identity")];
        expected.extend(FORWARDED_FOR);
        let origin = format!("http://{NODE}");
        let forwarded = [
            ("Content-Length", (method == "POST").then_some(if credentials { "7" } else { "0" })),
            ("Transfer-Encoding", (body == BodyLength::Chunked).then_some("chunked")),
            ("Content-Type", request.content_type),
            ("Accept", request.accept),
            ("If-Match", request.if_match.as_deref()),
            ("If-None-Match", request.if_none_match.as_deref()),
            ("User-Agent", user_agent.as_deref()),
            ("Authorization", request.authorization.filter(|_| credentials)),
            ("Origin", Some(origin.as_str())),
            ("traceparent", parent.as_deref()),
            ("tracestate", state),
            ("Connection", close.then_some("close")),
        ];
        expected.extend(forwarded.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let written = node_request.head();
        let read = reads_back(&written, [method, request.target, "HTTP/1.1"], &expected);
        assert!(read.body == body && read.keep_alive != close && !read.expect_continue);
    }
}

/// What of a client's `User-Agent` is forwarded: visible letters and spaces, without the spaces around it.
fn user_agent(request: &Request<'_>) -> Option<String> {
    let visible = request.user_agent?.iter().filter(|byte| matches!(byte, b' '..=b'~'));
    let value: String = visible.map(|byte| char::from(*byte)).take(512).collect();
    let value = value.trim_matches(' ').to_owned();
    (!value.is_empty()).then_some(value)
}

/// Asserts that both readers find one head in what was written, with this line and these fields, each once and in this
/// order.
fn reads_back<'w>(written: &'w [u8], line: [&str; 3], expected: &Expected<'_>) -> Request<'w> {
    const WIDE: HeadLimits = HeadLimits { head_size_max: 8192, target_size_max: 8192, headers_max: 64 };
    let text = || String::from_utf8_lossy(written);
    let Some(head) = http::request_head(written) else {
        panic!("expected a head by the grammar: {}", text())
    };
    assert_eq!((head.line, head.size), (line, written.len()), "{}", text());
    let fields: Vec<_> =
        head.fields.iter().map(|(name, value)| (*name, String::from_utf8_lossy(value))).collect();
    let expected: Vec<_> = expected.iter().map(|(name, value)| (*name, (*value).into())).collect();
    assert_eq!(fields, expected);
    for (place, (name, _)) in expected.iter().enumerate() {
        assert!(expected[..place].iter().all(|(other, _)| !other.eq_ignore_ascii_case(name)), "{name} twice");
    }
    let Ok(Some((read, used))) = head::request(written, 0, &WIDE) else {
        panic!("the gateway's own reader refuses it: {}", text())
    };
    assert_eq!((read.method, read.target, read.host, used), (line[0], line[1], NODE, written.len()));
    read
}
