//! HTTP/1.1 (RFC 9112): heads, bodies, the fields that pass between client and node, answers that the gateway writes.

pub mod body;
pub mod cors;
pub mod forward_fields;
pub mod head;
pub mod redact;
pub mod reply;
