//! What a page of `/metrics` is made of.

use crate::metrics::labels::Route;
use crate::metrics::managers::ManagerMetrics;
use crate::metrics::nodes::NodeRow;
use crate::metrics::spans::SpanOutcome;
use crate::metrics::state::ProcessFacts;
use crate::metrics::worker::WorkerMetrics;
use crate::proto::red5::role::Role;
use std::sync::Arc;

/// What the page shows beside the counters of the workers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The driver that the workers run on: `io_uring` or `epoll`.
    pub driver: String,
    /// WHIP and WHEP sessions that are remembered, in this order.
    pub whip_sessions: [usize; 2],
    /// The number of the revision that is served.
    pub revision: u64,
    /// What the kernel counts for this process.
    pub process: Process,
    /// Log lines that were lost since the start.
    pub log_lines_lost: u64,
    /// The stream managers that are configured now.
    pub managers: Vec<Arc<ManagerMetrics>>,
    /// Connections to the admin listener that the gateway ended, since the start.
    pub admin_cuts: AdminCuts,
    /// What is known of the process as a whole.
    pub state: ProcessFacts,
    /// What became of spans.
    pub spans: Vec<(SpanOutcome, u64)>,
    /// The nodes.
    pub nodes: Vec<NodeRow>,
}

/// Connections to the admin listener that the gateway ended, by reason.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdminCuts {
    /// Nothing was sent to them for too long.
    pub timeout: u64,
    /// They made room for newer ones.
    pub limit: u64,
}

/// What the kernel counts for this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// File descriptors that are open.
    pub open_files: u64,
    /// File descriptors that may be open.
    pub files_max: u64,
    /// When the process started, in seconds since 1970.
    pub started_seconds: f64,
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
}

/// All kinds of sessions that there are: WHIP is for publishers only, and WHEP for subscribers.
pub fn session_kinds() -> impl Iterator<Item = (Route, Role)> {
    let all = Route::ALL.iter().flat_map(|route| Role::ALL.map(|role| (*route, role)));
    all.filter(|kind| !matches!(kind, (Route::Whip, Role::Subscriber) | (Route::Whep, Role::Publisher)))
}

/// What a page is made of.
#[derive(Debug)]
pub struct Page {
    /// The counters of all workers.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// What it shows beside them.
    pub facts: Facts,
}

impl Page {
    /// How many sessions of a kind are open now.
    pub fn active_sessions(&self, route: Route, role: Role) -> i64 {
        let remembered = |kind: usize| i64::try_from(self.facts.whip_sessions[kind]).unwrap_or(i64::MAX);
        match route {
            Route::Whip => remembered(0),
            Route::Whep => remembered(1),
            _ => {
                let active =
                    |worker: &WorkerMetrics| worker.sessions_active[route as usize][role as usize].get();
                self.workers.iter().map(|worker| active(worker)).sum()
            }
        }
    }
}
