//! The floor: a relay that knows neither TLS nor frames. One thread, one epoll, bytes from one socket to the other. What a
//! gateway costs above it is what it does.

use super::Result;
use super::link::{Link, Look};
use super::poll::Poll;
use super::target::{Target, free_address};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const LISTENER: usize = usize::MAX;

/// Bytes read at once: more of them leave the core's cache before they are sent.
const SCRATCH: usize = 64 * 1024;

/// The floor as a gateway under test: this program once more, whose `--floor` comes to [`run`].
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

/// Relays everything that comes to `listen` to `node`, until this process is ended.
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
                relay.look(*number, *ended, &mut scratch);
                continue;
            }
            loop {
                match listener.accept() {
                    Ok((socket, _)) => {
                        relay.enter(&poll, Link::over(socket, None)?, Link::connect(node, None)?)?
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => {}
                }
            }
        }
    }
}

/// Two links with neighbouring numbers belong together.
struct Relay {
    links: Vec<Option<Link>>,
    free: Vec<usize>,
}

impl Relay {
    fn enter(&mut self, poll: &Poll, client: Link, node: Link) -> Result<()> {
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

    fn look(&mut self, number: usize, ended: bool, scratch: &mut [u8]) {
        let (Some(mut from), Some(mut to)) = (self.links[number].take(), self.links[number ^ 1].take())
        else {
            return;
        };
        let full = !from.is_flushed();
        let passed = from.flush().and_then(|()| {
            // what was held back is read once the other side took its bytes
            let other = if full && from.is_flushed() {
                pass(&mut to, &mut from, false, scratch)?
            } else {
                Look::Open
            };
            Ok((pass(&mut from, &mut to, ended, scratch)?, other))
        });
        match passed {
            Ok((Look::Open, Look::Open)) => {
                self.links[number] = Some(from);
                self.links[number ^ 1] = Some(to);
            }
            _ => self.free.push(number & !1),
        }
    }
}

/// Reads only as long as the other side takes everything, or a fast sender would fill our memory.
fn pass(from: &mut Link, to: &mut Link, ended: bool, scratch: &mut [u8]) -> Result<Look> {
    while to.is_flushed() {
        match rustix::net::recv(from.socket(), &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(Look::Ended),
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
    Ok(Look::Open)
}
