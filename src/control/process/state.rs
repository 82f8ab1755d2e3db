//! What the whole process shares: its phase, its configuration and every worker's counters.
//!
//! Read by the workers, by the admin pages and by the supervisor; it knows nothing of any of them.

use crate::config::Config;
use crate::control::process::reload_report::{ReloadReport, ReloadRequest};
use crate::control::process::worker_query::WorkerQueries;
use crate::control::signals::ControlEvent;
use crate::control::start::certs::Facts;
use crate::metrics::WorkerMetrics;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

/// Where the process is in its life. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Starting,
    Serving,
    Draining,
    Stopped,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Starting, Self::Serving, Self::Draining, Self::Stopped];

    /// The bare word, for pages and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// A phase that every thread can read.
#[derive(Debug, Default)]
pub struct PhaseCell(AtomicU8);

impl PhaseCell {
    /// The phase now.
    pub fn get(&self) -> Phase {
        Phase::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }

    /// Goes on to a later phase; an earlier one changes nothing.
    pub fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }
}

/// Counts the answers that are stored now.
pub type StoredAnswers = Box<dyn Fn() -> u64 + Send + Sync>;

/// One process, seen from inside.
pub struct ProcessState {
    current: ArcSwap<Current>,
    /// One block for each worker, by its index.
    pub metrics: Vec<Arc<WorkerMetrics>>,
    pub phase: PhaseCell,
    pub started: Instant,
    pub started_at: SystemTime,
    /// Set by the first worker whose runtime runs.
    pub driver_name: OnceLock<&'static str>,
    /// Addresses that are listened on, with the ports that the kernel chose.
    pub listening: Vec<SocketAddr>,
    /// Set by whoever keeps the answers.
    pub stored_answers: OnceLock<StoredAnswers>,
    /// Set by whoever starts the workers.
    pub worker_queries: OnceLock<WorkerQueries>,
    /// The way to the supervisor.
    pub asks: OnceLock<Sender<ControlEvent>>,
    /// Where a reload is asked for; set by whoever does it.
    pub reload: OnceLock<Sender<ReloadRequest>>,
    /// The last time that something else should have been served.
    pub last_reload: ArcSwapOption<ReloadReport>,
}

/// What is served now, as pages and the supervisor see it.
#[derive(Debug)]
pub struct Current {
    /// Counts up from 1 with everything that a reload or a new certificate changes.
    pub revision: u64,
    /// As used, secrets resolved.
    pub config: Arc<Config>,
    pub certificates: Vec<Facts>,
    /// Keys that the file has other values for, which need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl ProcessState {
    /// A process that is starting with `workers` workers.
    pub fn new(config: Config, workers: usize, certificates: Vec<Facts>, listening: Vec<SocketAddr>) -> Self {
        let current =
            Current { revision: 1, config: Arc::new(config), certificates, needs_restart: Vec::new() };
        Self {
            current: ArcSwap::from_pointee(current),
            metrics: (0..workers).map(|_| Arc::default()).collect(),
            phase: PhaseCell::default(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            driver_name: OnceLock::new(),
            listening,
            stored_answers: OnceLock::new(),
            worker_queries: OnceLock::new(),
            asks: OnceLock::new(),
            reload: OnceLock::new(),
            last_reload: ArcSwapOption::empty(),
        }
    }

    /// What is served now.
    pub fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Something else is served from now on.
    pub fn replace(&self, current: Current) {
        self.current.store(Arc::new(current));
    }

    /// Passes a request on to the reloader. It is lost with a warning while there is no reloader: before the workers run,
    /// and at the end of the process.
    pub fn request_reload(&self, request: ReloadRequest) {
        if self.reload.get().is_none_or(|reload| reload.send(request).is_err()) {
            tracing::warn!("nothing can be reloaded now");
        }
    }

    /// Accepted connections of all workers that are open now, and what may outlive them.
    pub fn connections(&self) -> i64 {
        self.metrics.iter().map(|worker| worker.connections.get()).sum()
    }

    /// Sessions of all workers that are open now.
    pub fn sessions(&self) -> i64 {
        self.metrics.iter().map(|worker| worker.sessions()).sum()
    }

    /// The driver of the workers, once one runs.
    pub fn driver(&self) -> &'static str {
        self.driver_name.get().copied().unwrap_or("none")
    }
}

impl std::fmt::Debug for ProcessState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessState")
            .field("phase", &self.phase.get())
            .field("workers", &self.metrics.len())
            .field("revision", &self.current().revision)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_only_goes_forward() {
        let cell = PhaseCell::default();
        assert_eq!(cell.get(), Phase::Starting);
        cell.advance(Phase::Draining);
        cell.advance(Phase::Serving);
        assert_eq!(cell.get(), Phase::Draining);
        cell.advance(Phase::Stopped);
        assert_eq!(cell.get().word(), "stopped");
    }
}
