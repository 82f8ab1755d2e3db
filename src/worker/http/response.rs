//! HTTP answers of the gateway: refusals, answers of the stream manager, preflights, and others.

use crate::proto::http::forward_fields;
use crate::proto::http::reply::{self, Field, StatusLine};
use crate::proto::refusal::Refusal;
use crate::shared::answers;
use crate::shared::questions::CacheStatus;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use crate::proto::http::reply::Shape;
pub(crate) use crate::worker::session::answer::Answer;

/// `Retry-After` of a refusal for load or for a drain, in seconds.
const RETRY_AFTER_SECONDS: u32 = 2;

/// The bytes of an answer with these header fields and this body.
pub(crate) fn write(shape: &Shape, status: u16, fields: &[Field<'_>], body: &[u8]) -> Vec<u8> {
    let date = httpdate::HttpDate::from(SystemTime::now());
    reply::write(shape, StatusLine { status, reason: reason(status), date: &date }, fields, body)
}

/// The answer for a refusal: its status, and its code and sentence as JSON. `allow` lists the methods for a 405.
pub(crate) fn refusal(shape: &Shape, refusal: Refusal, allow: &str) -> Vec<u8> {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    let sentence = refusal.sentence();
    let body = serde_json::json!({
        "error": sentence, "errorMessage": sentence, "code": refusal.code(),
        "timestamp": u64::try_from(timestamp).unwrap_or(u64::MAX),
    });
    let retry = RETRY_AFTER_SECONDS.to_string();
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

/// The status and the whole answer to a health check of a load balancer.
pub(crate) fn health(shape: &Shape, draining: bool) -> (u16, Vec<u8>) {
    let (status, body) = if draining { (503, "draining\n") } else { (200, "serving\n") };
    (status, write(shape, status, &[("Content-Type", "text/plain")], body.as_bytes()))
}

/// An answer of the stream manager: status, content type and body unchanged, with a `Cache-Status` field (RFC 9211).
/// `now` is on the clock of `Answers::now`.
pub(crate) fn answer(shape: &Shape, answer: &answers::Answer, by: CacheStatus, now: u64) -> Vec<u8> {
    let stored = if answer.fresh.is_some() { "; stored" } else { "" };
    let status = match by {
        CacheStatus::Hit => format!("tidegate; hit; ttl={}", answer.ttl_left(now).as_millis().div_ceil(1000)),
        CacheStatus::Miss => format!("tidegate; fwd=miss{stored}; fwd-status={}", answer.status),
        CacheStatus::Collapsed => format!("tidegate; fwd=miss; collapsed; fwd-status={}", answer.status),
        CacheStatus::Bypass => format!("tidegate; fwd=bypass; fwd-status={}", answer.status),
    };
    let mut fields: Vec<Field<'_>> = vec![("Cache-Status", &status)];
    if let Some(content_type) = &answer.content_type {
        fields.push(("Content-Type", content_type));
    }
    write(shape, answer.status, &fields, &answer.body)
}

/// The answer to a browser's preflight (Fetch standard, 3.2.2): `methods` are those of the route, `allow_headers` are the
/// configured fields that a page may send beside those that the gateway reads.
pub(crate) fn preflight(shape: &Shape, methods: &str, allow_headers: &[String]) -> Vec<u8> {
    let headers = [&[forward_fields::ALLOWED.to_owned()], allow_headers].concat().join(", ");
    let mut fields: Vec<Field<'_>> = vec![("Allow", methods)];
    if shape.allow_origin.is_some() {
        fields.extend([
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Allow-Headers", &headers),
            ("Access-Control-Max-Age", "600"),
        ]);
    }
    write(shape, 204, &fields, b"")
}

/// The registered reason phrase of a status; empty for a status that is not registered.
fn reason(status: u16) -> &'static str {
    hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}
