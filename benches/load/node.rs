//! A scripted node without TLS: upgrades every connection to WebSocket and then echoes, takes or sends messages, as the `id`
//! in the request's target says. One thread with one epoll.

use super::frames::{self, BINARY, CLOSE, Message, Reader, TEXT};
use super::link::{Link, Received, SCRATCH};
use super::poll::Poll;
use super::signalling::Side;
use super::{Result, process, signalling};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// A value of `id`: the node echoes all messages.
pub const ECHO: &str = "echo";
/// A value of `id`: the node takes numbered messages, compares them, and sends nothing.
pub const SINK: &str = "sink";
/// A value of `id`: the node sends numbered messages as fast as they are taken.
pub const SOURCE: &str = "source";
/// A value of `id`: the node plays its part in the signalling of a publisher.
pub const SIGNALLING: &str = "signalling";

/// A value of `id`: the node echoes, but sends the second half of each message only when more bytes arrive.
pub const HALTING: &str = "halting";

/// The number of the listener in the poll.
const LISTENER: usize = usize::MAX;

/// Messages that a source sends before the other connections are handled.
const MESSAGES_PER_TURN: usize = 16;

/// The node's counters.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes of payload that sinks received and that were the expected ones.
    pub taken: AtomicU64,
    pub faults: AtomicU64,
    /// Connections that received a Close.
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
    /// Starts a node, pinned to `core` if one is given. Sinks and sources use messages of `size` bytes.
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
            eprintln!("node thread failed: {why}");
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
    /// Bytes that a halting node has not sent yet.
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
    /// Connections to handle again without an event, such as sources whose sockets take more.
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
                    number => self.handle(number, *ended, &mut scratch),
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

    fn handle(&mut self, number: usize, ended: bool, scratch: &mut [u8]) {
        let Some(peer) = self.peers[number].as_mut() else { return };
        let (reply, message, counts) = (&mut self.reply, &mut self.message, &self.counts);
        let Peer { link, mode, head, reader, number: next, kept } = peer;
        reply.clear();
        let received = link.receive(scratch, ended, |bytes| {
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
                (CLOSE, Mode::Signalling) if !signalling::is_complete(*next) => {
                    Err("expected the last message before the Close".into())
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
                (opcode, mode) => {
                    Err(format!("a frame with opcode {opcode} or its payload is wrong for {mode:?}").into())
                }
            })
        });
        let closed = *mode == Mode::Closed;
        let replied = received.and_then(|state| send_reply(peer, reply).map(|()| state));
        let replied = replied.and_then(|state| {
            if peer.mode == Mode::Source && send_messages(peer, message)? {
                self.again.push(number);
            }
            Ok(state)
        });
        match replied {
            Ok(Received::Open) => {}
            Ok(Received::More) => self.again.push(number),
            Ok(Received::Ended) if closed => self.remove(number),
            // the connections of a gateway end with it: the client's side checks whether that was right
            Ok(Received::Ended | Received::Cut) => self.remove(number),
            Err(why) => {
                if !is_disconnect(&why) && counts.faults.fetch_add(1, Relaxed) == 0 {
                    eprintln!("first fault seen by the node: {why}");
                }
                self.remove(number);
            }
        }
    }

    fn remove(&mut self, number: usize) {
        if self.peers[number].take().is_some_and(|peer| !peer.reader.is_between_frames()) {
            self.counts.torn.fetch_add(1, Relaxed);
        }
        self.free.push(number);
    }
}

/// Whether the error means that the peer cut the connection: the client's side checks whether that was wrong.
fn is_disconnect(why: &super::Error) -> bool {
    let kind = why.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

fn send_reply(peer: &mut Peer, reply: &[u8]) -> Result<()> {
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

/// Sends messages until the socket is full, at most [`MESSAGES_PER_TURN`]. True if the socket takes more.
fn send_messages(peer: &mut Peer, message: &mut Message) -> Result<bool> {
    for _ in 0..MESSAGES_PER_TURN {
        if !peer.link.is_flushed() {
            return Ok(false);
        }
        peer.link.send(message.frame(peer.number))?;
        peer.number += 1;
    }
    Ok(true)
}

/// Reads a request head and writes its answer. Returns the bytes behind the head, or none while it is incomplete.
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
        other => return Err(format!("expected the name of a script in id, found {other:?}").into()),
    };
    let key = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let accept =
        tungstenite::handshake::derive_accept_key(key.ok_or("expected a Sec-WebSocket-Key")?.as_bytes());
    reply.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    reply.extend_from_slice(format!("Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
    *head = Vec::new();
    Ok(&bytes[end + 4 - before..])
}
