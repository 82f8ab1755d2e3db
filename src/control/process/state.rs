//! What the whole process shares: its phase, what is served now, and the counters of every worker.
//!
//! The admin listener, the supervisor and the reloader read it. It knows none of them.

use crate::config::Config;
use crate::control::process::acme_status::AcmeStatus;
use crate::control::process::admin_cuts::AdminCuts;
use crate::control::process::reload_report::{ReloadReport, ReloadRequest};
use crate::control::process::worker_query::WorkerQueries;
use crate::control::signals::{ControlEvent, Reply};
use crate::control::start::certs::{Challenges, Facts};
use crate::control::stream_manager::health::Managers;
use crate::metrics::SpanOutcome;
use crate::metrics::nodes::NodeRow;
use crate::metrics::{Route, WorkerMetrics};
use crate::proto::millis::millis;
use crate::proto::red5::role::Role;
use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The phases of a process. It goes forward through them; only a drain can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From the start until the workers accept connections. `/readyz` answers 503.
    Starting,
    /// The workers accept connections; a reload is possible.
    Serving,
    /// The workers accept no more connections and close their sessions, at most for `gateway.drain`. `/readyz` answers 503.
    Draining,
    /// The drain is over: the process ends.
    Stopped,
}

impl Phase {
    /// All phases, in their order.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Serving, Self::Draining, Self::Stopped];

    /// The phase as one lower-case word, for pages and logs.
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
    /// The phase that the process is in now.
    pub fn get(&self) -> Phase {
        Phase::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }

    /// Goes back from `Draining` to `Serving`; in another phase it changes nothing.
    pub fn undo_drain(&self) {
        let (from, to) = (Phase::Draining as u8, Phase::Serving as u8);
        let _ = self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Goes on to a later phase; an earlier one changes nothing.
    pub fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }
}

/// The id of the process that serves in place of this one, once it does.
#[derive(Debug, Default)]
pub struct SuccessorCell(AtomicU32);

impl SuccessorCell {
    /// The process that serves now; `None` while it is this one.
    pub fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::SeqCst)).filter(|pid| *pid != 0)
    }

    /// Notes which process serves now; `None` means this one.
    pub fn set(&self, pid: Option<u32>) {
        self.0.store(pid.unwrap_or(0), Ordering::SeqCst);
    }
}

/// Counts the answers of the stream manager that are stored now.
pub type StoredAnswers = Box<dyn Fn() -> u64 + Send + Sync>;

/// What the gateway counts outside of its workers, for `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct GatewayCounts {
    /// The nodes.
    pub nodes: Vec<NodeRow>,
    /// Sessions that count against `limits.sessions`.
    pub sessions: usize,
    /// Pending handshakes, which count against `limits.handshakes`.
    pub handshakes: usize,
    /// What became of spans.
    pub spans: Vec<(SpanOutcome, u64)>,
}

/// Reads what the gateway counts outside of its workers.
pub type ReadGatewayCounts = Box<dyn Fn() -> GatewayCounts + Send + Sync>;

/// The state of the process that several of its threads use.
pub struct ProcessState {
    served: ArcSwap<Served>,
    /// The counters of each worker, by its index.
    pub metrics: Vec<Arc<WorkerMetrics>>,
    pub phase: PhaseCell,
    /// The drain that is under way.
    pub drain: ArcSwapOption<DrainReport>,
    /// The process that serves in place of this one.
    pub successor: SuccessorCell,
    /// How many reloads were requested so far.
    pub reloads_requested: AtomicU64,
    pub started: Instant,
    pub started_at: SystemTime,
    /// The driver of the first worker: `io_uring` or `epoll`. Set when the workers run.
    pub driver_name: OnceLock<&'static str>,
    /// Why the workers use epoll although `gateway.driver` lets them use io_uring.
    pub driver_reason: OnceLock<String>,
    /// Addresses that are listened on, with the ports that the kernel chose.
    pub listening: Vec<SocketAddr>,
    /// Set when the workers are started.
    pub stored_answers: OnceLock<StoredAnswers>,
    /// Set when the workers are started.
    pub gateway_counts: OnceLock<ReadGatewayCounts>,
    /// Set when the workers run.
    pub worker_queries: OnceLock<WorkerQueries>,
    /// Sends events to the supervisor. Set once, by `control::run`.
    pub events: OnceLock<Sender<ControlEvent>>,
    /// Sends requests to the reloader. Set when the reloader starts.
    pub reload_requests: OnceLock<Sender<ReloadRequest>>,
    /// The report of the last attempt to serve a newer revision. Empty while there was none, and again after a certificate
    /// that could not be used has recovered.
    pub last_reload: ArcSwapOption<ReloadReport>,
    /// Whether the stream managers answer.
    pub(crate) managers: Arc<Managers>,
    /// When a configuration or certificates were loaded successfully last, in milliseconds since 1970.
    loaded_at: AtomicU64,
    /// Connections to the admin listener that the gateway ended.
    pub admin_cuts: Arc<AdminCuts>,
    /// Answers to challenges of a CA. Every revision's TLS settings hold the same ones; `control::run` sets it before anything is
    /// shared.
    pub challenges: Arc<Challenges>,
    /// How far the orders of certificates are.
    pub acme: AcmeStatus,
}

