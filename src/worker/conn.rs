//! One client connection with TLS: plaintext in and out, before and during a relay.

use super::budget::Appetite;
use super::net::Sock;
use super::scratch::{self, Scratch};
use super::tls::{Tls, TlsFault};
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// Bytes that a socket did not take yet. Frees its memory when it is empty.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    start: usize,
    /// The bytes wait for others to go with, not for the socket.
    held: bool,
}

impl Outbox {
    /// Nothing waits for the socket.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty() || self.held
    }

    /// Keeps bytes that nobody waits for until something else is sent: a packet less.
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.held = self.is_empty();
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes wait.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Sends what the socket takes at once and keeps a copy of the rest.
    pub(super) fn send(&mut self, sock: &Sock, bytes: &[u8]) -> io::Result<()> {
        self.send_before(sock, bytes, false)
    }

    /// As [`Outbox::send`]; with `more` the caller sends more, or finishes, before it awaits.
    fn send_before(&mut self, sock: &Sock, bytes: &[u8], more: bool) -> io::Result<()> {
        if std::mem::take(&mut self.held) {
            self.bytes.extend_from_slice(bytes);
            return self.flush_before(sock, more);
        }
        let sent = if self.is_empty() { send_some(sock, bytes, more)? } else { 0 };
        self.bytes.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self, sock: &Sock) -> io::Result<()> {
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

/// What a look at the socket gave.
#[derive(Debug)]
pub(super) enum Received {
    /// Records were worked off; there may or may not have been plaintext in them.
    Some,
    /// Nothing is there yet.
    Nothing,
    /// The peer has ended: a close_notify, or the connection's end.
    End,
    /// The connection is broken.
    Broken,
    /// The peer does not speak TLS as it should; an alert was sent.
    Fault(TlsFault),
}

/// A client connection.
pub(super) struct Conn {
    pub sock: Rc<Sock>,
    pub tls: Tls,
    /// Records on their way to the client.
    pub out: Outbox,
    /// Plaintext that came together with the end of the handshake.
    pub early: Vec<u8>,
    appetite: Appetite,
}

impl Conn {
    /// A fresh connection.
    pub(super) fn new(sock: Sock, tls: Tls) -> Self {
        let (out, appetite) = (Outbox::default(), Appetite::default());
        Self { sock: Rc::new(sock), tls, out, early: Vec::new(), appetite }
    }

    /// Receives once, at most `max` bytes, and hands the plaintext to `plain` with this core's gather buffer; see
    /// [`Tls::feed`] for its second argument.
    pub(super) fn receive(
        &mut self,
        max: usize,
        scratch: &mut Scratch,
        plain: impl FnMut(&[u8], bool, &mut Vec<u8>),
    ) -> Received {
        let carry = self.tls.carry().len();
        scratch.input[..carry].copy_from_slice(self.tls.carry());
        let max = self.appetite.of(max);
        let taken = match self.sock.recv(&mut scratch.input[carry..carry + max]) {
            Ok(0) => return Received::End,
            Ok(taken) => taken,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Received::Nothing;
            }
            Err(_) => return Received::Broken,
        };
        self.work_off(carry + taken, scratch, plain)
    }

    /// Takes what came before there was a connection to give it to.
    pub(super) fn begin(&mut self, bytes: &[u8], inbox: &mut Vec<u8>) -> Received {
        if bytes.is_empty() {
            return Received::Nothing;
        }
        scratch::with(|scratch| {
            scratch.input[..bytes.len()].copy_from_slice(bytes);
            self.work_off(bytes.len(), scratch, |bytes, _, _| inbox.extend_from_slice(bytes))
        })
    }

    /// Works off the first `length` bytes of the input buffer: what TLS held back, and what came now.
    fn work_off(
        &mut self,
        length: usize,
        scratch: &mut Scratch,
        mut plain: impl FnMut(&[u8], bool, &mut Vec<u8>),
    ) -> Received {
        let began = self.appetite.begin(length);
        let mut reply = Vec::new();
        let was_open = self.tls.is_open();
        let (input, gather) = (&mut scratch.input[..length], &mut scratch.gather);
        let fed = self.tls.feed(input, &mut reply, |bytes, more| plain(bytes, more, gather));
        self.appetite.end(began);
        // in TLS 1.3 all that is left to say once the client has finished is the tickets; in 1.2 it is our own Finished
        if !was_open && fed.is_ok() && self.tls.is_open() && self.tls.is_version_13() {
            self.out.hold(&reply);
        } else if !reply.is_empty() && self.out.send(&self.sock, &reply).is_err() {
            return Received::Broken;
        }
        match fed {
            Err(fault) => Received::Fault(fault),
            Ok(()) if self.tls.peer_closed() => Received::End,
            Ok(()) => Received::Some,
        }
    }

    /// Receives once into `inbox`.
    pub(super) fn receive_into(&mut self, max: usize, inbox: &mut Vec<u8>) -> Received {
        scratch::with(|scratch| self.receive(max, scratch, |bytes, _, _| inbox.extend_from_slice(bytes)))
    }

    /// Encrypts `plain` and sends it, or keeps what does not go.
    pub(super) fn send(&mut self, plain: &[u8]) -> io::Result<()> {
        scratch::with(|scratch| self.send_with(plain, &mut scratch.output, false))
    }

    /// As [`Conn::send`], with a buffer that is at hand already. With `last` the caller closes before it awaits, and
    /// these bytes go along.
    pub(super) fn send_with(&mut self, plain: &[u8], output: &mut [u8], last: bool) -> io::Result<()> {
        for piece in plain.chunks(scratch::RECEIVE_MAX) {
            let written = self.tls.encrypt(piece, output).map_err(io::Error::other)?;
            match last {
                true => self.out.hold(&output[..written]),
                false => self.out.send(&self.sock, &output[..written])?,
            }
        }
        Ok(())
    }

    /// Says close_notify, which goes out after everything sent before. The caller finishes the socket before it awaits,
    /// if nothing waits: the kernel then puts the FIN into the same packet.
    pub(super) fn close(&mut self) -> io::Result<()> {
        scratch::with(|scratch| {
            let written = self.tls.close(&mut scratch.output).map_err(io::Error::other)?;
            self.out.send_before(&self.sock, &scratch.output[..written], true)
        })
    }
}
