//! What we say over HTTP: refusals from the one table, answers of the stream manager, pages.

use super::answers::{Answer, By};
use crate::proto::pass;
use crate::proto::refusal::Refusal;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds after which a client that was turned away for load may try again.
const RETRY_AFTER: u32 = 2;

/// What of a request shapes every answer to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
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

/// Fields that an answer adds to those all answers have.
type Field<'a> = (&'a str, &'a str);

/// An answer of any kind.
pub(super) fn write(shape: &Shape, status: u16, fields: &[Field<'_>], body: &[u8]) -> Vec<u8> {
    let mut head = String::with_capacity(384);
    let date = httpdate::HttpDate::from(SystemTime::now());
    let _ = write!(head, "HTTP/1.1 {status} {}\r\nDate: {date}\r\n", reason(status));
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
            pass::EXPOSED
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

/// A no, from the one table. `allow` is what a 405 names.
pub(super) fn refusal(shape: &Shape, refusal: Refusal, allow: &str) -> Vec<u8> {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    let sentence = refusal.sentence();
    let body = serde_json::json!({
        "error": sentence, "errorMessage": sentence, "code": refusal.code(),
        "timestamp": u64::try_from(timestamp).unwrap_or(u64::MAX),
    });
    let retry = RETRY_AFTER.to_string();
    let mut fields: Vec<Field<'_>> = vec![("Content-Type", "application/json")];
    match refusal {
        Refusal::MethodNotAllowed => fields.push(("Allow", allow)),
        Refusal::UpgradeRequired => fields.push(("Upgrade", "websocket")),
        Refusal::WebsocketVersion => {
            fields.extend([("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]);
        }
        Refusal::Draining | Refusal::Overloaded | Refusal::TooMany => fields.push(("Retry-After", &retry)),
        _ => {}
    }
    write(shape, refusal.status(), &fields, body.to_string().as_bytes())
}

/// An answer of the stream manager: status, content type and body unchanged.
pub(super) fn answer(shape: &Shape, answer: &Answer, by: By, now: u64) -> Vec<u8> {
    let stored = if answer.fresh.is_some() { "; stored" } else { "" };
    let status = match by {
        By::Hit => format!("tidegate; hit; ttl={}", answer.ttl_left(now).as_millis().div_ceil(1000)),
        By::Miss => format!("tidegate; fwd=miss{stored}; fwd-status={}", answer.status),
        By::Collapsed => format!("tidegate; fwd=miss; collapsed; fwd-status={}", answer.status),
        By::Bypass => format!("tidegate; fwd=bypass; fwd-status={}", answer.status),
    };
    let mut fields: Vec<Field<'_>> = vec![("Cache-Status", &status)];
    if let Some(content_type) = &answer.content_type {
        fields.push(("Content-Type", content_type));
    }
    write(shape, answer.status, &fields, &answer.body)
}

/// The answer to a browser's preflight (Fetch standard, 3.2.2).
pub(super) fn preflight(shape: &Shape, methods: &str) -> Vec<u8> {
    let mut fields: Vec<Field<'_>> = vec![("Allow", methods)];
    if shape.allow_origin.is_some() {
        fields.extend([
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Allow-Headers", pass::ALLOWED),
            ("Access-Control-Max-Age", "600"),
        ]);
    }
    write(shape, 204, &fields, b"")
}

/// Reason phrases as they are registered; of a status that nobody registered, none.
fn reason(status: u16) -> &'static str {
    hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}
