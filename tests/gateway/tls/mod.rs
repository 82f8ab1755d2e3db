//! TLS as clients meet it: handshakes, certificates and their renewal, resumption, and unusual records.

use crate::harness::Connection;
use crate::harness::connection::{Side, Tls};

mod handshake;
mod records;
mod renewal;

/// HTTP and WebSocket on an established TLS connection.
fn connection(tls: Tls) -> Connection {
    Connection::new(Box::new(tls), Side::Client)
}
