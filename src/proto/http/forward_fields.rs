//! HTTP passed to a node and back (WHIP and WHEP): which fields go along.
//!
//! Both ways there is a list of what passes; everything else stays behind, so a field that nobody thought of names no
//! node and carries no secret. What has to be written anew (`Location`, `Session-Host`, CORS, dates) is the caller's.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::proto::http::head;
use crate::proto::http::head::{BodyLength, FIELDS_MAX, HeadFault, HeadLimits, Request, Response};

/// Longest `User-Agent` that is passed on; the node's whole head may be 8 KiB.
const USER_AGENT_MAX: usize = 512;

/// Value of the `Origin` field that a node gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeOrigin {
    /// The node's own: `http://{node}:{port}`.
    Itself,
    Text(String),
}

impl NodeOrigin {
    /// The value for this node.
    pub fn text(&self, node: SocketAddr) -> String {
        match self {
            Self::Itself => format!("http://{node}"),
            Self::Text(text) => text.clone(),
        }
    }
}

/// A `User-Agent` fit to be passed on: visible ASCII and spaces, not longer than a node likes.
pub fn trim_user_agent(value: &str) -> Option<String> {
    let kept: String =
        value.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(USER_AGENT_MAX).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// Longest value of a field that is passed to a node, whose whole head may be 8 KiB.
const VALUE_MAX: usize = 4096;

/// A request to a node in a client's name.
#[derive(Debug, Clone)]
pub struct Forward<'r> {
    pub method: &'r str,
    /// Target at the node.
    pub target: &'r str,
    pub node: SocketAddr,
    /// Who it is for.
    pub client: SocketAddr,
    /// The body as the node gets it: the caller decides.
    pub body: BodyLength,
    /// The connection ends after the answer.
    pub close: bool,
    /// Fields that pass.
    pub fields: Fields,
}

/// The fields of a client's request that a node gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    content_type: Option<String>,
    accept: Option<String>,
    if_match: Option<String>,
    if_none_match: Option<String>,
    user_agent: Option<String>,
    authorization: Option<String>,
    /// Value of `Origin` at the node; the caller's choice, never just passed.
    pub origin: Option<NodeOrigin>,
}

impl Fields {
    /// What of them passes with a request that we add in the same client's name, without a body.
    pub fn bodiless(&self) -> Self {
        Self { content_type: None, if_match: None, if_none_match: None, ..self.clone() }
    }

    /// What passes of a request. `authorization`: whether this route passes credentials (those of 2.0 do).
    pub fn of(request: &Request<'_>, authorization: bool) -> Self {
        let pass = |value: Option<&str>| value.filter(|value| value.len() <= VALUE_MAX).map(str::to_owned);
        Self {
            content_type: pass(request.content_type),
            accept: pass(request.accept),
            if_match: pass(request.if_match),
            if_none_match: pass(request.if_none_match),
            user_agent: request.user_agent.and_then(trim_user_agent),
            authorization: pass(request.authorization.filter(|_| authorization)),
            origin: None,
        }
    }
}

impl Forward<'_> {
    /// The head that the node gets.
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
            // nodes wait for a length after methods that may have a body
            BodyLength::None if matches!(self.method, "POST" | "PATCH") => {
                head.write_str("Content-Length: 0\r\n")
            }
            BodyLength::None => Ok(()),
            BodyLength::Length(length) => write!(head, "Content-Length: {length}\r\n"),
            BodyLength::Chunked => head.write_str("Transfer-Encoding: chunked\r\n"),
        };
        let origin = self.fields.origin.as_ref().map(|origin| origin.text(self.node));
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
        head.push_str(if self.close { "Connection: close\r\n\r\n" } else { "\r\n" });
        head.into_bytes()
    }
}

/// A node's answer, with what of it concerns the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAnswer<'b> {
    pub head: Response<'b>,
    /// Fields that the client gets as they are, in their order and under the names that we write.
    pub fields: Vec<(&'static str, &'b str)>,
    /// For [`location`](super::location) to read; never for the client.
    pub location: Option<&'b str>,
}

/// Fields of a node's answer that pass. `Link` may be there more than once; credentials of a TURN server are in it.
const PASSED: [&str; 8] = [
    "Content-Type",
    "Content-Encoding",
    "ETag",
    "Link",
    "Accept-Patch",
    "Accept-Post",
    "Retry-After",
    "WWW-Authenticate",
];

