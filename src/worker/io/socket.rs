//! Sockets: readiness comes from the driver, bytes are received and sent by plain non-blocking calls.
//!
//! Only waits for readiness are raced or dropped; a dropped wait consumes nothing. A pending owned read that loses a race
//! loses its bytes (measured: all of them, without DEFER_TASKRUN), so there is none here. This file is the gateway's whole
//! use of monoio's IO; see [`runtime`](crate::worker::io::runtime) for the rest of monoio.
//!
//! A wait for a socket that is ready is over at once under the epoll driver. A task that waits, receives and waits again would
//! then never give up its turn to a peer that sends without pause: no other session would run, no timer and no deadline. So
//! `readable` and `writable` let other tasks run after [`STEPS_MAX`] waits that were over at once.

use crate::worker::io::fairness::{STEPS_MAX, YIELD_DELAY};
use crate::worker::io::runtime;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Waits for one socket, and how many of them in a row were over at once.
#[derive(Debug, Default)]
struct Turns {
    at_once: Cell<u32>,
}

impl Turns {
    /// Waits for `wait`. If it is over at once, and the [`STEPS_MAX`] waits before it were too, other tasks run first.
    async fn wait<T>(&self, wait: impl Future<Output = T>) {
        let mut wait = pin!(wait);
        let at_once = poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx).is_ready())).await;
        if !at_once {
            self.at_once.set(0);
            wait.await;
        } else if self.at_once.get() < STEPS_MAX {
            self.at_once.set(self.at_once.get() + 1);
        } else {
            self.at_once.set(0);
            runtime::sleep(YIELD_DELAY).await;
        }
    }
}

/// Why a connect failed.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// This machine did not begin it: no route, a rule of its firewall, no descriptor, port or memory.
    Unsent(io::Error),
    /// It was begun, and the network or the peer ended it.
    Sent(io::Error),
}

/// A connected TCP socket of this worker.
#[derive(Debug)]
pub(crate) struct Sock {
    io: monoio::net::TcpStream,
    turns: Turns,
}

impl Sock {
    /// Takes over a connected socket, which has to be non-blocking: under the epoll driver a blocking one would stop the
    /// worker. Fails if the runtime does not take it.
    pub(crate) fn new(stream: std::net::TcpStream) -> io::Result<Self> {
        Ok(Self { io: monoio::net::TcpStream::from_std(stream)?, turns: Turns::default() })
    }

    /// Waits until `recv` has a result: bytes, the end, or an error. May be dropped at any time.
    pub(crate) async fn readable(&self) {
        // an error of the wait shows again at the next call on the socket
        self.turns.wait(self.io.readable(false)).await;
    }

    /// Waits until `send` may take bytes. May be dropped at any time.
    pub(crate) async fn writable(&self) {
        self.turns.wait(self.io.writable(false)).await;
    }

    /// As [`Sock::readable`], for a wait that is kept beside the socket by a relay, which counts its steps itself.
    pub(crate) async fn until_readable(self: Rc<Self>) {
        let _ = self.io.readable(false).await;
    }

    /// As [`Sock::writable`], for a wait that is kept beside the socket by a relay, which counts its steps itself.
    pub(crate) async fn until_writable(self: Rc<Self>) {
        let _ = self.io.writable(false).await;
    }

