//! Open files: clients are not taken while there are too few left for the nodes of those who are here.
//!
//! Every client may need a second descriptor, for its node, and a client that was taken and can't get one is worse off than
//! one that waits. The limit is asked for each time: an operator may raise it under a running process (`prlimit`).

use crate::metrics::WorkerMetrics;
use rustix::process::{Resource, getrlimit};
use std::sync::Arc;

/// Of so many descriptors one is kept for questions to the stream manager and whatever else may come.
const RESERVE: u64 = 16;

/// What the process itself holds: logs, admin pages, the control thread's own.
const OWN: u64 = 32;

/// And for each worker: its listeners, its ring.
const OWN_OF_WORKER: u64 = 8;

/// How many clients one worker may take now.
pub(crate) fn room(workers: &[Arc<WorkerMetrics>]) -> usize {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections: i64 = workers.iter().map(|worker| worker.connections.get()).sum();
    share(most, u64::try_from(connections).unwrap_or(0), workers.len() as u64)
}

/// All workers look at the same time: each may take its part only.
fn share(most: u64, connections: u64, workers: u64) -> usize {
    let for_clients = most.saturating_sub(most / RESERVE + OWN + OWN_OF_WORKER * workers) / 2;
    let free = for_clients.saturating_sub(connections).div_ceil(workers.max(1));
    usize::try_from(free).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use crate::worker::io::fd_budget::share;

    #[test]
    fn there_is_room_for_two_descriptors_for_each_client() {
        assert_eq!(share(20_000, 0, 2), 4676, "half of what is free");
        assert_eq!(share(20_000, 9_350, 2), 1);
        assert_eq!(share(20_000, 9_351, 2), 0);
        assert_eq!(share(20_000, 20_000, 2), 0, "the limit was lowered");
        assert_eq!(share(3, 0, 2), 0);
        assert!(share(u64::MAX, 1_000_000, 64) > 1_000_000, "no limit");
    }
}
