//! The clients of a drain under load: which Close each client received, and when.

use crate::load::client::{Fleet, Script, Session};
use crate::load::frames::{BINARY, CLOSE, Message, PONG};
use crate::load::{Result, process};
use std::time::{Duration, Instant};

/// Size of a message in bytes.
const SIZE: usize = 3_000;

/// What a client does before it receives its Close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sends nothing after the opening.
    Quiet,
    /// Is always in the middle of a message, and so is its node, which sends each message back.
    Busy,
    /// Was opened just before the drain, and sends nothing.
    Young,
}

/// What the test observed of one client.
#[derive(Debug, Clone)]
pub struct Observation {
    pub kind: Kind,
    pub opened: Instant,
    /// When its Close arrived, with code and reason.
    pub close: Option<(Instant, u16, String)>,
    /// Whether the client was in the middle of a message at that time.
    pub interrupted: bool,
}

/// All clients, in the order of their opening.
pub struct Clients {
    /// The kind of the next client to open, from its number.
    pub kind_of_next: fn(usize) -> Kind,
    pub observations: Vec<Observation>,
    /// Whether the drain has begun. Before that no client may receive a Close.
    pub drained: bool,
    message: Message,
    expected: Message,
    /// Each busy client finishes a message and begins the next one once per this interval.
    every: Duration,
    /// Index of the client whose turn it is.
    turn: usize,
    last_round: Instant,
}

impl Clients {
    pub fn new(every: Duration) -> Self {
        Self {
            kind_of_next: |number| if number % 2 == 0 { Kind::Quiet } else { Kind::Busy },
            observations: Vec::new(),
            drained: false,
            message: Message::new(SIZE, true),
            expected: Message::new(SIZE, false),
            every,
            turn: 0,
            last_round: Instant::now(),
        }
    }

    pub fn closed_count(&self) -> usize {
        self.observations.iter().filter(|observation| observation.close.is_some()).count()
    }

    fn observation(&mut self, session: &Session) -> &mut Observation {
        &mut self.observations[(session.sent >> 32) as usize]
    }

    /// Lets the busy clients go on whose turn has come.
    pub fn send_due(&mut self, fleet: &mut Fleet) -> Result<()> {
        let share = self.last_round.elapsed().as_secs_f64() / self.every.as_secs_f64();
        let count = (self.observations.len() as f64 * share) as usize;
        if count == 0 {
            return Ok(());
        }
        self.last_round = Instant::now();
        for _ in 0..count {
            self.turn = (self.turn + 1) % self.observations.len();
            let Some(session) = fleet.session(self.turn) else { continue };
            if session.is_open() && !session.done && self.observation(session).kind == Kind::Busy {
                let (first, second) = self.message.frame(session.sent).split_at(SIZE / 2);
                let rest = std::mem::replace(&mut session.inbox, second.to_vec());
                session.link.send(&rest)?;
                session.link.send(first)?;
                session.sent += 1;
            }
        }
        Ok(())
    }
}

impl Script for Clients {
    fn opened(&mut self, session: &mut Session) -> Result<()> {
        let number = self.observations.len();
        // no two sessions use the same numbers, so a message that arrives in the wrong session is detected
        session.sent = (number as u64) << 32;
        session.got = session.sent;
        let kind = (self.kind_of_next)(number);
        self.observations.push(Observation { kind, opened: Instant::now(), close: None, interrupted: false });
        Ok(())
    }

    fn pinged(&mut self, session: &mut Session, payload: &[u8]) -> Result<()> {
        // a Pong must not be sent inside a message
        let rest = std::mem::take(&mut session.inbox);
        session.link.send(&rest)?;
        session.say(PONG, payload)
    }

    fn frame(&mut self, session: &mut Session, opcode: u8, payload: &[u8]) -> Result<()> {
        if session.done {
            return Err(format!("frame {opcode} after the Close").into());
        }
        match opcode {
            BINARY if self.expected.is(payload, session.got) => {
                session.got += 1;
                Ok(())
            }
            CLOSE => {
                let (code, reason) = payload.split_first_chunk().ok_or("a Close without a code")?;
                let close = (Instant::now(), u16::from_be_bytes(*code), String::from_utf8(reason.to_vec())?);
                if !self.drained {
                    return Err(format!("Close before the drain: {close:?}").into());
                }
                let rest = std::mem::take(&mut session.inbox);
                let observation = self.observation(session);
                (observation.close, observation.interrupted) = (Some(close), !rest.is_empty());
                session.done = true;
                session.link.send(&rest)?;
                session.say(CLOSE, code)
            }
            opcode => Err(format!("unexpected frame {opcode} of {} bytes", payload.len()).into()),
        }
    }

    fn ended(&mut self, session: &mut Session) -> Result<()> {
        match (session.done, session.is_between_frames()) {
            (true, true) => Ok(()),
            (true, false) => Err("bytes after the Close".into()),
            (false, true) => Err("connection ended without a Close".into()),
            (false, false) => Err("connection ended inside a frame".into()),
        }
    }
}

/// Raises the limit of open files: client and node of each session are in this process. Fails if the limit is too low.
pub fn make_room(sessions: usize) -> Result<()> {
    process::raise_descriptors()?;
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    match 2 * sessions as u64 + 200 {
        wanted if wanted > most => {
            Err(format!("{wanted} file descriptors are needed, the limit is {most}: see `ulimit -n`").into())
        }
        _ => Ok(()),
    }
}
