//! The client of a request, as the handlers of its requests see it: its session and its connection.

use crate::worker::io::client::Conn;
use crate::worker::io::fairness::{STEPS_MAX, YIELD_DELAY};
use crate::worker::io::runtime;
use crate::worker::session::context::{Session, Woke};
use crate::worker::session::slow_reader::SlowReader;
use std::time::Instant;

/// Most bytes of an answer that are encrypted at once. The next piece is encrypted when the socket has taken this one, so
/// that a client that reads slowly costs one piece of records, and not an answer of them.
const ANSWER_PIECE: usize = 128 * 1024;

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

    /// Encrypts and sends an answer. False if the connection broke, or if the client read too slowly ([`SlowReader`]).
    pub(crate) async fn send_answer(&mut self, answer: &[u8]) -> bool {
        let mut reader = None;
        let mut steps = 0;
        for piece in answer.chunks(ANSWER_PIECE) {
            if steps == STEPS_MAX {
                steps = 0;
                runtime::sleep(YIELD_DELAY).await;
            }
            steps += 1;
            if self.conn.send(piece).is_err() {
                return false;
            }
            while !self.conn.out.is_empty() {
                steps = 0;
                let reader = reader
                    .get_or_insert_with(|| SlowReader::begin(&self.session.worker.metrics, answer.len()));
                if !self.send_rest(reader).await {
                    return false;
                }
            }
        }
        true
    }

    /// Waits until the socket takes more of what waits in [`Conn::out`]. False if that took too long.
    async fn send_rest(&mut self, reader: &mut SlowReader<'_>) -> bool {
        let Self { session, conn } = self;
        if session.writable(&conn.sock, reader.deadline()).await == Woke::Deadline {
            return false;
        }
        let waited = conn.out.len();
        let flushed = conn.out.flush(&conn.sock).is_ok();
        if conn.out.len() < waited {
            reader.took();
        }
        flushed
    }
}
