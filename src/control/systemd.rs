//! What we tell systemd, and the sockets it hands us. Without systemd all of it does nothing.

use crate::metrics::WorkerMetrics;
use sd_notify::NotifyState;
use std::io;
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::sync::Arc;
use std::time::Duration;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
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

/// Listening sockets handed to us by `tidegate.socket`. Call it once, before anything else is opened.
#[allow(unsafe_code)]
pub fn inherited() -> io::Result<Vec<TcpListener>> {
    let descriptors = sd_notify::listen_fds()?;
    // SAFETY: LISTEN_PID names this process, so these descriptors are open (setting FD_CLOEXEC on each succeeded) and
    // were opened for us alone; this is called once, before we open any of our own, so each gets one owner.
    Ok(descriptors.map(|descriptor| unsafe { TcpListener::from_raw_fd(descriptor) }).collect())
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
            worker.stands_still.set(i64::from(still == Some(index)));
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
