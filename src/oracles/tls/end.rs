//! The gateway's end of a connection, as a worker drives it: received bytes are put behind the carry, and a fault is final.

use crate::worker::io::buffers::CARRY_MAX;
use crate::worker::io::tls::{OPEN_CARRY_MAX, Tls};
use rustls::ServerConfig;
use std::sync::Arc;

/// Bytes that TLS needs beside the plaintext: 29 for each started 16 KiB, tickets, and what a KeyUpdate adds.
const OVERHEAD_MAX: usize = 4096;

/// Most pieces of one flight.
const PIECES_MAX: usize = 512;

/// The gateway's end of a connection.
pub(crate) struct End {
    tls: Tls,
    /// Plaintext of the client.
    pub(crate) received: Vec<u8>,
    /// Bytes on their way to the client.
    pub(crate) out: Vec<u8>,
    pub(crate) failed: bool,
    /// The gateway sent close_notify.
    pub(crate) closed: bool,
}

impl End {
    pub(crate) fn new(server: &Arc<ServerConfig>) -> Self {
        let tls = Tls::new(Arc::clone(server)).expect("valid TLS settings");
        Self { tls, received: Vec::new(), out: Vec::new(), failed: false, closed: false }
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.tls.is_open()
    }

    pub(crate) const fn peer_closed(&self) -> bool {
        self.tls.peer_closed()
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.tls.agreed().1
    }

    /// Receives `bytes` in pieces of `at_once`, or of more if there would be over 512 pieces.
    pub(crate) fn receive(&mut self, bytes: &[u8], at_once: usize) {
        for piece in bytes.chunks(at_once.max(1 + bytes.len() / PIECES_MAX)) {
            self.feed(piece);
        }
    }

    /// Receives one piece, and asserts what must hold after it.
    fn feed(&mut self, piece: &[u8]) {
        let mut input = [self.tls.carry(), piece].concat();
        let (received, sent) = (self.received.len(), self.out.len());
        let was_closed = self.tls.peer_closed();
        let fed = self.tls.feed(&mut input, &mut self.out, |plain, _| self.received.extend_from_slice(plain));
        let most = if self.tls.is_open() { OPEN_CARRY_MAX } else { CARRY_MAX };
        assert!(self.tls.carry().len() <= most, "the carry is bounded");
        if self.failed || was_closed {
            assert_eq!(self.received.len(), received, "no plaintext comes after a fault or a close");
        }
        if self.failed {
            assert!(fed.is_err(), "a fault is final");
            assert_eq!(self.out.len(), sent, "its alert is written once");
        }
        if self.closed {
            assert_eq!(self.out.len(), sent, "nothing is sent behind a close_notify");
        }
        self.failed |= fed.is_err();
    }

    /// Sends something, if that is still possible; returns whether it was.
    pub(crate) fn say(&mut self, plain: &[u8]) -> bool {
        if self.closed || !self.is_open() {
            return false;
        }
        let mut room = vec![0; plain.len() + plain.len() / 16_384 * 29 + OVERHEAD_MAX];
        let written = self.tls.encrypt(plain, &mut room);
        self.wrote(written.ok(), &room)
    }

    /// Sends close_notify.
    pub(crate) fn close(&mut self) {
        if self.closed || !self.is_open() {
            return;
        }
        let mut room = vec![0; OVERHEAD_MAX];
        let written = self.tls.close(&mut room);
        self.closed = self.wrote(written.ok(), &room);
    }

    /// Notes what was written; an open connection without a fault can always be written to.
    fn wrote(&mut self, written: Option<usize>, room: &[u8]) -> bool {
        assert_eq!(written.is_none(), self.failed, "an open connection without a fault can be written to");
        self.out.extend_from_slice(&room[..written.unwrap_or_default()]);
        written.is_some()
    }
}
