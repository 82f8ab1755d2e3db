//! How long the doctor waits for a peer.

use std::time::Duration;

/// How long one check of a peer may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

/// The reason of a check whose time was up.
pub(crate) fn time_is_up() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}
