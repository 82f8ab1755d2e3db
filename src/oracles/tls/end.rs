//! The gateway's end as a worker drives it: what came is put behind the carry, and what has been said once, that something
//! is wrong, is never taken back.

use crate::worker::io::buffers::CARRY_MAX;
use crate::worker::io::tls::Tls;
use rustls::ServerConfig;
use std::sync::Arc;

/// Room that TLS needs beside the plaintext: 29 bytes for each started 16 KiB, tickets, and what a KeyUpdate adds.
const ROOM: usize = 4096;

/// Most pieces that one flight comes in.
const PIECES_MAX: usize = 512;

/// The gateway's end of a connection.
pub(crate) struct End {
    tls: Tls,
    /// Plaintext that came out.
    pub(crate) heard: Vec<u8>,
    /// On its way to the client.
    pub(crate) out: Vec<u8>,
    pub(crate) failed: bool,
    /// We said close_notify.
    pub(crate) closed: bool,
}

impl End {
    pub(crate) fn new(server: &Arc<ServerConfig>) -> Self {
        let tls = Tls::new(Arc::clone(server)).expect("settings that are right");
        Self { tls, heard: Vec::new(), out: Vec::new(), failed: false, closed: false }
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

    /// Receives `bytes`, so many at a time, or a few more: what is many thousand bytes need not come in as many pieces.
    pub(crate) fn receive(&mut self, bytes: &[u8], at_once: usize) {
        for piece in bytes.chunks(at_once.max(1 + bytes.len() / PIECES_MAX)) {
            self.feed(piece);
        }
    }

    fn feed(&mut self, piece: &[u8]) {
        let mut input = [self.tls.carry(), piece].concat();
        let (heard, said) = (self.heard.len(), self.out.len());
        let was_closed = self.tls.peer_closed();
        let fed = self.tls.feed(&mut input, &mut self.out, |plain, _| self.heard.extend_from_slice(plain));
        assert!(self.tls.carry().len() <= CARRY_MAX, "the carry is bounded");
        if self.failed || was_closed {
            assert_eq!(self.heard.len(), heard, "nothing is taken after a fault or a close");
        }
        if self.failed {
            assert!(fed.is_err(), "a fault is for ever");
            assert_eq!(self.out.len(), said, "its alert is written once");
        }
        if self.closed {
            assert_eq!(self.out.len(), said, "nothing is said behind a close_notify");
        }
        self.failed |= fed.is_err();
    }

    /// Says something, if that is still possible, and tells whether it was said.
    pub(crate) fn say(&mut self, plain: &[u8]) -> bool {
        if self.closed || !self.is_open() {
            return false;
        }
        let mut room = vec![0; plain.len() + plain.len() / 16_384 * 29 + ROOM];
        let said = self.tls.encrypt(plain, &mut room);
        self.wrote(said.ok(), &room)
    }

    /// Says close_notify.
    pub(crate) fn close(&mut self) {
        if self.closed || !self.is_open() {
            return;
        }
        let mut room = vec![0; ROOM];
        let said = self.tls.close(&mut room);
        self.closed = self.wrote(said.ok(), &room);
    }

    fn wrote(&mut self, written: Option<usize>, room: &[u8]) -> bool {
        assert_eq!(written.is_none(), self.failed, "a connection that is open and sound can be written to");
        self.out.extend_from_slice(&room[..written.unwrap_or_default()]);
        written.is_some()
    }
}
