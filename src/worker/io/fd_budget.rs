//! File descriptors: connections are accepted only while enough descriptors are left for the nodes of all clients.
//!
//! Every client may need a second descriptor, for its node. A client that was accepted and can't get one is worse off than
//! a client that waits in the kernel's queue. The limit is read each time, because an operator may raise it while the process
//! runs (`prlimit`).

use crate::metrics::WorkerMetrics;
use rustix::process::{Resource, getrlimit};
use std::sync::Arc;

/// One descriptor in this many is kept for questions to the stream manager and for anything unexpected.
const RESERVE_ONE_IN: u64 = 16;

/// Descriptors of the process itself: logs, the admin listener, the control thread.
const PROCESS: u64 = 32;

/// Descriptors of each worker: its listeners and its ring.
const PER_WORKER: u64 = 8;

/// How many connections one worker may accept now. `workers` are the counters of all workers.
pub(crate) fn room(workers: &[Arc<WorkerMetrics>]) -> usize {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections: i64 = workers.iter().map(|worker| worker.connections.get()).sum();
    share(most, u64::try_from(connections).unwrap_or(0), workers.len() as u64)
}

/// One worker's share of the clients that still fit under the limit `most`. Workers may ask at the same moment, so each gets
/// its part only.
fn share(most: u64, connections: u64, workers: u64) -> usize {
    let for_clients = most.saturating_sub(most / RESERVE_ONE_IN + PROCESS + PER_WORKER * workers) / 2;
    let free = for_clients.saturating_sub(connections).div_ceil(workers.max(1));
    usize::try_from(free).unwrap_or(usize::MAX)
}

/// The least limit of open files under which so many clients fit, each with a node, on so many workers: the reverse of what
/// a worker computes before it accepts.
pub fn descriptors_for(clients: u64, workers: u64) -> u64 {
    let used = clients.saturating_mul(2).saturating_add(PROCESS + PER_WORKER * workers);
    used.saturating_mul(RESERVE_ONE_IN).div_ceil(RESERVE_ONE_IN - 1)
}

#[cfg(test)]
mod tests {
    use crate::worker::io::fd_budget::{descriptors_for, share};

    #[test]
    fn the_least_limit_for_clients_has_room_for_them_and_a_lower_one_has_not() {
        for (clients, workers) in [(1, 1), (9_351, 2), (102_000, 2), (102_000, 64), (500_000, 8)] {
            let least = descriptors_for(clients, workers);
            assert_eq!(share(least, clients - 1, workers), 1, "{clients} clients with {least}");
            assert_eq!(share(least - 2, clients - 1, workers), 0, "{clients} clients with {least} less 2");
        }
        assert!(descriptors_for(u64::MAX, 1) > 1_000_000, "no overflow");
    }

    #[test]
    fn each_client_has_two_descriptors() {
        assert_eq!(share(20_000, 0, 2), 4676, "half of what is free");
        assert_eq!(share(20_000, 9_350, 2), 1);
        assert_eq!(share(20_000, 9_351, 2), 0);
        assert_eq!(share(20_000, 20_000, 2), 0, "more are open than the lowered limit allows");
        assert_eq!(share(3, 0, 2), 0);
        assert!(share(u64::MAX, 1_000_000, 64) > 1_000_000, "no limit");
    }
}
