//! TLS as clients meet it: handshakes, certificates and their renewal, resumption, and unusual records.

use crate::harness::Link;
use crate::harness::connection::{Side, Tls};

mod handshake;
mod records;
mod renewal;

/// HTTP and WebSocket on an established TLS connection.
fn link(tls: Tls) -> Link {
    Link::new(Box::new(tls), Side::Client)
}
