//! One client connection with TLS: plaintext in and out, before and during a relay.

use crate::worker::io::buffers;
use crate::worker::io::buffers::Scratch;
use crate::worker::io::fairness::ReadSize;
use crate::worker::io::outbox::Outbox;
use crate::worker::io::socket::Sock;
use crate::worker::io::tls::{Tls, TlsFault};
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// What a look at the socket gave.
#[derive(Debug)]
pub(crate) enum Received {
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
pub(crate) struct Conn {
    pub sock: Rc<Sock>,
    pub tls: Tls,
    /// Records on their way to the client.
    pub out: Outbox,
    /// Plaintext that was received and not used yet: a request or its beginning, or the first frames of a relay. It
    /// holds no memory while it is empty.
    pub inbox: Vec<u8>,
    /// The client will send nothing more: its close_notify or the end of the connection was received.
    pub ended: bool,
    read_size: ReadSize,
}

impl Conn {
    /// A fresh connection.
    pub(crate) fn new(sock: Sock, tls: Tls) -> Self {
        let (out, read_size) = (Outbox::default(), ReadSize::default());
        Self { sock: Rc::new(sock), tls, out, inbox: Vec::new(), ended: false, read_size }
    }

    /// Receives once, at most `max` bytes, and hands the plaintext to `plain` with this core's gather buffer; see
    /// [`Tls::feed`] for its second argument.
    pub(crate) fn receive(
        &mut self,
        max: usize,
        scratch: &mut Scratch,
        plain: impl FnMut(&[u8], bool, &mut Vec<u8>),
    ) -> Received {
        let carry = self.tls.carry().len();
        scratch.input[..carry].copy_from_slice(self.tls.carry());
        let max = self.read_size.of(max);
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

    /// Works off `bytes`, which were received before this connection existed. Plaintext goes to the inbox.
    pub(crate) fn begin(&mut self, bytes: &[u8]) -> Received {
        if bytes.is_empty() {
            return Received::Nothing;
        }
        self.into_inbox(|conn, scratch, inbox| {
            scratch.input[..bytes.len()].copy_from_slice(bytes);
            conn.work_off(bytes.len(), scratch, |bytes, _, _| inbox.extend_from_slice(bytes))
        })
    }

    /// Receives once, at most `max` bytes, into the inbox.
    pub(crate) fn receive_into(&mut self, max: usize) -> Received {
        self.into_inbox(|conn, scratch, inbox| {
            conn.receive(max, scratch, |bytes, _, _| inbox.extend_from_slice(bytes))
        })
    }

    /// Lets `receive` append to the inbox, and notes when the client has ended.
    fn into_inbox(
        &mut self,
        receive: impl FnOnce(&mut Self, &mut Scratch, &mut Vec<u8>) -> Received,
    ) -> Received {
        let mut inbox = std::mem::take(&mut self.inbox);
        let received = buffers::with(|scratch| receive(self, scratch, &mut inbox));
        self.inbox = inbox;
        self.ended |= matches!(received, Received::End);
        received
    }

    /// Removes the first `used` bytes of the inbox, and frees it when nothing is left.
    pub(crate) fn consume(&mut self, used: usize) {
        if used == self.inbox.len() {
            self.inbox = Vec::new();
        } else {
            self.inbox.drain(..used);
        }
    }

    /// Works off the first `length` bytes of the input buffer: what TLS held back, and what came now.
    fn work_off(
        &mut self,
        length: usize,
        scratch: &mut Scratch,
        mut plain: impl FnMut(&[u8], bool, &mut Vec<u8>),
    ) -> Received {
        let began = self.read_size.begin(length);
        let mut reply = Vec::new();
        let was_open = self.tls.is_open();
        let (input, gather) = (&mut scratch.input[..length], &mut scratch.gather);
        let fed = self.tls.feed(input, &mut reply, |bytes, more| plain(bytes, more, gather));
        self.read_size.end(began);
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

    /// Encrypts `plain` and sends it, or keeps what does not go.
    pub(crate) fn send(&mut self, plain: &[u8]) -> io::Result<()> {
        buffers::with(|scratch| self.send_with(plain, &mut scratch.output, false))
    }

    /// As [`Conn::send`], with a buffer that is at hand already. With `last` the caller closes before it awaits, and
    /// these bytes go along.
    pub(crate) fn send_with(&mut self, plain: &[u8], output: &mut [u8], last: bool) -> io::Result<()> {
        for piece in plain.chunks(buffers::RECEIVE_MAX) {
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
    pub(crate) fn close(&mut self) -> io::Result<()> {
        buffers::with(|scratch| {
            let written = self.tls.close(&mut scratch.output).map_err(io::Error::other)?;
            self.out.send_before(&self.sock, &scratch.output[..written], true)
        })
    }
}
