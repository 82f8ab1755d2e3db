//! The end of a connection after the gateway's last answer.

use crate::worker::io::buffers;
use crate::worker::io::client::Conn;
use crate::worker::session::context::{HEAD_RECEIVE_MAX, Session, Woke};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// How long the gateway reads on after its last answer.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// How many bytes it reads at most meanwhile.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Ends a connection after the last answer: sends close_notify and FIN, then reads and drops what the client still sends,
/// until its FIN, [`LINGER_TIMEOUT`] or [`LINGER_BYTES_MAX`]. Without this, unread bytes would make the kernel reset the
/// connection, and a reset may discard the answer on its way to the client.
pub(crate) async fn linger(session: &Session, conn: &mut Conn) {
    let deadline = Instant::now() + LINGER_TIMEOUT;
    // before the end of the handshake there is no close_notify to send, at most an alert to flush
    let _ = conn.tls.is_open() && conn.close().is_ok();
    if !session.flush(conn, deadline).await {
        return;
    }
    conn.sock.finish();
    let mut left = LINGER_BYTES_MAX;
    while left > 0 && session.readable(&conn.sock, deadline).await != Woke::Deadline && !session.is_evicted()
    {
        match buffers::with(|scratch| conn.sock.recv(&mut scratch.input[..HEAD_RECEIVE_MAX])) {
            Ok(0) => return,
            Ok(received) => left = left.saturating_sub(received),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
