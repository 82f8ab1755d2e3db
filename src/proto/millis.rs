//! Milliseconds, the unit of every time that `proto` is given.

use std::time::Duration;

/// A time on any monotonic clock, or a duration on it, in milliseconds.
pub type Millis = u64;

/// A duration in milliseconds, rounded down; one that does not fit becomes [`Millis::MAX`].
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
