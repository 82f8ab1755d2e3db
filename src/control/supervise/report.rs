//! What the supervisor reports: why the process ends, its status line, and the summary at the end.

use crate::control::process::state::ProcessState;
use crate::proto::websocket::relay::{By, How};
use std::time::Duration;

/// How often workers are checked and the status line is sent to systemd. systemd's watchdog may ask for more often.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// How often a condition is checked while it is waited for.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Why the process stops serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGTERM or SIGINT.
    Signal,
    /// `POST /api/drain`.
    AdminRequest,
    /// A successor serves now.
    HandedOver,
    /// The predecessor ended before it handed over.
    Orphaned,
    /// The worker with this index ended by itself.
    WorkerExited(usize),
}

impl End {
    /// What began the drain at this end, in words.
    pub(crate) const fn drain_cause(self) -> &'static str {
        match self {
            Self::Signal => "by a signal (SIGTERM or SIGINT)",
            Self::AdminRequest => "as `tidegate drain` or a request at the admin listener asked",
            Self::HandedOver => "after an upgrade",
            Self::Orphaned => "because the process before this one ended early",
            Self::WorkerExited(_) => "because a worker ended",
        }
    }
}

/// Logs how many sessions the drain closed (`told`) and how many were cut, once the workers have ended.
pub fn log_summary(state: &ProcessState) {
    let ends = |how: How| -> u64 {
        state.metrics.iter().map(|worker| worker.ends[By::Gateway as usize][how as usize].get()).sum()
    };
    tracing::info!(told = ends(How::Drain), cut = ends(How::Cut), "ended");
}

/// The line for `systemctl status`.
pub(crate) fn status_line(state: &ProcessState) -> String {
    let (phase, sessions) = (state.phase.get().word(), state.sessions());
    let refused = state.last_reload.load().as_ref().is_some_and(|last| last.outcome.is_err());
    let note = if refused { "; the last reload was refused, the log says why" } else { "" };
    format!("{phase}: {sessions} sessions on {} workers ({}){note}", state.metrics.len(), state.driver())
}
