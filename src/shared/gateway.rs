//! What all workers and the control side share: one value for the whole process.

use crate::metrics::WorkerMetrics;
use crate::shared::answers::Answers;
use crate::shared::limits::Limiter;
use crate::shared::revision::Revision;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// What an embedding program (the demo) answers to a GET for which the gateway has no route. It gets the request target,
/// query included. With `None` the request is refused as it is without a fallback. Workers call it, so it must not block.
pub type Fallback = Box<dyn Fn(&str) -> Option<FallbackAnswer> + Send + Sync>;

/// The answer of a [`Fallback`], sent with status 200.
#[derive(Debug, Clone)]
pub struct FallbackAnswer {
    /// Value of the `Content-Type` field.
    pub content_type: String,
    pub body: Vec<u8>,
}

/// Shared by workers and control, for as long as the process lives: what a reload must not lose.
pub struct Gateway {
    pub answers: Answers,
    pub(crate) whip_sessions: crate::shared::whip_sessions::WhipSessions,
    pub limiter: Limiter,
    pub metrics: Vec<Arc<WorkerMetrics>>,
    pub fallback: Option<Fallback>,
    /// For the control side; workers have a hold of their own.
    newest: ArcSwap<Revision>,
}

impl Gateway {
    /// Puts the shared value together.
    pub fn new(
        revision: Arc<Revision>,
        answers: Answers,
        metrics: Vec<Arc<WorkerMetrics>>,
        fallback: Option<Fallback>,
    ) -> Self {
        Self {
            whip_sessions: crate::shared::whip_sessions::WhipSessions::default(),
            limiter: Limiter::new(&revision.config.limits),
            answers,
            metrics,
            fallback,
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
