//! Bytes that wait for a socket to become writable.

use crate::worker::io::socket::Sock;
use std::io::{self, ErrorKind};

/// Bytes that a socket has not taken yet. It frees its memory when it becomes empty, so that an idle session holds none.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    start: usize,
    /// The bytes wait to be sent together with later ones, not for the socket.
    held: bool,
}

impl Outbox {
    /// Whether no byte waits for the socket.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty() || self.held
    }

    /// Keeps bytes that the peer is not waiting for until something else is sent. That saves a packet.
    pub(crate) fn hold(&mut self, bytes: &[u8]) {
        self.held = self.is_empty();
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes wait for the socket.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Sends what the socket takes at once and keeps a copy of the rest. Fails if the connection is broken.
    pub(crate) fn send(&mut self, sock: &Sock, bytes: &[u8]) -> io::Result<()> {
        self.send_before(sock, bytes, false)
    }

    /// As [`Outbox::send`]; with `more` the caller sends more, or finishes, before it awaits.
    pub(crate) fn send_before(&mut self, sock: &Sock, bytes: &[u8], more: bool) -> io::Result<()> {
        if std::mem::take(&mut self.held) {
            self.bytes.extend_from_slice(bytes);
            return self.flush_before(sock, more);
        }
        let sent = if self.is_empty() { send_some(sock, bytes, more)? } else { 0 };
        self.bytes.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends the waiting bytes, as many as the socket takes. Fails if the connection is broken.
    pub(crate) fn flush(&mut self, sock: &Sock) -> io::Result<()> {
        self.flush_before(sock, false)
    }

    fn flush_before(&mut self, sock: &Sock, more: bool) -> io::Result<()> {
        self.start += send_some(sock, &self.bytes[self.start..], more)?;
        if self.start == self.bytes.len() {
            *self = Self::default();
        }
        Ok(())
    }
}

fn send_some(sock: &Sock, bytes: &[u8], more: bool) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match sock.send(&bytes[sent..], more) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}
