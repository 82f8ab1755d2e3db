//! The clients of a drain: what each has heard, and when.

use crate::load::client::{Fleet, Script, Session};
use crate::load::frames::{BINARY, CLOSE, Message, PONG};
use crate::load::{Result, process};
use std::time::{Duration, Instant};

/// Size of a message.
const SIZE: usize = 3_000;

/// What a client does before it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Says nothing once it is there.
    Quiet,
    /// Is in the middle of a message all the time, and so is its node, which gives each message back.
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
    /// It was in the middle of a message then.
    pub interrupted: bool,
}

/// All clients, by the order in which they came.
pub struct Herd {
    /// What those who come now do.
    pub coming: fn(usize) -> Kind,
    pub stories: Vec<Story>,
    /// The drain has begun: before that nobody may be told.
    pub drained: bool,
    message: Message,
    expected: Message,
    /// A busy client goes on so often: it ends a message and begins the next.
    every: Duration,
    /// Whose turn it is, by place.
    turn: usize,
    stirred: Instant,
}

impl Herd {
    pub fn new(every: Duration) -> Self {
        Self {
            coming: |number| if number % 2 == 0 { Kind::Quiet } else { Kind::Busy },
            stories: Vec::new(),
            drained: false,
            message: Message::new(SIZE, true),
            expected: Message::new(SIZE, false),
            every,
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

    /// Lets the busy ones go on whose turn it is.
    pub fn stir(&mut self, fleet: &mut Fleet) -> Result<()> {
        let share = self.stirred.elapsed().as_secs_f64() / self.every.as_secs_f64();
        let count = (self.stories.len() as f64 * share) as usize;
        if count == 0 {
            return Ok(());
        }
        self.stirred = Instant::now();
        for _ in 0..count {
            self.turn = (self.turn + 1) % self.stories.len();
            let Some(session) = fleet.session(self.turn) else { continue };
            if session.is_open() && !session.done && self.story(session).kind == Kind::Busy {
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

impl Script for Herd {
    fn opened(&mut self, session: &mut Session) -> Result<()> {
        let number = self.stories.len();
        // no two sessions use the same numbers, so a message that strays is seen
        session.sent = (number as u64) << 32;
        session.got = session.sent;
        let kind = (self.coming)(number);
        self.stories.push(Story { kind, opened: Instant::now(), told: None, interrupted: false });
        Ok(())
    }

    fn pinged(&mut self, session: &mut Session, payload: &[u8]) -> Result<()> {
        // not inside a message
        let rest = std::mem::take(&mut session.inbox);
        session.link.send(&rest)?;
        session.say(PONG, payload)
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
                if !self.drained {
                    return Err(format!("a Close before the drain: {told:?}").into());
                }
                let rest = std::mem::take(&mut session.inbox);
                let story = self.story(session);
                (story.told, story.interrupted) = (Some(told), !rest.is_empty());
                session.done = true;
                session.link.send(&rest)?;
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
