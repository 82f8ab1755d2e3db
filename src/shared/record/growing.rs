//! A record that grows with its session.

use crate::shared::record::event::Event;
use std::sync::Arc;
use std::time::Duration;

/// From this size on, a record takes only events that tell how the session ended. A session that is alive for days has
/// stalls and messages without end.
const BYTES_MAX: usize = 1536;

/// A new request drops the earlier ones of its connection when the record is larger than this.
const REQUESTS_MAX: usize = 896;

/// A record that grows with its session.
#[derive(Debug, Clone, Default)]
pub struct Record {
    bytes: Vec<u8>,
    /// What the client calls itself in the newest request (`User-Agent`), and the web origin of its page.
    pub agent: Option<Arc<str>>,
    /// The web origin of the page that sent the newest request.
    pub origin: Option<Arc<str>>,
    /// Where the first request begins, once there is one.
    first_request: Option<u16>,
    /// Where the newest request begins.
    last_request: u16,
    /// Events that were left out, and requests that were dropped.
    skipped: u32,
}

impl Record {
    /// Appends an event that happened `at` after the begin of the session. When the record is full, only events that tell
    /// how the session ended are taken; the others are counted.
    pub fn note(&mut self, at: Duration, event: &Event<'_>) {
        let is_last = matches!(
            event,
            Event::Ended { .. } | Event::WhipEnded { .. } | Event::Answered { .. } | Event::Closed { .. }
        );
        if self.bytes.len() > BYTES_MAX && !(is_last && self.bytes.len() < 2 * BYTES_MAX) {
            self.skipped += 1;
            return;
        }
        let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let bytes = std::mem::take(&mut self.bytes);
        // it can't fail: a vector takes all bytes, and events have no type that postcard does not know
        self.bytes = postcard::to_extend(&(micros, event), bytes).unwrap_or_default();
    }

    /// Begins a request. Earlier requests of the connection are dropped when the record has grown large.
    pub fn begin_request(&mut self) {
        match self.first_request {
            Some(first) if self.bytes.len() > REQUESTS_MAX => {
                self.bytes.truncate(usize::from(first));
                self.skipped += 1;
            }
            Some(_) => {}
            None => self.first_request = u16::try_from(self.bytes.len()).ok(),
        }
        self.last_request = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
    }

    /// Whether a request has come.
    pub const fn has_request(&self) -> bool {
        self.first_request.is_some()
    }

    /// All events, with their times since the begin of the session.
    pub fn events(&self) -> impl Iterator<Item = (Duration, Event<'_>)> {
        read(&self.bytes)
    }

    /// The events before the first request, then those of the newest one.
    pub fn last_request(&self) -> impl Iterator<Item = (Duration, Event<'_>)> {
        let (first, last) =
            (usize::from(self.first_request.unwrap_or_default()), usize::from(self.last_request));
        read(self.bytes.get(..first).unwrap_or_default())
            .chain(read(self.bytes.get(last..).unwrap_or_default()))
    }

    /// A record of its own for what the newest request began: its events, and those before the first one.
    pub fn of_last_request(&self) -> Self {
        let mut record = Self { agent: self.agent.clone(), origin: self.origin.clone(), ..Self::default() };
        let first = usize::from(self.first_request.unwrap_or_default());
        record.bytes.extend_from_slice(self.bytes.get(..first).unwrap_or_default());
        record.begin_request();
        record.bytes.extend_from_slice(self.bytes.get(usize::from(self.last_request)..).unwrap_or_default());
        record
    }

    /// How many events and requests are missing.
    pub const fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Gives back memory that is not used. For a record that grows slowly from now on.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// What the record needs in memory, in bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }
}

/// Reads events up to the end, or to bytes that are none.
fn read(mut bytes: &[u8]) -> impl Iterator<Item = (Duration, Event<'_>)> {
    std::iter::from_fn(move || {
        let ((micros, event), rest) = postcard::take_from_bytes::<(u64, Event<'_>)>(bytes).ok()?;
        bytes = rest;
        Some((Duration::from_micros(micros), event))
    })
}
