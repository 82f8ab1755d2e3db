//! A scripted node: plain TCP, upgrades every connection and then echoes, takes, or sends messages without end, as the
//! `id` in the request's target asks. One thread, one epoll.

use super::frames::{self, BINARY, CLOSE, Message, Reader, TEXT};
use super::link::{Link, Look, SCRATCH};
use super::poll::Poll;
use super::signalling::Side;
use super::{Result, process, signalling};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a client puts into `id` to choose what the node does.
pub const ECHO: &str = "echo";
/// As [`ECHO`]: the node takes numbered messages, compares them, and says nothing.
pub const SINK: &str = "sink";
/// As [`ECHO`]: the node sends numbered messages as fast as they are taken.
pub const SOURCE: &str = "source";
/// As [`ECHO`]: the node has its part in the signalling of a publisher.
pub const SIGNALLING: &str = "signalling";

/// As [`ECHO`]: as an echo, but the second half of each message stays here until more bytes come.
pub const HALTING: &str = "halting";

/// The listener's number in the poll.
const LISTENER: usize = usize::MAX;

/// Messages that a source sends before others have their turn.
const TURN: usize = 16;

/// What the node has seen.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes of payload that a sink took and found right.
    pub taken: AtomicU64,
    pub faults: AtomicU64,
    /// Connections that heard a Close.
    pub closed: AtomicU64,
    /// Connections that ended inside a frame.
    pub torn: AtomicU64,
    stop: AtomicBool,
}

