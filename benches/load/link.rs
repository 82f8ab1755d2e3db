//! One non-blocking connection, with TLS or without: bytes in, bytes out.

use super::Result;
use rustix::net::{RecvFlags, SendFlags};
use rustls::{ClientConnection, HandshakeKind};
use std::io::{self, BufRead, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

/// Full buffers that one look takes at the most: a gateway that sends faster than we read must not keep us for ever.
const FULL_MAX: usize = 4;

/// Bytes that one look at a socket may take.
pub const SCRATCH: usize = 256 * 1024;

/// A connection.
pub struct Link {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Bytes that the socket did not take yet.
    out: Vec<u8>,
    sent: usize,
}

/// What a look at the socket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Open,
    /// There may be more, but others have their turn: no event will tell.
    More,
    /// The peer ended, with a close_notify where there is TLS.
    Ended,
    /// The peer ended without the close_notify that was due.
    Cut,
}

impl Link {
    /// Begins to connect; the handshake, if there is one, goes on as bytes come.
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

    /// The socket, to be waited for.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether bytes may be sent: there is no handshake, or it is done.
    pub fn is_ready(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    /// Whether the handshake was an abbreviated one.
    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Whether the socket took everything.
    pub fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Sends bytes, or keeps what does not go.
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

    /// Sends what waits.
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

    /// Takes what is there, within bounds, and hands it on. `ended`: the poll said so, read to the end.
    pub fn receive(
        &mut self,
        scratch: &mut [u8],
        ended: bool,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Look> {
        for full in 0.. {
            if full == FULL_MAX && !ended {
                return Ok(Look::More);
            }
            let taken = match rustix::net::recv(&self.socket, &mut *scratch, RecvFlags::DONTWAIT) {
                Ok((0, _)) if self.tls.is_some() => return Ok(Look::Cut),
                Ok((0, _)) => return Ok(Look::Ended),
                Ok((taken, _)) => taken,
                Err(rustix::io::Errno::AGAIN) => return Ok(Look::Open),
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(io::Error::from(errno).into()),
            };
            let Some(tls) = &mut self.tls else {
                take(&scratch[..taken])?;
                if taken < scratch.len() && !ended {
                    return Ok(Look::Open);
                }
                continue;
            };
            let mut bytes = &scratch[..taken];
            while !bytes.is_empty() {
                tls.read_tls(&mut bytes)?;
                tls.process_new_packets()?;
                if drain(tls, &mut take)? == Look::Ended {
                    return Ok(Look::Ended);
                }
            }
            if tls.wants_write() {
                self.flush()?;
            }
            if taken < scratch.len() && !ended {
                return Ok(Look::Open);
            }
        }
        Ok(Look::More)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.flush()?;
        }
        // a peer that is gone already needs no end
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        Ok(())
    }
}

fn drain(tls: &mut ClientConnection, take: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<Look> {
    let mut reader = tls.reader();
    loop {
        let used = match reader.fill_buf() {
            Ok([]) => return Ok(Look::Ended),
            Ok(plain) => {
                take(plain)?;
                plain.len()
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Look::Open),
            Err(e) => return Err(e.into()),
        };
        reader.consume(used);
    }
}

/// Sends as much as the socket takes now.
pub fn send_some(socket: &TcpStream, bytes: &[u8]) -> Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match rustix::net::send(socket, &bytes[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(more) => sent += more,
            // not connected yet is as good as full: the poll will tell
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOTCONN) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
    Ok(sent)
}
