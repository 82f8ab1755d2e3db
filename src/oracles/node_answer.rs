//! The oracle of nodes' answers: how their heads are read, and what the client gets of them.

use std::net::SocketAddr;

use crate::oracles::cut::{LIMITS, cut_anywhere};
use crate::oracles::params::param_rules;
use crate::oracles::reference::http;
use crate::proto::http::forward_fields::{self, NodeAnswer};
use crate::proto::http::head::{self, BodyLength};
use crate::proto::http::reply::{self, Field, Shape, StatusLine};
use crate::proto::red5::location;
use crate::proto::red5::route::{self, Route};
use crate::proto::red5::whip::{Handle, Method, Request};
use crate::proto::websocket::upgrade::Upgrade;

/// The fields of a node's answer that are forwarded, and no others: no name of a node, no cookie, no framing of the other
/// leg.
const FORWARDED: [&str; 8] = [
    "Content-Type",
    "Content-Encoding",
    "ETag",
    "Link",
    "Accept-Patch",
    "Accept-Post",
    "Retry-After",
    "WWW-Authenticate",
];

/// The node that answers. No field but `Session-Host` may name it, unless the node wrote it into a forwarded field.
const NODE: &str = "10.0.0.7:5080";

/// Asserts that a node's answer is read as the reference reads it, wherever it is cut, and that the client gets exactly one
/// answer: with the node's status, the forwarded fields unchanged, and the gateway's own fields. Input: the bytes of a node.
pub fn node_answer(bytes: &[u8]) {
    cut_anywhere(bytes, |bytes, seen| forward_fields::answer(bytes, seen, &LIMITS));
    let ours = forward_fields::answer(bytes, 0, &LIMITS).ok().flatten();
    assert_eq!(ours, reference(bytes));
    let Some((answer, _)) = ours else { return };
    upgrade(&answer.head);
    if matches!(answer.head.status, 200..=299 | 400..=599) {
        for made in [true, false] {
            exchange(&answer, made);
        }
    }
}

/// The same by the reference for heads.
fn reference(bytes: &[u8]) -> Option<(NodeAnswer<'_>, usize)> {
    let (head, size) = http::response(bytes, &LIMITS)?;
    let whole = http::response_head(bytes)?;
    let location = match whole.values("location").as_slice() {
        [first, others @ ..] if others.iter().all(|other| other == first) => Some(*first),
        _ => None,
    };
    let mut fields = Vec::new();
    for (name, value) in whole.fields {
        let name = FORWARDED.into_iter().find(|forwarded| forwarded.eq_ignore_ascii_case(name));
        if let (Some(name), true) = (name, value.is_ascii()) {
            fields.push((name, std::str::from_utf8(value).ok()?));
        }
    }
    Some((NodeAnswer { head, fields, location }, size))
}

/// An answer to a WHIP request, written for the client; `made`: with the fields of a new session and of CORS.
fn exchange(answer: &NodeAnswer<'_>, made: bool) {
    let Ok(Route::Whip(route)) = route::route("/as/v1/proxy/whip/live/s1") else { panic!("a route") };
    let request = Request::read(&route, Method::Post, &param_rules(), "ng1").expect("a good request");
    if location::at_node(answer.location, &request).is_err() {
        return;
    }
    let own = location::for_client(&request, Handle::new([7; 16]));
    let node: SocketAddr = NODE.parse().expect("written here");
    let host = location::session_host(node);
    let mut fields: Vec<Field<'_>> = answer.fields.clone();
    if made {
        fields.extend([("Location", own.as_str()), ("Session-Host", host.as_str())]);
    }
    let shape = Shape {
        session: "0123456789abcdef".into(),
        allow_origin: made.then(|| "https://app.example".into()),
        allow_credentials: true,
        vary_origin: made,
        close: !made,
        bodiless: false,
    };
    let body: &[u8] = if matches!(answer.head.status, 204 | 304) { b"" } else { b"v=0\r\n\r\n" };
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let line = StatusLine { status: answer.head.status, reason: "", date: &date };
    let written = reply::write(&shape, line, &fields, body);
    let length = body.len().to_string();
    let mut expected: Vec<Field<'_>> = vec![("Date", date)];
    expected.extend(fields);
    let ours = [
        ("Content-Length", (!body.is_empty()).then_some(length.as_str())),
        ("Access-Control-Allow-Origin", made.then_some("https://app.example")),
        ("Access-Control-Expose-Headers", made.then_some(forward_fields::EXPOSED)),
        ("Access-Control-Allow-Credentials", made.then_some("true")),
        ("Vary", made.then_some("Origin")),
        ("Cache-Control", Some("no-store")),
        ("X-Tidegate-Session", Some("0123456789abcdef")),
        ("Connection", (!made).then_some("close")),
    ];
    expected.extend(ours.into_iter().filter_map(|(name, value)| Some((name, value?))));
    reads_back(&written, answer.head.status, &expected, body);
}

