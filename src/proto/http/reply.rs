//! Writing the head of an answer of ours: what the caller names, and what all answers have.
//!
//! It knows no clock and no list of statuses; values come from constants, from configuration, or from heads that were read
//! strictly, so that nothing in them ends a field.

use std::fmt::{Display, Write};

use crate::proto::http::forward_fields;

/// What of a request shapes every answer to it.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    pub session: String,
    /// Value of `Access-Control-Allow-Origin`, if the page may read the answer.
    pub allow_origin: Option<String>,
    /// The request named an origin, so the answer depends on it.
    pub vary_origin: bool,
    /// The connection ends after this answer.
    pub close: bool,
    /// The request was a HEAD: its answer has no body, or the client takes that for the next answer.
    pub bodiless: bool,
}

/// How an answer begins.
pub struct StatusLine<'l> {
    pub status: u16,
    /// As it is registered; empty if nobody registered the status.
    pub reason: &'l str,
    pub date: &'l dyn Display,
}

/// Fields that an answer adds to those all answers have.
pub type Field<'a> = (&'a str, &'a str);

/// An answer of any kind.
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
    }
    if shape.vary_origin {
        head.push_str("Vary: Origin\r\n");
    }
    let _ = write!(head, "Cache-Control: no-store\r\nX-Tidegate-Session: {}\r\n", shape.session);
    // RFC 9110, 7.8: who names an upgrade says so in Connection too
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
