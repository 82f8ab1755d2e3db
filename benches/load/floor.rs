//! The floor: a relay without TLS and without WebSocket. One thread copies bytes between sockets with one epoll. What a
//! gateway costs above the floor is the price of its work.

use super::Result;
use super::link::{Link, Received};
use super::poll::Poll;
use super::target::{Target, free_address};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const LISTENER: usize = usize::MAX;

/// Bytes read at once: more would leave the core's cache before they are sent.
const SCRATCH: usize = 64 * 1024;

/// The floor as a gateway under test: this program with the flag `--floor`, which calls [`run`].
pub fn target(node: SocketAddr) -> Result<Target> {
    let address = free_address()?;
    let arguments = ["--floor".to_owned(), address.to_string(), node.to_string()].map(OsString::from);
    Ok(Target {
        name: "floor".to_owned(),
        command: [std::env::current_exe()?.into()].into_iter().chain(arguments).collect(),
        address,
        tls: false,
        socket_path: "/live/?id={script}".to_owned(),
        answer_path: None,
    })
}

/// Relays all connections to `listen` to `node`, until this process is ended.
pub fn run(listen: SocketAddr, node: SocketAddr) -> Result<()> {
    super::process::raise_descriptors()?;
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.add(&listener, LISTENER)?;
    let mut relay = Relay { links: Vec::new(), free: Vec::new() };
    let (mut ready, mut scratch) = (Vec::new(), vec![0; SCRATCH]);
    loop {
        poll.wait(Duration::from_secs(60), &mut ready)?;
        for (number, ended) in &ready {
            if *number != LISTENER {
                relay.handle(*number, *ended, &mut scratch);
                continue;
            }
            loop {
                match listener.accept() {
                    Ok((socket, _)) => {
                        relay.add(&poll, Link::over(socket, None)?, Link::connect(node, None)?)?
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {}
                }
            }
        }
    }
}

/// All relayed connections. The links to a client and to its node have the numbers n and n + 1, n even.
struct Relay {
    links: Vec<Option<Link>>,
    free: Vec<usize>,
}

impl Relay {
    fn add(&mut self, poll: &Poll, client: Link, node: Link) -> Result<()> {
        let number = self.free.pop().unwrap_or_else(|| {
            self.links.extend([None, None]);
            self.links.len() - 2
        });
        poll.add(client.socket(), number)?;
        poll.add(node.socket(), number + 1)?;
        self.links[number] = Some(client);
        self.links[number + 1] = Some(node);
        Ok(())
    }

    fn handle(&mut self, number: usize, ended: bool, scratch: &mut [u8]) {
        let (Some(mut from), Some(mut to)) = (self.links[number].take(), self.links[number ^ 1].take())
        else {
            return;
        };
        let was_full = !from.is_flushed();
        let copied = from.flush().and_then(|()| {
            // `to` was not read while `from` had unsent bytes: now it is
            let other = if was_full && from.is_flushed() {
                copy(&mut to, &mut from, false, scratch)?
            } else {
                Received::Open
            };
            Ok((copy(&mut from, &mut to, ended, scratch)?, other))
        });
        match copied {
            Ok((Received::Open, Received::Open)) => {
                self.links[number] = Some(from);
                self.links[number ^ 1] = Some(to);
            }
            _ => self.free.push(number & !1),
        }
    }
}

/// Copies bytes from one link to the other. Reads only while `to` takes everything: otherwise a fast sender would fill the
/// memory of this process.
fn copy(from: &mut Link, to: &mut Link, ended: bool, scratch: &mut [u8]) -> Result<Received> {
    while to.is_flushed() {
        match rustix::net::recv(from.socket(), &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(Received::Ended),
            Ok((taken, _)) => {
                to.send(&scratch[..taken])?;
                if taken < scratch.len() && !ended {
                    break;
                }
            }
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
    }
    Ok(Received::Open)
}
