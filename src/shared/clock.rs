//! The clock by which answers and nodes age, in milliseconds since its start.

use crate::proto::millis::{Millis, millis};
use std::time::{Duration, Instant, SystemTime};

/// What the clock of the wall showed at `then`, counted back from what it shows now.
pub(crate) fn wall_time(then: Instant) -> SystemTime {
    SystemTime::now().checked_sub(then.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A monotonic clock that several caches share, so that their times can be compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the start, never 0: 0 stands for "never" where times are stored.
    pub(crate) fn now(self) -> Millis {
        millis(self.0.elapsed()).saturating_add(1)
    }

    /// Time from now until `then`; zero when `then` has passed.
    pub(crate) fn until(self, then: Millis) -> Duration {
        Duration::from_millis(then.saturating_sub(self.now()))
    }
}
