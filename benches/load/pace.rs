//! Clients that send at a fixed rate, and clients that all ask at the same moment.

use super::Result;
use super::client::{Fleet, Script, Session};
use super::frames::{BINARY, Message};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Echoes at a fixed rate, spread over the connections in turn. The time of each counts from when it was **due**, not from
/// when it was sent: a stall of the gateway also counts for all messages that waited behind it (no coordinated omission).
pub struct Paced {
    message: Message,
    expected: Message,
    /// For each connection, the due times of the messages under way.
    due: Vec<VecDeque<Instant>>,
    next: usize,
    gap: Duration,
    at: Instant,
    pub opened: usize,
    /// The time that each echo took, in microseconds.
    pub took: Vec<f64>,
}

impl Paced {
    /// Messages of `size` bytes over `connections` connections.
    pub fn new(size: usize, connections: usize) -> Self {
        let (message, expected) = (Message::new(size, true), Message::new(size, false));
        let due = vec![VecDeque::new(); connections];
        let (gap, at, took) = (Duration::MAX, Instant::now(), Vec::new());
        Self { message, expected, due, next: 0, gap, at, opened: 0, took }
    }

    /// From now on sends `rate` messages a second.
    pub fn begin(&mut self, rate: f64) {
        self.gap = Duration::from_secs_f64(1.0 / rate);
        self.at = Instant::now();
    }

    /// Sends the messages that are due. Returns how long it is until the next one.
    pub fn send_due(&mut self, fleet: &mut Fleet) -> Result<Duration> {
        let now = Instant::now();
        while self.at <= now {
            let session = fleet.session(self.next).ok_or("a connection has ended")?;
            let index = usize::try_from(session.sent >> 32)? - 1;
            self.due[index].push_back(self.at);
            session.link.send(self.message.frame(session.sent))?;
            session.sent += 1;
            self.next = (self.next + 1) % self.due.len();
            self.at += self.gap;
        }
        Ok(self.at - now)
    }

    /// Counts the messages still under way with the time that they have taken so far. Returns their number.
    pub fn close(&mut self) -> usize {
        let now = Instant::now();
        let late = self.due.iter_mut().flat_map(|due| due.drain(..));
        let before = self.took.len();
        self.took.extend(late.map(|due| now.saturating_duration_since(due).as_secs_f64() * 1e6));
        self.took.len() - before
    }
}

impl Script for Paced {
    fn opened(&mut self, session: &mut Session) -> Result<()> {
        self.opened += 1;
        // the upper half of a number identifies the session
        session.sent = (self.opened as u64) << 32;
        session.got = session.sent;
        Ok(())
    }

    fn frame(&mut self, session: &mut Session, opcode: u8, payload: &[u8]) -> Result<()> {
        if opcode != BINARY || !self.expected.is(payload, session.got) {
            let found = payload.len();
            return Err(format!("expected the echo, found opcode {opcode} with {found} bytes").into());
        }
        let index = usize::try_from(session.got >> 32)? - 1;
        session.got += 1;
        let due = self.due[index].pop_front().ok_or("expected no further echo, found one")?;
        self.took.push(due.elapsed().as_secs_f64() * 1e6);
        Ok(())
    }
}

/// The value below which `share` (0 to 1) of all values lie; NaN for no values.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let index = ((values.len() as f64 * share) as usize).min(values.len() - 1);
    *values.select_nth_unstable_by(index, f64::total_cmp).1
}

/// Each connection sends one request, when [`ask`](Self::ask) is called for it.
pub struct Rush {
    request: Vec<u8>,
    body: &'static str,
    pub opened: usize,
    pub answered: usize,
}

impl Rush {
    /// Requests `path` and expects `body`.
    pub fn new(path: &str, port: u16, body: &'static str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").into_bytes();
        Self { request, body, opened: 0, answered: 0 }
    }

    /// Sends the request on this connection.
    pub fn ask(&self, session: &mut Session) -> Result<()> {
        session.link.send(&self.request)
    }
}

impl Script for Rush {
    fn opened(&mut self, _: &mut Session) -> Result<()> {
        self.opened += 1;
        Ok(())
    }

    fn bytes(&mut self, session: &mut Session, bytes: &[u8]) -> Result<()> {
        session.inbox.extend_from_slice(bytes);
        let Some(end) = memchr::memmem::find(&session.inbox, b"\r\n\r\n") else { return Ok(()) };
        let (head, body) = session.inbox.split_at(end + 4);
        if !head.starts_with(b"HTTP/1.1 200 ") || !self.body.as_bytes().starts_with(body) {
            let found = String::from_utf8_lossy(head);
            return Err(format!("expected the answer, found {:?}", found.lines().next()).into());
        }
        if body.len() == self.body.len() {
            self.answered += 1;
        }
        Ok(())
    }
}