/// A running node.
pub struct Node {
    pub address: SocketAddr,
    pub counts: Arc<Counts>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Node {
    /// Starts one, on a core of its own if one is given. Sinks and sources use messages of `size` bytes.
    pub fn start(core: Option<usize>, size: usize) -> Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        let listener: TcpListener = socket.into();
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let seen = counts.clone();
        let thread = std::thread::Builder::new().name("node".into()).spawn(move || {
            core.map(process::pin).transpose()?;
            Serving::new(listener, seen, size)?.run()
        })?;
        Ok(Self { address, counts, thread: Some(thread) })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.counts.stop.store(true, Relaxed);
        if let Some(Ok(Err(why))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the node ended early: {why}");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Head,
    Echo,
    Halting,
    Sink,
    Source,
    Signalling,
    Closed,
}

struct Peer {
    link: Link,
    mode: Mode,
    head: Vec<u8>,
    reader: Reader,
    number: u64,
    /// What a halting node has still to say.
    kept: Vec<u8>,
}

struct Serving {
    listener: TcpListener,
    poll: Poll,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    message: Message,
    counts: Arc<Counts>,
    reply: Vec<u8>,
    /// Sources whose sockets take more.
    again: Vec<usize>,
}

impl Serving {
    fn new(listener: TcpListener, counts: Arc<Counts>, size: usize) -> Result<Self> {
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER)?;
        let message = Message::new(size, false);
        let (peers, free, reply, again) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(Self { listener, poll, peers, free, message, counts, reply, again })
    }

    fn run(mut self) -> Result<()> {
        let mut scratch = vec![0; SCRATCH];
        let mut ready = Vec::new();
        while !self.counts.stop.load(Relaxed) {
            let wait = if self.again.is_empty() { Duration::from_millis(100) } else { Duration::ZERO };
            self.poll.wait(wait, &mut ready)?;
            ready.extend(std::mem::take(&mut self.again).into_iter().map(|number| (number, false)));
            for (number, ended) in &ready {
                match *number {
                    LISTENER => self.accept()?,
                    number => self.look(number, *ended, &mut scratch),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {
                    continue;
                }
                Err(e) => return Err(e.into()),
            };
            let number = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            let link = Link::over(socket, None)?;
            self.poll.add(link.socket(), number)?;
            let (head, reader, kept) = (Vec::new(), Reader::default(), Vec::new());
            self.peers[number] = Some(Peer { link, mode: Mode::Head, head, reader, number: 0, kept });
        }
    }

    fn look(&mut self, number: usize, ended: bool, scratch: &mut [u8]) {
        let Some(peer) = self.peers[number].as_mut() else { return };
        let (reply, message, counts) = (&mut self.reply, &mut self.message, &self.counts);
        let Peer { link, mode, head, reader, number: next, kept } = peer;
        reply.clear();
        let looked = link.receive(scratch, ended, |bytes| {
            let rest = if *mode == Mode::Head { upgrade(head, bytes, mode, reply)? } else { bytes };
            if *mode == Mode::Signalling && *next == 0 {
                signalling::reply(next, reply);
            }
            reply.append(kept);
            reader.feed(rest, |opcode, payload| match (opcode, *mode) {
                (TEXT, Mode::Signalling) if signalling::is_due(payload, *next, Side::Client) => {
                    *next += 1;
                    signalling::reply(next, reply);
                    Ok(())
                }
                (CLOSE, Mode::Signalling) if !signalling::is_over(*next) => {
                    Err("a Close before the last message".into())
                }
                (CLOSE, _) => {
                    reply.append(kept);
                    *mode = Mode::Closed;
                    counts.closed.fetch_add(1, Relaxed);
                    frames::write(reply, CLOSE, payload, false);
                    Ok(())
                }
                (BINARY, Mode::Echo) => {
                    frames::write(reply, BINARY, payload, false);
                    Ok(())
                }
                (BINARY, Mode::Halting) => {
                    reply.append(kept);
                    frames::write(reply, BINARY, payload, false);
                    kept.extend(reply.drain(reply.len() - payload.len() / 2..));
                    Ok(())
                }
                (BINARY, Mode::Sink) if message.is(payload, *next) => {
                    *next += 1;
                    counts.taken.fetch_add(payload.len() as u64, Relaxed);
                    Ok(())
                }
                (frames::PONG, _) => Ok(()),
                (opcode, mode) => Err(format!("a frame {opcode} that is wrong for {mode:?}").into()),
            })
        });
        let closed = *mode == Mode::Closed;
        let said = looked.and_then(|look| speak(peer, reply).map(|()| look));
        let said = said.and_then(|look| {
            if peer.mode == Mode::Source && pour(peer, message)? {
                self.again.push(number);
            }
            Ok(look)
        });
        match said {
            Ok(Look::Open) => {}
            Ok(Look::More) => self.again.push(number),
            Ok(Look::Ended) if closed => self.leave(number),
            // a gateway that goes away takes its connections along: the client's side says whether that was right
            Ok(Look::Ended | Look::Cut) => self.leave(number),
            Err(why) => {
                if !is_gone(&why) && counts.faults.fetch_add(1, Relaxed) == 0 {
                    eprintln!("the node: {why}");
                }
                self.leave(number);
            }
        }
    }

    fn leave(&mut self, number: usize) {
        if self.peers[number].take().is_some_and(|peer| !peer.reader.is_between_frames()) {
            self.counts.torn.fetch_add(1, Relaxed);
        }
        self.free.push(number);
    }
}

/// A connection that was cut: the client's side tells whether that was wrong.
fn is_gone(why: &super::Error) -> bool {
    let kind = why.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

fn speak(peer: &mut Peer, reply: &[u8]) -> Result<()> {
    if !reply.is_empty() {
        peer.link.send(reply)?;
    } else if !peer.link.is_flushed() {
        peer.link.flush()?;
    }
    if peer.mode == Mode::Closed && peer.link.is_flushed() {
        peer.link.finish()?;
    }
    Ok(())
}

/// Sends until the socket is full; true if it is not after a whole turn.
fn pour(peer: &mut Peer, message: &mut Message) -> Result<bool> {
    for _ in 0..TURN {
        if !peer.link.is_flushed() {
            return Ok(false);
        }
        peer.link.send(message.frame(peer.number))?;
        peer.number += 1;
    }
    Ok(true)
}

/// Reads a head and answers it; gives back what stands behind it.
fn upgrade<'b>(
    head: &mut Vec<u8>,
    bytes: &'b [u8],
    mode: &mut Mode,
    reply: &mut Vec<u8>,
) -> Result<&'b [u8]> {
    let before = head.len();
    head.extend_from_slice(bytes);
    let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else { return Ok(&[]) };
    let text = std::str::from_utf8(&head[..end])?;
    let target = text.split(' ').nth(1).unwrap_or_default();
    let id = target.split(['?', '&']).find_map(|param| param.strip_prefix("id=")).unwrap_or_default();
    *mode = match id {
        ECHO => Mode::Echo,
        HALTING => Mode::Halting,
        SINK => Mode::Sink,
        SOURCE => Mode::Source,
        SIGNALLING => Mode::Signalling,
        other => return Err(format!("no such script: {other:?}").into()),
    };
    let key = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let accept = tungstenite::handshake::derive_accept_key(key.ok_or("no key")?.as_bytes());
    reply.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    reply.extend_from_slice(format!("Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
    *head = Vec::new();
    Ok(&bytes[end + 4 - before..])
}
