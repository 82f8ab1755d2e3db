//! Milliseconds, the unit of every time that `proto` is given.

use std::time::Duration;

/// Time on a monotonic clock, in milliseconds.
pub type Millis = u64;

/// A duration on that clock, rounded down; the longest there is instead of one that does not fit.
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
