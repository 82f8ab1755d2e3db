//! What the clients do in the rows: echo, receive, send, open short sessions, repeat a request.

use super::Result;
use super::client::{Script, Session};
use super::frames::{BINARY, CLOSE, Message};

/// Sends numbered messages and waits for each to come back: `limit` messages on each session, or without a limit.
pub struct Echo {
    message: Message,
    expected: Message,
    limit: Option<u64>,
    pub opened: u64,
    pub echoed: u64,
    /// Sessions that have reached their `limit`.
    pub finished: usize,
}

impl Echo {
    /// Messages of `size` bytes.
    pub fn new(size: usize, limit: Option<u64>) -> Self {
        let (message, expected) = (Message::new(size, true), Message::new(size, false));
        Self { message, expected, limit, opened: 0, echoed: 0, finished: 0 }
    }

    fn send(&mut self, session: &mut Session) -> Result<()> {
        session.link.send(self.message.frame(session.sent))?;
        session.sent += 1;
        Ok(())
    }
}

impl Script for Echo {
    fn opened(&mut self, session: &mut Session) -> Result<()> {
        self.opened += 1;
        // no two sessions use the same numbers, so a message that reaches the wrong session is noticed
        session.sent = self.opened << 32;
        session.got = session.sent;
        self.send(session)
    }

    fn frame(&mut self, session: &mut Session, opcode: u8, payload: &[u8]) -> Result<()> {
        if opcode != BINARY || !self.expected.is(payload, session.got) {
            let found = payload.len();
            return Err(format!("expected the echo, found opcode {opcode} with {found} bytes").into());
        }
        session.got += 1;
        self.echoed += 1;
        if self.limit.is_some_and(|limit| session.got - (session.got >> 32 << 32) >= limit) {
            self.finished += 1;
            return Ok(());
        }
        self.send(session)
    }
}

/// Receives the messages that a source sends.
pub struct Download {
    expected: Message,
    pub opened: usize,
    pub bytes: u64,
}

impl Download {
    /// Messages of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { expected: Message::new(size, false), opened: 0, bytes: 0 }
    }
}

impl Script for Download {
    fn opened(&mut self, _: &mut Session) -> Result<()> {
        self.opened += 1;
        Ok(())
    }

    fn frame(&mut self, session: &mut Session, opcode: u8, payload: &[u8]) -> Result<()> {
        if opcode != BINARY || !self.expected.is(payload, session.got) {
            let found = payload.len();
            return Err(format!("expected the next message, found opcode {opcode} with {found} bytes").into());
        }
        session.got += 1;
        self.bytes += payload.len() as u64;
        Ok(())
    }
}

/// Sends messages as fast as they are taken; the node counts them.
pub struct Upload {
    message: Message,
    pub opened: usize,
}

impl Upload {
    /// Messages of `size` bytes.
    pub fn new(size: usize) -> Self {
        Self { message: Message::new(size, true), opened: 0 }
    }
}

impl Script for Upload {
    fn opened(&mut self, _: &mut Session) -> Result<()> {
        self.opened += 1;
        Ok(())
    }

    fn writable(&mut self, session: &mut Session) -> Result<bool> {
        session.link.send(self.message.frame(session.sent))?;
        session.sent += 1;
        Ok(true)
    }
}

/// A whole session: one echo, then a Close and its answer, then the end of the connection.
pub struct ShortSession {
    message: Message,
    expected: Message,
    /// Whether handshakes have to be resumptions; `None`: both kinds are accepted.
    pub resumed: Option<bool>,
    pub completed: u64,
}

/// The payload of the Close: code 1000 and a reason, which have to come back unchanged.
const CLOSE_PAYLOAD: &[u8] = b"\x03\xe8done";

impl ShortSession {
    /// A message of `size` bytes.
    pub fn new(size: usize) -> Self {
        let (message, expected) = (Message::new(size, true), Message::new(size, false));
        Self { message, expected, resumed: None, completed: 0 }
    }
}

impl Script for ShortSession {
    fn opened(&mut self, session: &mut Session) -> Result<()> {
        if self.resumed.is_some_and(|resumed| resumed != session.link.is_resumed()) {
            return Err("expected the kind of handshake that is measured, found the other one".into());
        }
        session.link.send(self.message.frame(7))
    }

    fn frame(&mut self, session: &mut Session, opcode: u8, payload: &[u8]) -> Result<()> {
        match opcode {
            BINARY if session.got == 0 && self.expected.is(payload, 7) => {
                session.got = 1;
                session.say(CLOSE, CLOSE_PAYLOAD)
            }
            CLOSE if session.got == 1 && payload == CLOSE_PAYLOAD => {
                session.done = true;
                Ok(())
            }
            opcode => {
                let found = payload.len();
                Err(format!("expected the echo or the Close, found opcode {opcode} with {found} bytes")
                    .into())
            }
        }
    }

    fn ended(&mut self, session: &mut Session) -> Result<()> {
        if !session.done {
            return Err("the connection ended before the Close came back".into());
        }
        self.completed += 1;
        Ok(())
    }
}

/// Repeats the same request on each connection.
pub struct RepeatedRequest {
    request: Vec<u8>,
    body: &'static str,
    pub answered: u64,
    /// Whether every answer has to be a stored one.
    pub hits_only: bool,
}

impl RepeatedRequest {
    /// Requests `path` and expects `body`.
    pub fn new(path: &str, host: std::net::SocketAddr, body: &'static str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", host.port()).into_bytes();
        Self { request, body, answered: 0, hits_only: false }
    }

    fn check(&self, head: &str, body: &[u8]) -> Result<()> {
        let hit = || {
            head.lines()
                .any(|line| line.to_ascii_lowercase().starts_with("cache-status:") && line.contains("; hit"))
        };
        if !head.starts_with("HTTP/1.1 200 ") || body != self.body.as_bytes() {
            return Err(format!("expected the answer, found {:?}", head.lines().next()).into());
        }
        if self.hits_only && !hit() {
            return Err("expected a stored answer, found one without a hit in Cache-Status".into());
        }
        Ok(())
    }
}

impl Script for RepeatedRequest {
    fn opened(&mut self, session: &mut Session) -> Result<()> {
        session.link.send(&self.request)
    }

    fn bytes(&mut self, session: &mut Session, bytes: &[u8]) -> Result<()> {
        session.inbox.extend_from_slice(bytes);
        let Some(end) = memchr::memmem::find(&session.inbox, b"\r\n\r\n") else { return Ok(()) };
        let (head, body) = (std::str::from_utf8(&session.inbox[..end])?, &session.inbox[end + 4..]);
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        if body.len() < length.ok_or("expected a Content-Length")?? {
            return Ok(());
        }
        self.check(head, body)?;
        session.inbox.clear();
        self.answered += 1;
        session.link.send(&self.request)
    }
}
