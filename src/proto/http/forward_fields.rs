//! HTTP forwarded to a node and back (WHIP and WHEP): which fields are forwarded.
//!
//! In both directions a list names the fields that are forwarded; all others are dropped, so that no unforeseen field names
//! a node or carries a secret. Fields that have to be written anew (`Location`, `Session-Host`, CORS, dates) are the
//! caller's.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::proto::http::head::{self, BodyLength, FIELDS_MAX, HeadFault, HeadLimits, Request, Response};
use crate::proto::http::trace_context::TraceFields;

/// Longest `User-Agent` that is forwarded, in bytes; the node's whole head may be 8 KiB.
const USER_AGENT_MAX: usize = 512;

/// Value of the field `Origin` in a request to a node (`origins.origin_header`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeOrigin {
    /// The node's own web origin: `http://{node}:{port}`.
    Itself,
    /// This text: the client's own value, or a configured one.
    Text(String),
}

impl NodeOrigin {
    /// The value in a request to this node.
    pub fn text(&self, node: SocketAddr) -> String {
        match self {
            Self::Itself => format!("http://{node}"),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The value of `User-Agent` that a node gets: the visible ASCII letters and spaces of the client's, 512 bytes at most. Nodes
/// tell Apple's devices by it, so that one letter beyond ASCII must not cost the rest. `None` if nothing is left.
pub fn trim_user_agent(value: &[u8]) -> Option<String> {
    let visible = value.iter().filter(|byte| byte.is_ascii_graphic() || **byte == b' ');
    let kept: String = visible.map(|byte| char::from(*byte)).take(USER_AGENT_MAX).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// An HTTP request to a node on behalf of a client.
#[derive(Debug, Clone)]
pub struct NodeRequest<'r> {
    /// Method of the request line.
    pub method: &'r str,
    /// Target at the node.
    pub target: &'r str,
    /// The node's address, for `Host`.
    pub node: SocketAddr,
    /// The client's address, for `X-Forwarded-For`.
    pub client: SocketAddr,
    /// How the body is framed that the caller sends behind this head.
    pub body: BodyLength,
    /// Whether the node has to end the connection after its answer.
    pub close: bool,
    /// The client's fields that are forwarded.
    pub fields: Fields,
}

/// The fields of a client's request that a node gets. All others are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    content_type: Option<String>,
    accept: Option<String>,
    if_match: Option<String>,
    if_none_match: Option<String>,
    user_agent: Option<String>,
    authorization: Option<String>,
    /// Value of `Origin` at the node, chosen by the configuration and set by the caller; `None` sends no such field.
    pub origin_header: Option<NodeOrigin>,
    /// The trace that the request belongs to, set by the caller.
    pub trace: Option<TraceFields>,
}

impl Fields {
    /// The same with the trace that the request belongs to.
    pub fn with_trace(self, trace: Option<TraceFields>) -> Self {
        Self { trace, ..self }
    }

    /// The fields for another request without a body that the gateway makes for the same client: those about a body and the
    /// conditions are left out.
    pub fn bodiless(&self) -> Self {
        Self { content_type: None, if_match: None, if_none_match: None, ..self.clone() }
    }

    /// The forwarded fields of a request, of any length: a head that grows too large for a node is refused by the caller, and
    /// no field is lost in silence. `authorization`: whether this route forwards credentials (the routes of Stream Manager
    /// 2.0 do).
    pub fn of(request: &Request<'_>, authorization: bool) -> Self {
        let owned = |value: Option<&str>| value.map(str::to_owned);
        Self {
            content_type: owned(request.content_type),
            accept: owned(request.accept),
            if_match: owned(request.if_match.as_deref()),
            if_none_match: owned(request.if_none_match.as_deref()),
            user_agent: request.user_agent.and_then(trim_user_agent),
            authorization: owned(request.authorization.filter(|_| authorization)),
            origin_header: None,
            trace: None,
        }
    }
}

impl NodeRequest<'_> {
    /// The whole head for the node, blank line included. The node is asked for an unencoded body, and told the client's
    /// address in the fields of the vendor's proxy.
    pub fn head(&self) -> Vec<u8> {
        let mut head = String::with_capacity(512 + self.target.len());
        let _ = write!(
            head,
            "{} {} HTTP/1.1\r\nHost: {}\r\nAccept-Encoding: identity\r\nX-Forwarded-For: {}\r\n\
             X-Forwarded-For-Meta-Port: {}\r\nX-Forwarded-For-Meta-Type: WEB\r\nX-Forwarded-For-Meta-Secure: true\r\n",
            self.method,
            self.target,
            self.node,
            self.client.ip().to_canonical(),
            self.client.port()
        );
        let _ = match self.body {
            // nodes expect a length after methods that may have a body
            BodyLength::None if matches!(self.method, "POST" | "PATCH") => {
                head.write_str("Content-Length: 0\r\n")
            }
            BodyLength::None => Ok(()),
            BodyLength::Length(length) => write!(head, "Content-Length: {length}\r\n"),
            BodyLength::Chunked => head.write_str("Transfer-Encoding: chunked\r\n"),
        };
        let origin = self.fields.origin_header.as_ref().map(|origin| origin.text(self.node));
        let fields = [
            ("Content-Type", &self.fields.content_type),
            ("Accept", &self.fields.accept),
            ("If-Match", &self.fields.if_match),
            ("If-None-Match", &self.fields.if_none_match),
            ("User-Agent", &self.fields.user_agent),
            ("Authorization", &self.fields.authorization),
            ("Origin", &origin),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        if let Some(trace) = &self.fields.trace {
            trace.write(&mut head);
        }
        head.push_str(if self.close { "Connection: close\r\n\r\n" } else { "\r\n" });
        head.into_bytes()
    }
}

/// The head of a node's answer, and the fields of it that the client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAnswer<'b> {
    /// Status and framing.
    pub head: Response<'b>,
    /// Fields that the client gets with unchanged values, in their order, under the names as this file writes them.
    pub fields: Vec<(&'static str, &'b str)>,
    /// The node's `Location`, for [`location::at_node`](crate::proto::red5::location::at_node); the client never gets it. `None`
    /// if there is none, and if there are several that differ: then none of them says where the session is.
    pub location: Option<&'b [u8]>,
}

/// Fields of a node's answer that are forwarded. `Link` may be there more than once; it carries credentials of TURN servers.
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

/// Value of `Access-Control-Expose-Headers`: the fields of an answer that a page may read.
pub const EXPOSED: &str = "Location, Link, Session-Host, ETag, Accept-Patch, Accept-Post, Access-Control-Allow-Methods, \
     Allow, Retry-After, Cache-Status, X-Tidegate-Session";

/// Value of `Access-Control-Allow-Headers`: the fields that a page may send; the configuration adds to them. A WHIP library
/// sends `ETag` where `If-Match` belongs; the node does not get it.
pub const ALLOWED: &str = "Content-Type, If-Match, If-None-Match, Authorization, ETag";

/// Reads the head of a node's answer, with the fields that are forwarded; arguments and result as with [`head::response`].
///
/// Fails as that does, and at nothing else: an answer may have created a session. A forwarded value that is not visible
/// ASCII is dropped.
pub fn answer<'b>(
    bytes: &'b [u8],
    seen: usize,
    limits: &HeadLimits,
) -> Result<Option<(NodeAnswer<'b>, usize)>, HeadFault> {
    let Some((head, used)) = head::response(bytes, seen, limits)? else { return Ok(None) };
    let lines = memchr::memchr(b'\n', &bytes[..used]).map_or(used, |end| end + 1);
    let mut room = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let room = &mut room[..limits.headers_max.min(FIELDS_MAX)];
    let parsed = httparse::parse_headers(&bytes[lines..used], room).map_err(|_| HeadFault::Malformed)?;
    let httparse::Status::Complete((_, fields)) = parsed else { return Err(HeadFault::Malformed) };
    let is_location = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("location");
    let mut locations = fields.iter().filter(is_location).map(|field| field.value);
    let first = locations.next();
    let location = first.filter(|first| locations.all(|other| other == *first));
    let mut answer = NodeAnswer { head, fields: Vec::new(), location };
    for field in fields {
        let name = FORWARDED.iter().find(|name| name.eq_ignore_ascii_case(field.name));
        answer.fields.extend(name.copied().zip(head::visible(field.value)));
    }
    Ok(Some((answer, used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_size_max: 8192, target_size_max: 6144, headers_max: 64 };

    fn read(fields: &str) -> Result<NodeAnswer<'static>, HeadFault> {
        let head = format!("HTTP/1.1 201 Created\r\n{fields}\r\nbody").leak();
        answer(head.as_bytes(), 0, &LIMITS).map(|read| {
            let (answer, used) = read.expect("a complete head");
            assert_eq!(used + 4, head.len());
            answer
        })
    }

    #[test]
    fn only_listed_fields_are_forwarded() {
        let answer = read(
            "content-type: application/sdp\r\nServer: Red5/10.0.0.7\r\nSet-Cookie: a=b\r\nETAG: \"x\"\r\n\
             Link: <stun:a>; rel=\"ice-server\"\r\nlink: <stun:b>; rel=\"ice-server\"\r\nVia: 1.1 10.0.0.7\r\n\
             Location: http://10.0.0.7:5080/live/whip/resource/s\r\nSession-Host: 10.0.0.7\r\nVary: Origin\r\n\
             Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: x\r\nConnection: keep-alive, x\r\n\
             X: 1\r\nKeep-Alive: 5\r\nContent-Location: http://10.0.0.7/\r\nRetry-After: 3\r\nContent-Length: 4\r\n\
             Date: now\r\nAlt-Svc: h3=\"10.0.0.7:1\"\r\nRefresh: 0;url=http://10.0.0.7/\r\nX-Node: 10.0.0.7\r\n",
        )
        .unwrap();
        assert_eq!(
            answer.fields,
            [
                ("Content-Type", "application/sdp"),
                ("ETag", "\"x\""),
                ("Link", "<stun:a>; rel=\"ice-server\""),
                ("Link", "<stun:b>; rel=\"ice-server\""),
                ("Retry-After", "3"),
            ]
        );
        assert_eq!(answer.location, Some(&b"http://10.0.0.7:5080/live/whip/resource/s"[..]));
        assert_eq!((answer.head.status, answer.head.body), (201, BodyLength::Length(4)));
    }

    #[test]
    fn locations_that_differ_say_nothing() {
        let location = |fields: &str| read(fields).unwrap().location;
        assert_eq!(read("ETag: \u{fc}\r\n").unwrap().fields, []);
        assert_eq!(location(""), None);
        assert_eq!(location("Location: /a\r\nlocation: /b\r\n"), None);
        assert_eq!(location("Location: /a\r\nlocation: /a\r\n"), Some(&b"/a"[..]));
        assert_eq!(location("Location: /\u{fc}\r\n"), Some("/\u{fc}".as_bytes()));
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\n", 0, &LIMITS), Ok(None));
    }

    #[test]
    fn a_long_value_is_forwarded_and_a_user_agent_keeps_its_visible_part() {
        let long = "x".repeat(7000);
        let answer = read(&format!("Link: {long}\r\n")).unwrap();
        assert_eq!(answer.fields, [("Link", long.as_str())]);
        for (value, kept) in [
            ("Caf\u{e9}/1 (iPhone; \u{1f4f7})".as_bytes(), Some("Caf/1 (iPhone; )")),
            (b"Caf\xe9/1 (iPad)", Some("Caf/1 (iPad)")),
            (b"a\tb", Some("ab")),
            (b" \xe9 ", None),
        ] {
            assert_eq!(trim_user_agent(value).as_deref(), kept);
        }
    }

    fn head_for_node(fields: Fields, body: BodyLength, close: bool) -> String {
        let request = NodeRequest {
            method: "POST",
            target: "/live/whep/endpoint/s?a={b}",
            node: "[2001:db8::5]:5080".parse().unwrap(),
            client: "[::ffff:192.0.2.1]:4711".parse().unwrap(),
            body,
            close,
            fields,
        };
        String::from_utf8(request.head()).unwrap()
    }

    #[test]
    fn a_node_gets_only_the_listed_fields_of_a_request() {
        let client = "POST /x HTTP/1.1\r\nHost: gate.example\r\nOrigin: https://a.example\r\nCookie: a=b\r\n\
             Authorization: Bearer x\r\nContent-Type: application/sdp\r\nIf-Match: \"1\"\r\nAccept: */*\r\n\
             Accept-Encoding: gzip\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nTE: trailers\r\n\
             Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nReferer: https://a.example/\r\nUser-Agent: test/1\r\n\r\n";
        let (request, _) = head::request(client.as_bytes(), 0, &LIMITS).unwrap().unwrap();
        let start = "POST /live/whep/endpoint/s?a={b} HTTP/1.1\r\nHost: [2001:db8::5]:5080\r\n\
             Accept-Encoding: identity\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For-Meta-Port: 4711\r\n\
             X-Forwarded-For-Meta-Type: WEB\r\nX-Forwarded-For-Meta-Secure: true\r\n";
        let forwarded =
            "Content-Type: application/sdp\r\nAccept: */*\r\nIf-Match: \"1\"\r\nUser-Agent: test/1\r\n";
        assert_eq!(
            head_for_node(Fields::of(&request, false), BodyLength::Length(7), true),
            format!("{start}Content-Length: 7\r\n{forwarded}Connection: close\r\n\r\n")
        );
        assert_eq!(
            head_for_node(Fields::of(&request, true), BodyLength::Chunked, false),
            format!("{start}Transfer-Encoding: chunked\r\n{forwarded}Authorization: Bearer x\r\n\r\n")
        );
        assert_eq!(
            head_for_node(Fields::default(), BodyLength::None, false),
            format!("{start}Content-Length: 0\r\n\r\n")
        );
    }

    #[test]
    fn a_head_for_a_node_is_one_that_the_gateway_accepts() {
        let head = head_for_node(Fields::default(), BodyLength::Chunked, true);
        let (request, used) = head::request(head.as_bytes(), 0, &LIMITS).unwrap().unwrap();
        assert_eq!((request.body, request.keep_alive, used), (BodyLength::Chunked, false, head.len()));
    }
}
