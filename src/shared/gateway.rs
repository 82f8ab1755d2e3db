//! What all workers and the control side share: one value for the whole process.

use crate::metrics::WorkerMetrics;
use crate::shared::answers::Answers;
use crate::shared::limits::Limiter;
use crate::shared::revision::Revision;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// A page that an embedding program (the demo) serves beside the gateway's own routes. Not configurable.
#[derive(Debug, Clone)]
pub struct Page {
    /// Exact target, for example `/`.
    pub path: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// Shared by workers and control, for as long as the process lives: what a reload must not lose.
pub struct Gateway {
    pub answers: Answers,
    pub(crate) whip_sessions: crate::shared::whip_sessions::WhipSessions,
    pub limiter: Limiter,
    pub metrics: Vec<Arc<WorkerMetrics>>,
    pub pages: Vec<Page>,
    /// The revision that was handed to the workers last, for the control side; each worker holds it too. Its number and
    /// configuration are those of the control side's record `Served`.
    newest: ArcSwap<Revision>,
}

impl Gateway {
    /// Puts the shared value together.
    pub fn new(
        revision: Arc<Revision>,
        answers: Answers,
        metrics: Vec<Arc<WorkerMetrics>>,
        pages: Vec<Page>,
    ) -> Self {
        Self {
            whip_sessions: crate::shared::whip_sessions::WhipSessions::default(),
            limiter: Limiter::new(&revision.config.limits),
            answers,
            metrics,
            pages,
            newest: ArcSwap::new(revision),
        }
    }

    /// The newest revision.
    pub fn newest(&self) -> Arc<Revision> {
        self.newest.load_full()
    }

    /// A newer revision takes over what all workers share. The workers themselves are told by a command.
    pub fn revise(&self, revision: &Arc<Revision>) {
        let config = &revision.config;
        self.limiter.change(&config.limits);
        self.answers.change(&config.answers, config.origins.quarantine);
        self.newest.store(Arc::clone(revision));
    }
}
