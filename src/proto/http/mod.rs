//! HTTP/1.1 (RFC 9110 and 9112): heads, bodies, fields forwarded between client and node, the gateway's own answers, CORS,
//! targets for the log.

pub mod body;
pub mod cors;
pub mod forward_fields;
pub mod head;
pub mod redact;
pub mod reply;
pub mod trace_context;
