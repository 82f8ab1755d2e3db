//! The wait for workers that were told to accept.

use crate::control::exit::{ExitError, SOFTWARE};
use crate::control::supervise::report::POLL_INTERVAL;
use crate::control::workers::interface::Workers;
use std::time::{Duration, Instant};

/// How long the workers may take to begin to accept.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(4);

/// Waits until every worker accepts. Fails if one ends instead, or takes too long.
pub(crate) fn await_accepting(workers: &dyn Workers) -> Result<(), ExitError> {
    let deadline = Instant::now() + ACCEPT_TIMEOUT;
    while !workers.are_accepting() {
        if workers.exited_worker().is_some() || Instant::now() >= deadline {
            let text = "a worker can't accept connections; the log above says why".to_owned();
            return Err(ExitError { code: SOFTWARE, text });
        }
        std::thread::sleep(POLL_INTERVAL / 10);
    }
    Ok(())
}
