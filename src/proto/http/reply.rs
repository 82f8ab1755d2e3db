//! Writes an answer of the gateway: the fields that the caller names, and those that all answers have.
//!
//! This file knows no clock and no list of statuses. Values come from constants, from the configuration, or from heads that
//! were read strictly, so that none holds a line end.

use std::fmt::{Display, Write};

use crate::proto::http::forward_fields;

/// What the request and its connection determine about every answer to it.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Id of the session, for `X-Tidegate-Session`.
    pub session: String,
    /// Value of `Access-Control-Allow-Origin`; `None` if no page may read the answer.
    pub allow_origin: Option<String>,
    /// Whether that page may read answers to requests with credentials (`Access-Control-Allow-Credentials`).
    pub allow_credentials: bool,
    /// Whether the request has the field `Origin`, so that the answer depends on it (`Vary`).
    pub vary_origin: bool,
    /// Whether the connection ends after this answer.
    pub close: bool,
    /// Whether the request was a HEAD. The answer must have no body then: the client would read it as the next answer.
    pub bodiless: bool,
}

/// The beginning of an answer: the status line and the date.
pub struct StatusLine<'l> {
    /// Status code.
    pub status: u16,
    /// The registered reason phrase; empty for a status that is not registered.
    pub reason: &'l str,
    /// Value of `Date` (RFC 9110 6.6.1).
    pub date: &'l dyn Display,
}

/// Name and value of a field that an answer has beside those of all answers.
pub type Field<'a> = (&'a str, &'a str);

/// Writes a whole answer, head and body. `Content-Length` is the length of `body` also if the body itself is left out for a
/// HEAD; with status 204 or 304 there is none, and `body` has to be empty.
pub fn write(shape: &Shape, line: StatusLine<'_>, fields: &[Field<'_>], body: &[u8]) -> Vec<u8> {
    let StatusLine { status, reason, date } = line;
    let mut head = String::with_capacity(384);
    let _ = write!(head, "HTTP/1.1 {status} {reason}\r\nDate: {date}\r\n");
    for (name, value) in fields {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !matches!(status, 204 | 304) {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    if let Some(origin) = &shape.allow_origin {
        let _ = write!(
            head,
            "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Expose-Headers: {}\r\n",
            forward_fields::EXPOSED
        );
        if shape.allow_credentials {
            head.push_str("Access-Control-Allow-Credentials: true\r\n");
        }
    }
    if shape.vary_origin {
        head.push_str("Vary: Origin\r\n");
    }
    let _ = write!(head, "Cache-Control: no-store\r\nX-Tidegate-Session: {}\r\n", shape.session);
    // RFC 9110 7.8: a sender of Upgrade names it in Connection too
    let upgrade = fields.iter().any(|(name, _)| *name == "Upgrade");
    head.push_str(match (shape.close, upgrade) {
        (true, false) => "Connection: close\r\n\r\n",
        (true, true) => "Connection: close, Upgrade\r\n\r\n",
        (false, true) => "Connection: Upgrade\r\n\r\n",
        (false, false) => "\r\n",
    });
    let mut bytes = head.into_bytes();
    if !shape.bodiless {
        bytes.extend_from_slice(body);
    }
    bytes
}