    /// Receives what is there, at most `buffer`, and gives its length. `Ok(0)` is the peer's end; the error `WouldBlock`
    /// means that nothing is there yet.
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (taken, _) = rustix::net::recv(borrow(&self.io), buffer, RecvFlags::DONTWAIT)?;
        Ok(taken)
    }

    /// Sends what fits now and gives its length; the error `WouldBlock` means that nothing fits. With `more` the kernel may
    /// wait a moment for what the caller does next, more bytes or [`Sock::finish`], and send both in one packet.
    pub(crate) fn send(&self, bytes: &[u8], more: bool) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let flags = if more { flags | SendFlags::MORE } else { flags };
        Ok(rustix::net::send(borrow(&self.io), bytes, flags)?)
    }

    /// Whether the connection is broken both ways. For a socket that is not read at present, so that `recv` does not show it.
    pub(crate) fn is_broken(&self) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(borrow(&self.io), PollFlags::empty())];
        let broken = PollFlags::ERR | PollFlags::HUP;
        rustix::event::poll(&mut polled, Some(&Timespec::default())).is_ok()
            && polled[0].revents().intersects(broken)
    }

    /// The descriptor, for setting options.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        borrow(&self.io)
    }

    /// Half-closes: the peer sees the end after everything that was sent before.
    pub(crate) fn finish(&self) {
        let _ = rustix::net::shutdown(borrow(&self.io), Shutdown::Write);
    }

    /// Connects to `address` without blocking the worker. May be dropped at any time, which closes the socket. The error says
    /// whether a packet left this machine.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, ConnectError> {
        let sock = Self::begin_connect(address).map_err(ConnectError::Unsent)?;
        sock.writable().await;
        match rustix::net::sockopt::socket_error(borrow(&sock.io)) {
            Ok(Ok(())) => Ok(sock),
            Ok(Err(errno)) | Err(errno) => Err(ConnectError::Sent(errno.into())),
        }
    }

    fn begin_connect(address: SocketAddr) -> io::Result<Self> {
        let kind = socket2::Type::STREAM.nonblocking();
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), kind, Some(socket2::Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
            Ok(()) | Err(_) => Self::new(socket.into()),
        }
    }
}

/// A listening socket of this worker.
#[derive(Debug)]
pub(crate) struct Listener {
    io: monoio::net::TcpListener,
    turns: Turns,
}

impl Listener {
    /// Takes over a listening socket. Fails if the runtime does not take it.
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { io: monoio::net::TcpListener::from_std(listener)?, turns: Turns::default() })
    }

    /// The descriptor, for setting options that connections inherit.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        borrow(&self.io)
    }

    /// Stops listening, for this socket and all its copies: clients are refused from now on. Connections in the queue are reset, so
    /// the queue has to be empty. The socket keeps its address.
    pub(crate) fn stop_listening(&self) {
        // it fails if a copy was stopped before
        let _ = rustix::net::shutdown(borrow(&self.io), Shutdown::Read);
    }

    /// Waits until `accept` has a result. May be dropped at any time.
    pub(crate) async fn readable(&self) {
        self.turns.wait(self.io.readable(false)).await;
    }

    /// Accepts one connection; the error `WouldBlock` means that none waits. A plain call: an accept that monoio 0.2 has put on
    /// the ring leaks its socket when it loses a race.
    pub(crate) fn accept(&self) -> io::Result<(std::net::TcpStream, SocketAddr)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (fd, peer) = rustix::net::acceptfrom_with(borrow(&self.io), flags)?;
        let peer = peer
            .and_then(|peer| SocketAddr::try_from(peer).ok())
            .ok_or_else(|| io::Error::other("a peer without an address"))?;
        Ok((fd.into(), peer))
    }
}

fn borrow(io: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: monoio's sockets own their descriptor until they are dropped, and the borrow can't outlive `io`; monoio
    // 0.2 offers AsRawFd only. Test: every session of tests/gateway goes through here.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedFd::borrow_raw(io.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_socket_that_is_always_ready_keeps_no_other_task_from_running() {
        for driver in [crate::config::Driver::Auto, crate::config::Driver::Epoll] {
            let (runtime, _) = runtime::Runtime::build(driver).expect("a ring or epoll");
            runtime.block_on(async {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                peer.set_nonblocking(true).unwrap();
                let sock = Sock::new(peer).unwrap();
                let began = Instant::now();
                // nothing is sent, so the socket can always be written to
                let endless = async {
                    loop {
                        sock.writable().await;
                    }
                };
                runtime::timeout(Duration::from_millis(50), endless).await.expect_err("no end");
                assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
                let ready = Rc::new(Cell::new(false));
                let other = ready.clone();
                runtime::spawn(async move { other.set(true) });
                for _ in 0..=2 * STEPS_MAX {
                    sock.writable().await;
                }
                assert!(ready.get(), "another task ran meanwhile");
            });
        }
    }
}
