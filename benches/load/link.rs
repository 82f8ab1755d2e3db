//! One non-blocking connection, with or without TLS.

use super::Result;
use rustix::net::{RecvFlags, SendFlags};
use rustls::{ClientConnection, HandshakeKind};
use std::io::{self, BufRead, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

/// How many full buffers one call of [`Link::receive`] reads: a gateway that sends faster than this process reads must not
/// keep it from the other connections.
const FULL_READS_MAX: usize = 4;

/// Size of the receive buffer, in bytes.
pub const SCRATCH: usize = 256 * 1024;

/// A connection.
pub struct Link {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes that the socket has not taken yet.
    out: Vec<u8>,
    sent: usize,
}

/// The state of a connection after [`Link::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is open and has nothing more to read now.
    Open,
    /// It may have more to read, but other connections go first: no further event will come.
    More,
    /// The peer ended it, with a close_notify where there is TLS.
    Ended,
    /// The peer ended a TLS connection without a close_notify.
    Cut,
}

impl Link {
    /// Starts to connect. A TLS handshake continues while bytes arrive.
    pub fn connect(address: SocketAddr, tls: Option<ClientConnection>) -> Result<Self> {
        let kind = socket2::Type::STREAM.nonblocking();
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), kind, Some(socket2::Protocol::TCP))?;
        match socket.connect(&address.into()) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => return Err(e.into()),
            _ => {}
        }
        Self::over(socket.into(), tls)
    }

    /// Takes over a socket.
    pub fn over(socket: TcpStream, tls: Option<ClientConnection>) -> Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, tls: tls.map(Box::new), out: Vec::new(), sent: 0 })
    }

    /// The socket, for a [`Poll`](super::poll::Poll).
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether bytes may be sent: the handshake is done, or there is none.
    pub fn is_ready(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    /// Whether the handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Whether the socket has taken all bytes.
    pub fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Sends bytes and keeps those that the socket does not take now.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.tls {
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                self.flush()
            }
            None if self.out.is_empty() => {
                let sent = send_some(&self.socket, bytes)?;
                self.out.extend_from_slice(&bytes[sent..]);
                Ok(())
            }
            None => {
                self.out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Sends the bytes that were kept.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.out)?;
            }
        }
        self.sent += send_some(&self.socket, &self.out[self.sent..])?;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// Reads what has arrived, at most [`FULL_READS_MAX`] full buffers, and passes it to `take`. `ended`: the peer has ended
    /// the connection, so all of it is read.
    pub fn receive(
        &mut self,
        scratch: &mut [u8],
        ended: bool,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Received> {
        for full in 0.. {
            if full == FULL_READS_MAX && !ended {
                return Ok(Received::More);
            }
            let taken = match rustix::net::recv(&self.socket, &mut *scratch, RecvFlags::DONTWAIT) {
                Ok((0, _)) if self.tls.is_some() => return Ok(Received::Cut),
                Ok((0, _)) => return Ok(Received::Ended),
                Ok((taken, _)) => taken,
                Err(rustix::io::Errno::AGAIN) => return Ok(Received::Open),
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(io::Error::from(errno).into()),
            };
            let Some(tls) = &mut self.tls else {
                take(&scratch[..taken])?;
                if taken < scratch.len() && !ended {
                    return Ok(Received::Open);
                }
                continue;
            };
            let mut bytes = &scratch[..taken];
            while !bytes.is_empty() {
                tls.read_tls(&mut bytes)?;
                tls.process_new_packets()?;
                if drain(tls, &mut take)? == Received::Ended {
                    return Ok(Received::Ended);
                }
            }
            if tls.wants_write() {
                self.flush()?;
            }
            if taken < scratch.len() && !ended {
                return Ok(Received::Open);
            }
        }
        Ok(Received::More)
    }

    /// Ends the sending direction.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.flush()?;
        }
        // fails when the peer has closed the connection already, which is no fault
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        Ok(())
    }
}

fn drain(tls: &mut ClientConnection, take: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<Received> {
    let mut reader = tls.reader();
    loop {
        let used = match reader.fill_buf() {
            Ok([]) => return Ok(Received::Ended),
            Ok(plain) => {
                take(plain)?;
                plain.len()
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Received::Open),
            Err(e) => return Err(e.into()),
        };
        reader.consume(used);
    }
}

/// Sends as much as the socket takes now; returns the number of bytes.
pub fn send_some(socket: &TcpStream, bytes: &[u8]) -> Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match rustix::net::send(socket, &bytes[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(more) => sent += more,
            // a socket that is not connected yet is treated as full: an event comes when it takes bytes
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOTCONN) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
    Ok(sent)
}
