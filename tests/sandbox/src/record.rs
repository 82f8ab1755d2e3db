//! What a cluster records for tests: questions to the stream manager, and heads, messages and closes at the nodes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::http::Head;

/// How many entries a log keeps, so that a long run does not fill the memory.
const ENTRIES_MAX: usize = 4096;

/// A log that drops its oldest entry when it is full.
#[derive(Debug)]
pub(crate) struct Log<T>(Mutex<std::collections::VecDeque<T>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Log<T> {
    pub(crate) fn push(&self, entry: T) {
        let mut log = self.lock();
        if log.len() == ENTRIES_MAX {
            log.pop_front();
        }
        log.push_back(entry);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, std::collections::VecDeque<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One question that the stream manager received.
#[derive(Debug, Clone)]
pub struct Question {
    /// The whole request head.
    pub head: Head,
    /// When its last byte was read.
    pub at: Instant,
}

/// One WHIP or WHEP request and the status of the node's answer.
#[derive(Debug, Clone)]
pub struct WhipSeen {
    /// The whole request head.
    pub head: Head,
    /// The request's body without its framing.
    pub body: Vec<u8>,
    /// The status of the answer.
    pub status: u16,
}

/// How one signalling connection ended, as the node saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseSeen {
    /// The code of the client's Close frame; 1005 for an empty one, None when the connection ended without a Close frame.
    pub code: Option<u16>,
    /// The reason in the Close frame.
    pub reason: String,
    /// The last text message before it.
    pub last_message: Option<String>,
}

/// The counters of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// TCP connections accepted.
    pub dials: u64,
    /// WebSockets open now.
    pub open: u64,
    /// Text and binary messages received.
    pub messages_in: u64,
    /// Text and binary messages sent.
    pub messages_out: u64,
    /// Pongs received.
    pub pongs: u64,
    /// Sessions handed to the data channel.
    pub handed_off: u64,
    /// Media frames forwarded to subscribers.
    pub frames_forwarded: u64,
}

/// A node's counters and logs.
#[derive(Debug, Default)]
pub(crate) struct NodeRecord {
    pub(crate) heads: Log<Head>,
    pub(crate) messages: Log<String>,
    pub(crate) closes: Log<CloseSeen>,
    pub(crate) whip: Log<WhipSeen>,
    pub(crate) dials: Count,
    pub(crate) open: Count,
    pub(crate) messages_in: Count,
    pub(crate) messages_out: Count,
    pub(crate) pongs: Count,
    pub(crate) handed_off: Count,
    pub(crate) frames_forwarded: Count,
}

impl NodeRecord {
    pub(crate) fn counts(&self) -> NodeCounts {
        NodeCounts {
            dials: self.dials.get(),
            open: self.open.get(),
            messages_in: self.messages_in.get(),
            messages_out: self.messages_out.get(),
            pongs: self.pongs.get(),
            handed_off: self.handed_off.get(),
            frames_forwarded: self.frames_forwarded.get(),
        }
    }
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