/// What is served now: the one record of it on the control side. It exists before there are workers.
///
/// The admin listener, the supervisor and the reloader read it here and keep no copy; only the reloader replaces it, after it
/// handed a newer [`Revision`](crate::shared::revision::Revision) with this number and this configuration to the workers.
/// What a revision has beyond that (TLS settings, CA certificates, resolved names, rules) is kept by the revision alone,
/// which the gateway holds (`Gateway::newest`).
#[derive(Debug)]
pub struct Served {
    /// Number of the revision: 1 at the start, one more with every reload and every changed certificate.
    pub revision: u64,
    /// The configuration in use, with secrets resolved and with the start's values of keys that need a restart.
    pub config: Arc<Config>,
    /// Names and dates of the certificates, in the order of the configuration.
    pub certificates: Vec<Facts>,
    /// Keys whose new values in the file need a restart.
    pub needs_restart: Vec<&'static str>,
}

/// A drain that is under way.
#[derive(Debug, Clone, Copy)]
pub struct DrainReport {
    /// What began it, in words.
    pub cause: &'static str,
    /// When it is over.
    pub until: Instant,
    /// Whether it can be taken back.
    pub may_undo: bool,
}

impl DrainReport {
    /// The report as `/api/status` shows it.
    pub fn to_json(&self) -> Value {
        let left = self.until.saturating_duration_since(Instant::now());
        json!({ "cause": self.cause, "seconds_left": left.as_secs(), "may_undo": self.may_undo })
    }
}

impl ProcessState {
    /// The state of a process that is starting: `workers` is the number of workers it will have, `certificates` and `config`
    /// are what it will serve first, `listening` the addresses of its listeners.
    pub fn new(config: Config, workers: usize, certificates: Vec<Facts>, listening: Vec<SocketAddr>) -> Self {
        let served =
            Served { revision: 1, config: Arc::new(config), certificates, needs_restart: Vec::new() };
        Self {
            served: ArcSwap::from_pointee(served),
            metrics: (0..workers).map(|_| Arc::default()).collect(),
            phase: PhaseCell::default(),
            drain: ArcSwapOption::empty(),
            successor: SuccessorCell::default(),
            reloads_requested: AtomicU64::new(0),
            started: Instant::now(),
            started_at: SystemTime::now(),
            driver_name: OnceLock::new(),
            driver_reason: OnceLock::new(),
            listening,
            stored_answers: OnceLock::new(),
            gateway_counts: OnceLock::new(),
            worker_queries: OnceLock::new(),
            events: OnceLock::new(),
            reload_requests: OnceLock::new(),
            last_reload: ArcSwapOption::empty(),
            managers: Arc::default(),
            loaded_at: AtomicU64::new(unix_millis(SystemTime::now())),
            admin_cuts: Arc::default(),
            challenges: Arc::default(),
            acme: AcmeStatus::default(),
        }
    }

    /// What is served now; it does not change in the hands of its reader.
    pub fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Records what is served from now on. Only the reloader calls it.
    pub fn set_served(&self, served: Served) {
        self.served.store(Arc::new(served));
    }

    /// Records the result of an attempt to serve a newer revision.
    pub fn set_last_reload(&self, report: Arc<ReloadReport>) {
        if report.outcome.is_ok() {
            self.loaded_at.store(unix_millis(report.at), Ordering::Relaxed);
        }
        self.last_reload.store(Some(report));
    }

