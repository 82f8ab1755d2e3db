//! The records of sessions that have ended, the newest of them, within a limit on memory.
//!
//! Each worker has an archive of its own, so that no session waits for a lock at its end.

use crate::shared::record::growing::Record;
use crate::shared::session_id::SessionId;
use std::collections::VecDeque;
use std::time::SystemTime;

/// Memory for the records of sessions that were served, of all workers together, in bytes. A usual record has about 400.
pub const SESSIONS_BYTES_MAX: usize = 24 << 20;

/// The same for everything else: refused requests, and connections with HTTP requests. Apart, so that a flood of refused
/// requests does not push out what operators ask for.
pub const OTHERS_BYTES_MAX: usize = 8 << 20;

/// The record of a session that has ended.
#[derive(Debug, Clone)]
pub struct Archived {
    /// Its id.
    pub id: SessionId,
    /// When its connection was accepted.
    pub began: SystemTime,
    /// What happened in it.
    pub record: Record,
}

impl Archived {
    /// When the last event happened: the end, of a session that has ended.
    pub fn ended(&self) -> SystemTime {
        self.began + self.record.events().last().map(|(at, _)| at).unwrap_or_default()
    }

    fn size(&self) -> usize {
        size_of::<Self>() - size_of::<Record>() + self.record.size()
    }
}

/// Records of ended sessions, the newest of them.
#[derive(Debug)]
pub struct Archive {
    sessions: Ring,
    others: Ring,
}

impl Archive {
    /// An empty archive of one of `workers` workers, which share the memory evenly.
    pub const fn new(workers: usize) -> Self {
        let workers = if workers == 0 { 1 } else { workers };
        Self {
            sessions: Ring::new(SESSIONS_BYTES_MAX / workers),
            others: Ring::new(OTHERS_BYTES_MAX / workers),
        }
    }

    /// Adds the record of a session that has just ended; `served`: a node served it. The oldest ones go when there is no
    /// more room.
    pub fn add(&mut self, served: bool, archived: Archived) {
        if served { self.sessions.add(archived) } else { self.others.add(archived) }
    }

    /// The newest record with this id.
    pub fn find(&self, id: SessionId) -> Option<&Archived> {
        self.newest_first(usize::MAX).find(|archived| archived.id == id)
    }

    /// The newest records: at most `most` of sessions that were served, the newest first, then as many others.
    pub fn newest_first(&self, most: usize) -> impl Iterator<Item = &Archived> {
        self.sessions.entries.iter().rev().take(most).chain(self.others.entries.iter().rev().take(most))
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.sessions.entries.len() + self.others.entries.len()
    }
}

/// A queue with a limit on its memory.
#[derive(Debug)]
struct Ring {
    entries: VecDeque<Archived>,
    bytes: usize,
    bytes_max: usize,
}

impl Ring {
    const fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn add(&mut self, mut archived: Archived) {
        archived.record.shrink();
        self.bytes += archived.size();
        self.entries.push_back(archived);
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.size();
        }
    }
}
