//! The clients of a drain: what each has heard, and when.

use crate::load::client::{Fleet, Script, Session};
use crate::load::frames::{BINARY, CLOSE, Message};
use crate::load::{Result, process};
use std::time::{Duration, Instant};

/// Size of a message: more than one TLS record, so that frames come in pieces.
const SIZE: usize = 20_000;

/// A busy client sends so often.
const EVERY: Duration = Duration::from_secs(3);

/// What a client does before it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Says nothing once it is there.
    Quiet,
    /// Sends messages, and gets each of them back.
    Busy,
    /// Came just before the drain, and says nothing.
    Young,
}

/// One client's story.
#[derive(Debug, Clone)]
pub struct Story {
    pub kind: Kind,
    pub opened: Instant,
    /// When its Close came, with code and reason.
    pub told: Option<(Instant, u16, String)>,
    /// Messages were on their way then.
    pub busy: bool,
}

/// All clients, by the order in which they came.
pub struct Herd {
    /// What those who come now do.
    pub coming: fn(usize) -> Kind,
    pub stories: Vec<Story>,
    message: Message,
    expected: Message,
    /// Whose turn it is to send, by place.
    turn: usize,
    stirred: Instant,
}

impl Herd {
    pub fn new() -> Self {
        Self {
            coming: |number| if number % 2 == 0 { Kind::Quiet } else { Kind::Busy },
            stories: Vec::new(),
            message: Message::new(SIZE, true),
            expected: Message::new(SIZE, false),
            turn: 0,
            stirred: Instant::now(),
        }
    }

    pub fn is_told(&self) -> usize {
        self.stories.iter().filter(|story| story.told.is_some()).count()
    }

    fn story(&mut self, session: &Session) -> &mut Story {
        &mut self.stories[(session.sent >> 32) as usize]
    }

    /// Lets the busy ones send whose turn it is.
    pub fn stir(&mut self, fleet: &mut Fleet) -> Result<()> {
        let share = self.stirred.elapsed().as_secs_f64() / EVERY.as_secs_f64();
        let count = (self.stories.len() as f64 * share) as usize;
        if count == 0 {
            return Ok(());
        }
        self.stirred = Instant::now();
        for _ in 0..count {
            self.turn = (self.turn + 1) % self.stories.len();
            let Some(session) = fleet.session(self.turn) else { continue };
            if session.is_open() && !session.done && self.story(session).kind == Kind::Busy {
                session.link.send(self.message.frame(session.sent))?;
                session.sent += 1;
            }
        }
        Ok(())
    }
}

impl Script for Herd {
    fn opened(&mut self, session: &mut Session) -> Result<()> {
        let number = self.stories.len();
        // no two sessions use the same numbers, so a message that strays is seen
        session.sent = (number as u64) << 32;
        session.got = session.sent;
        let kind = (self.coming)(number);
        self.stories.push(Story { kind, opened: Instant::now(), told: None, busy: false });
        Ok(())
    }

    fn frame(&mut self, session: &mut Session, opcode: u8, payload: &[u8]) -> Result<()> {
        if session.done {
            return Err(format!("a frame {opcode} behind the Close").into());
        }
        match opcode {
            BINARY if self.expected.is(payload, session.got) => {
                session.got += 1;
                Ok(())
            }
            CLOSE => {
                let (code, reason) = payload.split_first_chunk().ok_or("a Close without a code")?;
                let told = (Instant::now(), u16::from_be_bytes(*code), String::from_utf8(reason.to_vec())?);
                let busy = session.got < session.sent;
                let story = self.story(session);
                (story.told, story.busy) = (Some(told), busy);
                session.done = true;
                session.say(CLOSE, code)
            }
            opcode => Err(format!("frame {opcode} of {} bytes is not what was due", payload.len()).into()),
        }
    }

    fn ended(&mut self, session: &mut Session) -> Result<()> {
        match (session.done, session.is_between_frames()) {
            (true, true) => Ok(()),
            (true, false) => Err("bytes behind the Close".into()),
            (false, true) => Err("an end without a Close".into()),
            (false, false) => Err("an end inside a frame".into()),
        }
    }
}

/// Makes room for so many sessions: client and node here, both legs in the gateway.
pub fn make_room(sessions: usize) -> Result<()> {
    process::raise_descriptors()?;
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    match 2 * sessions as u64 + 200 {
        wanted if wanted > most => {
            Err(format!("{wanted} descriptors are wanted, {most} may be open: `ulimit -n`").into())
        }
        _ => Ok(()),
    }
}