/// Fields that a page may read of these answers, for `Access-Control-Expose-Headers`.
pub const EXPOSED: &str =
    "Location, Link, Session-Host, ETag, Accept-Patch, Cache-Status, X-Tidegate-Session";

/// Fields that a page may send, for `Access-Control-Allow-Headers`.
pub const ALLOWED: &str = "Content-Type, If-Match, If-None-Match, Authorization";

/// Reads the head of a node's answer as [`head::response`] does, with the fields that pass. A second `Location`, or one
/// that is no visible ASCII, is a fault; any other odd value is left behind.
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
    let mut answer = NodeAnswer { head, fields: Vec::new(), location: None };
    for field in fields {
        let value = head::visible(field.value).filter(|value| value.len() <= VALUE_MAX);
        if field.name.eq_ignore_ascii_case("location") {
            let value = value.ok_or(HeadFault::Field)?;
            if answer.location.replace(value).is_some() {
                return Err(HeadFault::Field);
            }
        }
        let name = PASSED.iter().find(|name| name.eq_ignore_ascii_case(field.name));
        answer.fields.extend(name.copied().zip(value));
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
    fn only_what_is_named_passes() {
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
        assert_eq!(answer.location, Some("http://10.0.0.7:5080/live/whip/resource/s"));
        assert_eq!((answer.head.status, answer.head.body), (201, BodyLength::Length(4)));
    }

    #[test]
    fn a_location_is_read_once_or_not_at_all() {
        assert_eq!(read("ETag: \u{fc}\r\n").unwrap().fields, []);
        assert_eq!(read("").unwrap().location, None);
        assert_eq!(read("Location: /a\r\nlocation: /b\r\n"), Err(HeadFault::Field));
        assert_eq!(read("Location: /\u{fc}\r\n"), Err(HeadFault::Field));
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\n", 0, &LIMITS), Ok(None));
    }

    fn forward(fields: Fields, body: BodyLength, close: bool) -> String {
        let forward = Forward {
            method: "POST",
            target: "/live/whep/endpoint/s?a={b}",
            node: "[2001:db8::5]:5080".parse().unwrap(),
            client: "[::ffff:192.0.2.1]:4711".parse().unwrap(),
            body,
            close,
            fields,
        };
        String::from_utf8(forward.head()).unwrap()
    }

    #[test]
    fn the_head_that_a_node_gets() {
        let client = "POST /x HTTP/1.1\r\nHost: gate.example\r\nOrigin: https://a.example\r\nCookie: a=b\r\n\
             Authorization: Bearer x\r\nContent-Type: application/sdp\r\nIf-Match: \"1\"\r\nAccept: */*\r\n\
             Accept-Encoding: gzip\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nTE: trailers\r\n\
             Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nReferer: https://a.example/\r\nUser-Agent: test/1\r\n\r\n";
        let (request, _) = head::request(client.as_bytes(), 0, &LIMITS).unwrap().unwrap();
        let start = "POST /live/whep/endpoint/s?a={b} HTTP/1.1\r\nHost: [2001:db8::5]:5080\r\n\
             Accept-Encoding: identity\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For-Meta-Port: 4711\r\n\
             X-Forwarded-For-Meta-Type: WEB\r\nX-Forwarded-For-Meta-Secure: true\r\n";
        let passed =
            "Content-Type: application/sdp\r\nAccept: */*\r\nIf-Match: \"1\"\r\nUser-Agent: test/1\r\n";
        assert_eq!(
            forward(Fields::of(&request, false), BodyLength::Length(7), true),
            format!("{start}Content-Length: 7\r\n{passed}Connection: close\r\n\r\n")
        );
        assert_eq!(
            forward(Fields::of(&request, true), BodyLength::Chunked, false),
            format!("{start}Transfer-Encoding: chunked\r\n{passed}Authorization: Bearer x\r\n\r\n")
        );
        assert_eq!(
            forward(Fields::default(), BodyLength::None, false),
            format!("{start}Content-Length: 0\r\n\r\n")
        );
    }

    #[test]
    fn what_we_write_is_a_head_that_we_would_take() {
        let head = forward(Fields::default(), BodyLength::Chunked, true);
        let (request, used) = head::request(head.as_bytes(), 0, &LIMITS).unwrap().unwrap();
        assert_eq!((request.body, request.keep_alive, used), (BodyLength::Chunked, false, head.len()));
    }
}
