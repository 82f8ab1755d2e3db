//! The client of a request, as the handlers of its requests see it: its session and its connection.

use crate::worker::io::client::Conn;
use crate::worker::session::context::{Session, Woke};
use std::time::{Duration, Instant};

/// How long a client may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client whose TLS handshake is done.
pub(crate) struct Client<'c> {
    pub session: &'c Session,
    pub conn: &'c mut Conn,
}

impl Client<'_> {
    /// Waits until the client sent something, until `deadline`, or until the session is asked to end; see
    /// [`Session::readable`].
    pub(crate) async fn readable(&self, deadline: Instant) -> Woke {
        self.session.readable(&self.conn.sock, deadline).await
    }

    /// Encrypts and sends an answer. False if the connection broke, or if the client did not read all of it within
    /// [`WRITE_TIMEOUT`].
    pub(crate) async fn send_answer(&mut self, bytes: &[u8]) -> bool {
        self.conn.send(bytes).is_ok() && self.session.flush(self.conn, Instant::now() + WRITE_TIMEOUT).await
    }
}
