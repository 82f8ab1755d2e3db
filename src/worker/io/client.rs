//! One client connection with TLS: receives and sends plaintext, before and during a relay.

use crate::metrics::WorkerMetrics;
use crate::worker::io::buffers::{self, Scratch};
use crate::worker::io::fairness::ReadSize;
use crate::worker::io::outbox::Outbox;
use crate::worker::io::socket::Sock;
use crate::worker::io::tls::{Tls, TlsFault};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;

/// Room that an inbox keeps beside what is in it, in bytes.
const SPARE_MAX: usize = 8 * 1024;

/// Inboxes below this many bytes are not counted: every request has one for a moment.
const COUNTED_MIN: usize = 4 * 1024;

/// What one attempt to receive gave.
#[derive(Debug)]
pub(crate) enum Received {
    /// Records were worked off; they may or may not have contained plaintext.
    Some,
    /// Nothing is there to receive yet.
    Nothing,
    /// The client sends nothing more: a close_notify, or the end of the connection.
    End,
    /// The connection is broken.
    Broken,
    /// The client broke the rules of TLS; an alert was sent.
    Fault(TlsFault),
}

/// A client connection.
pub(crate) struct Conn {
    pub sock: Rc<Sock>,
    pub tls: Tls,
    /// Records that the socket did not take yet.
    pub out: Outbox,
    /// Plaintext that was received and not used yet: a request or its beginning, or the first frames of a relay. It
    /// holds no memory while it is empty.
    pub inbox: Vec<u8>,
    /// The client will send nothing more: its close_notify or the end of the connection was received.
    pub ended: bool,
    read_size: ReadSize,
    counted: Counted,
}

/// The bytes of an inbox in the metrics of its worker.
struct Counted {
    metrics: Arc<WorkerMetrics>,
    bytes: usize,
}

impl Counted {
    fn set(&mut self, bytes: usize) {
        let bytes = if bytes < COUNTED_MIN { 0 } else { bytes };
        if bytes != self.bytes {
            let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
            self.metrics.buffers_lent_bytes.add(signed(bytes) - signed(self.bytes));
            self.bytes = bytes;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Conn {
    /// A connection whose handshake is to come. What it holds of the client's bytes is counted in `metrics`.
    pub(crate) fn new(sock: Sock, tls: Tls, metrics: Arc<WorkerMetrics>) -> Self {
        let (out, read_size) = (Outbox::default(), ReadSize::default());
        let counted = Counted { metrics, bytes: 0 };
        Self { sock: Rc::new(sock), tls, out, inbox: Vec::new(), ended: false, read_size, counted }
    }

    /// Receives once, at most `max` bytes. Plaintext goes to `plain`, record by record, with this core's gather buffer as
    /// the third argument; [`Tls::feed`] explains the second one.
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

    /// How many bytes are received at once; the other leg of a relay has a say.
    pub(crate) const fn read_size(&mut self) -> &mut ReadSize {
        &mut self.read_size
    }

    /// Works off `bytes`, which were received before this connection existed. Plaintext goes to the inbox.
    pub(crate) fn begin(&mut self, bytes: &[u8]) -> Received {
        if bytes.is_empty() {
            return Received::Nothing;
        }
        self.fill_inbox(|conn, scratch, inbox| {
            scratch.input[..bytes.len()].copy_from_slice(bytes);
            conn.work_off(bytes.len(), scratch, |bytes, _, _| inbox.extend_from_slice(bytes))
        })
    }

    /// Receives once, at most `max` bytes, into the inbox.
    pub(crate) fn receive_to_inbox(&mut self, max: usize) -> Received {
        self.fill_inbox(|conn, scratch, inbox| {
            conn.receive(max, scratch, |bytes, _, _| inbox.extend_from_slice(bytes))
        })
    }

    /// Lets `receive` append to the inbox, and notes when the client has ended.
    fn fill_inbox(
        &mut self,
        receive: impl FnOnce(&mut Self, &mut Scratch, &mut Vec<u8>) -> Received,
    ) -> Received {
        let mut inbox = std::mem::take(&mut self.inbox);
        let received = buffers::with(|scratch| receive(self, scratch, &mut inbox));
        self.inbox = inbox;
        self.trim_inbox();
        self.ended |= matches!(received, Received::End);
        received
    }

    /// Removes the first `used` bytes of the inbox, and frees what is not needed for the rest.
    pub(crate) fn consume(&mut self, used: usize) {
        if used == self.inbox.len() {
            self.inbox = Vec::new();
        } else {
            self.inbox.drain(..used);
        }
        self.trim_inbox();
    }

    /// Takes all bytes out of the inbox.
    pub(crate) fn take_inbox(&mut self) -> Vec<u8> {
        let inbox = std::mem::take(&mut self.inbox);
        self.trim_inbox();
        inbox
    }

    /// Frees memory that the inbox does not need, and counts the rest.
    fn trim_inbox(&mut self) {
        if self.inbox.capacity() - self.inbox.len() > SPARE_MAX {
            self.inbox.shrink_to_fit();
        }
        self.counted.set(self.inbox.capacity());
    }

    /// Works off the first `length` bytes of the input buffer: the carry of TLS, and the bytes received now.
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
        // after the client's Finished only tickets are left to send in TLS 1.3, which no client waits for; in TLS 1.2 it is
        // the gateway's own Finished
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

    /// Encrypts `plain` and sends it; what the socket does not take at once stays in [`Conn::out`].
    pub(crate) fn send(&mut self, plain: &[u8]) -> io::Result<()> {
        buffers::with(|scratch| self.send_with(plain, &mut scratch.output, false))
    }

    /// As [`Conn::send`], with a buffer that the caller has at hand. With `last` the caller closes the connection before it
    /// awaits, and the records wait to leave in one packet with the close_notify.
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

    /// Sends close_notify, after everything that was sent before. If nothing waits in [`Conn::out`] then, the caller
    /// finishes the socket before it awaits: the kernel puts the FIN into the same packet.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        buffers::with(|scratch| {
            let written = self.tls.close(&mut scratch.output).map_err(io::Error::other)?;
            self.out.send_before(&self.sock, &scratch.output[..written], true)
        })
    }
}