    /// When a configuration or certificates were loaded successfully last, in seconds since 1970; at first, that is the start.
    pub fn loaded_at(&self) -> f64 {
        self.loaded_at.load(Ordering::Relaxed) as f64 / 1e3
    }

    /// Passes a request on to the reloader. It is lost with a warning while there is no reloader: before the workers run,
    /// and at the end of the process.
    pub fn request_reload(&self, request: ReloadRequest) {
        // first: a hand-over that does not count this request yet has made the reloader refuse it already
        self.reloads_requested.fetch_add(1, Ordering::SeqCst);
        if self.reload_requests.get().is_none_or(|reloader| reloader.send(request).is_err()) {
            tracing::warn!("reload request dropped: the gateway is not serving");
        }
    }

    /// Answers an event that comes while the process ends or has handed over: the log says why nothing is done.
    pub fn refuse(&self, event: ControlEvent) {
        match event {
            // the reloader refuses, and says why
            ControlEvent::Reload => self.request_reload(ReloadRequest::by_signal()),
            ControlEvent::HandOver(reply) => {
                let why = match self.successor.get() {
                    Some(pid) => format!("process {pid} serves now, ask that one"),
                    None => format!("the gateway is {}", self.phase.get().word()),
                };
                tracing::warn!("hand-over refused: {why}");
                answer(reply, Err(why));
            }
            ControlEvent::UndoDrain(reply) => {
                let why = match self.successor.get() {
                    Some(pid) => format!("process {pid} serves now, and this one ends after a hand-over"),
                    None => {
                        "the process ends, by a signal or because it can't serve: start it again".to_owned()
                    }
                };
                tracing::warn!("drain not taken back: {why}");
                answer(Some(reply), Err(why));
            }
            ControlEvent::Drain | ControlEvent::End => tracing::info!("the drain is under way already"),
        }
    }

    /// Accepted connections of all workers that are open now, and what may outlive them.
    pub fn connections(&self) -> i64 {
        self.metrics.iter().map(|worker| worker.connections.get()).sum()
    }

    /// How many sessions of a kind are open now. Of WHIP and WHEP, the gateway knows those that it remembers.
    pub fn active_sessions(&self, route: Route, role: Role) -> i64 {
        let remembered = |kind: usize| {
            let all = self.worker_queries.get().map(WorkerQueries::whip_sessions).unwrap_or_default();
            i64::try_from(all[kind]).unwrap_or(i64::MAX)
        };
        let active = |worker: &WorkerMetrics| worker.sessions_active[route as usize][role as usize].get();
        match route {
            Route::Whip => remembered(0),
            Route::Whep => remembered(1),
            Route::TwoStep | Route::OneStep => self.metrics.iter().map(|worker| active(worker)).sum(),
        }
    }

    /// Sessions of all workers that are open now.
    pub fn sessions(&self) -> i64 {
        self.metrics.iter().map(|worker| worker.sessions()).sum()
    }

    /// The driver of the workers, `io_uring` or `epoll`; `none` before they run.
    pub fn driver(&self) -> &'static str {
        self.driver_name.get().copied().unwrap_or("none")
    }
}

fn unix_millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, millis)
}

/// Sends the outcome of a request to the admin listener, if the request came from there and still waits.
pub fn answer<T>(reply: Option<Reply<T>>, outcome: Result<T, String>) {
    if let Some(reply) = reply {
        let _ = reply.send(outcome);
    }
}

impl std::fmt::Debug for ProcessState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessState")
            .field("phase", &self.phase.get())
            .field("workers", &self.metrics.len())
            .field("revision", &self.served().revision)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_goes_forward_and_only_a_drain_back() {
        let cell = PhaseCell::default();
        assert_eq!(cell.get(), Phase::Starting);
        cell.undo_drain();
        assert_eq!(cell.get(), Phase::Starting);
        cell.advance(Phase::Draining);
        cell.advance(Phase::Serving);
        assert_eq!(cell.get(), Phase::Draining);
        cell.undo_drain();
        assert_eq!(cell.get(), Phase::Serving);
        cell.advance(Phase::Stopped);
        cell.undo_drain();
        assert_eq!(cell.get().word(), "stopped");
    }
}
