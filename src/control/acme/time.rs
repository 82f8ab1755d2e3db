//! The time of day in seconds, as it is stored in files, and chance to spread what gateways do.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// A random number from 0 to below `end`, or 0; not for secrets.
pub(super) fn random(end: i64) -> i64 {
    let number = RandomState::new().build_hasher().finish() >> 1;
    i64::try_from(number).map_or(0, |number| number % end.max(1))
}