/// The client gets a 101 only if the node's answer completes the handshake, and only with what both offered.
fn upgrade(response: &head::Response<'_>) {
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    for (offered, node_protocol) in
        [(Some("permessage-deflate; client_max_window_bits, x-a"), "chat"), (None, "x")]
    {
        let upgrade = Upgrade {
            target: "/live/".into(),
            client_key: KEY.into(),
            user_agent: None,
            extensions: offered.map(str::to_owned),
            client_protocols: Some("wamp, chat".into()),
            node_protocol: Some(node_protocol.into()),
            origin_header: None,
            trace: None,
        };
        let Ok(negotiated) = upgrade.check(KEY, response) else { continue };
        assert_eq!((response.status, response.ws_accept), (101, Some(ACCEPT)));
        assert!(response.upgrade_websocket);
        assert!(response.ws_protocol.is_none_or(|protocol| protocol == node_protocol));
        let protocol = response.ws_protocol.filter(|protocol| *protocol == "chat");
        let extensions = response.ws_extensions.filter(|value| !value.trim().is_empty());
        for extension in extensions.unwrap_or_default().split(',').filter(|_| extensions.is_some()) {
            let name = extension.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            assert!(offered.is_some() && ["permessage-deflate", "x-a"].contains(&name.as_str()), "{name}");
        }
        let mut expected: Vec<Field<'_>> = vec![
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", ACCEPT),
            ("X-Tidegate-Session", "0123456789abcdef"),
        ];
        let chosen = [("Sec-WebSocket-Protocol", protocol), ("Sec-WebSocket-Extensions", extensions)];
        expected.extend(chosen.into_iter().filter_map(|(name, value)| Some((name, value?))));
        reads_back(&upgrade.response(&negotiated, "0123456789abcdef"), 101, &expected, b"");
    }
}

/// Asserts that both readers find one answer in what was written, with this status, these fields in this order, and this
/// body. It has no hop-by-hop field but the gateway's own, and names the node only where that is allowed.
fn reads_back(written: &[u8], status: u16, expected: &[Field<'_>], body: &[u8]) {
    const HOP_BY_HOP: [&str; 7] =
        ["keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "set-cookie", "server"];
    let text = || String::from_utf8_lossy(written);
    let Some(head) = http::response_head(written) else {
        panic!("expected a head by the grammar: {}", text())
    };
    assert_eq!((head.line[1].parse(), &written[head.size..]), (Ok(status), body), "{}", text());
    let fields: Vec<_> =
        head.fields.iter().map(|(name, value)| (*name, String::from_utf8_lossy(value))).collect();
    let expected: Vec<_> = expected.iter().map(|(name, value)| (*name, (*value).into())).collect();
    assert_eq!(fields, expected);
    for name in ["date", "content-length", "connection", "location", "session-host"] {
        assert!(head.values(name).len() <= 1, "{name} twice: {}", text());
    }
    for (name, value) in &fields {
        assert!(!HOP_BY_HOP.contains(&name.to_ascii_lowercase().as_str()), "{}", text());
        let may_name_it = FORWARDED.contains(name)
            || name.starts_with("Session-Host")
            || name.starts_with("Sec-WebSocket-");
        assert!(may_name_it || !value.contains("10.0.0.7"), "{}", text());
    }
    const WIDE: head::HeadLimits =
        head::HeadLimits { head_size_max: 8192, target_size_max: 8192, headers_max: 64 };
    let Ok(Some((read, used))) = head::response(written, 0, &WIDE) else {
        panic!("the gateway's own reader refuses it: {}", text())
    };
    let length = if body.is_empty() { BodyLength::None } else { BodyLength::Length(body.len() as u64) };
    assert_eq!((read.status, read.body, used, read.until_close), (status, length, head.size, false));
}
