//! What we tell systemd, and the sockets it hands us. Without systemd all of it does nothing.

use crate::metrics::WorkerMetrics;
use sd_notify::NotifyState;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The name under which systemd keeps our own listening sockets for us, and gives them back.
pub const STORED: &str = "tidegate";

/// Descriptors in one message; the kernel takes 253.
const STORED_AT_ONCE: usize = 64;

/// Somebody else is the service now.
static SILENT: AtomicBool = AtomicBool::new(false);

fn tell(states: &[NotifyState<'_>]) {
    tell_with(states, &[]);
}

fn tell_with(states: &[NotifyState<'_>], descriptors: &[BorrowedFd<'_>]) {
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    if let Err(error) = sd_notify::notify_with_fds(states, descriptors) {
        tracing::debug!("systemd could not be told: {error}");
    }
}

/// Every worker listens.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// A reload began; systemd waits for [`reloaded`] (`Type=notify-reload` asks for the time).
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("systemd could not be told of the reload: {error}"),
    }
}

/// It is over, well or not.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The drain began; it may take so long.
pub fn stopping(status: &str, drain: Duration) {
    let micros = u32::try_from((drain + Duration::from_secs(5)).as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(status)]);
}

/// Another process is the service from now on. What we would say later about ourselves, that we are stopping, say, would
/// be taken for its word, so this is the last of it.
pub fn hand_over(successor: u32) {
    tell(&[NotifyState::MainPid(successor)]);
    SILENT.store(true, Ordering::Relaxed);
}

/// Gives systemd a copy of these sockets, and of no others, to keep over a restart: who comes meanwhile waits in their
/// queues. Does nothing if the unit has no `FileDescriptorStoreMax=`.
pub fn store(sockets: &[BorrowedFd<'_>]) {
    // sockets of addresses that are not served any more would take clients that nobody lets in
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(STORED)]);
    for some in sockets.chunks(STORED_AT_ONCE) {
        tell_with(&[NotifyState::FdStore, NotifyState::FdName(STORED)], some);
    }
}

/// Whether what we store is kept. systemd says so from 254 on; before, the unit does.
pub fn keeps() -> bool {
    let most = std::env::var("FDSTORE").ok().and_then(|most| most.parse::<u32>().ok());
    std::env::var_os("NOTIFY_SOCKET").is_some() && most.is_some_and(|most| most > 0)
}

/// Looks whether every worker goes round, and feeds systemd's watchdog only while they do.
#[derive(Debug)]
pub struct Watchdog {
    every: Option<Duration>,
    seen: Vec<u64>,
}

impl Watchdog {
    /// A watchdog if systemd asked for one.
    pub fn new() -> Self {
        // twice in the time that systemd waits
        Self { every: sd_notify::watchdog_enabled().map(|whole| whole / 2), seen: Vec::new() }
    }

    /// How often to feed it.
    pub fn every(&self) -> Option<Duration> {
        self.every
    }

    /// Feeds it if every heartbeat moved since the last time; says which worker stands still otherwise, in the log and to
    /// whoever asks `/livez`. Without systemd that is all it does.
    pub fn feed(&mut self, workers: &[Arc<WorkerMetrics>]) {
        let still = self.still(workers);
        for (index, worker) in workers.iter().enumerate() {
            worker.unresponsive.set(i64::from(still == Some(index)));
        }
        match still {
            None => tell(&[NotifyState::Watchdog]),
            Some(worker) => tracing::error!(worker, "a worker stands still; systemd's watchdog is not fed"),
        }
    }

    /// The first worker whose heartbeat did not move since the last call.
    fn still(&mut self, workers: &[Arc<WorkerMetrics>]) -> Option<usize> {
        let now: Vec<_> = workers.iter().map(|worker| worker.heartbeat.get()).collect();
        let still = self.seen.iter().zip(&now).position(|(before, now)| before == now);
        self.seen = now;
        still
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stands_still_is_noticed() {
        let workers: Vec<Arc<WorkerMetrics>> = (0..2).map(|_| Arc::default()).collect();
        let mut watchdog = Watchdog { every: None, seen: Vec::new() };
        assert_eq!(watchdog.still(&workers), None, "nothing is known yet");
        workers.iter().for_each(|worker| worker.heartbeat.add(1));
        assert_eq!(watchdog.still(&workers), None);
        workers[0].heartbeat.add(1);
        assert_eq!(watchdog.still(&workers), Some(1));
    }
}
