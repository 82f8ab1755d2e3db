//! The one value of the process that all workers and control share.

use crate::config::Config;
use crate::metrics::{SpanOutcome, WorkerMetrics};
use crate::shared::answers::{Answer, Answers};
use crate::shared::limits::Limiter;
use crate::shared::node_faults::NodeFaults;
use crate::shared::node_metrics::NodeTable;
use crate::shared::nodes::{ManagerId, Nodes};
use crate::shared::questions::{Question, Questions};
use crate::shared::refusal_throttle::SharedThrottle;
use crate::shared::revision::Revision;
#[cfg(feature = "otel")]
use crate::shared::spans::{ExporterCommand, Spans};
use crate::shared::whip_sessions::WhipSessions;
use arc_swap::ArcSwap;
use futures_channel::mpsc::UnboundedReceiver;
use std::sync::Arc;

/// What an embedding program (the demo) answers to a GET for which the gateway has no route. It gets the request target,
/// query included. With `None` the request is refused as it is without a fallback. Workers call it, so it must not block.
pub type Fallback = Box<dyn Fn(&str) -> Option<FallbackAnswer> + Send + Sync>;

/// The answer of a [`Fallback`], sent with status 200.
#[derive(Debug, Clone)]
pub struct FallbackAnswer {
    /// Value of the `Content-Type` field.
    pub content_type: String,
    /// The body, as it is sent.
    pub body: Vec<u8>,
}

/// What workers and control share for as long as the process lives: everything that a reload must not lose.
pub struct Gateway {
    /// Answers of the stream manager.
    pub answers: Answers,
    /// Learned nodes, and nodes that failed.
    pub nodes: Arc<Nodes>,
    /// What is counted of each node.
    pub node_metrics: NodeTable,
    /// Takes questions to the control thread.
    pub questions: Questions,
    /// Nodes that fail, for the log.
    pub(crate) node_faults: NodeFaults,
    /// How often refusals become log lines.
    pub(crate) refusal_throttle: SharedThrottle,
    /// Finished requests and sessions for the exporter of spans.
    #[cfg(feature = "otel")]
    pub(crate) spans: Spans,
    /// WHIP sessions, by handle and by name.
    pub(crate) whip_sessions: WhipSessions,
    /// Limits that hold for all workers together.
    pub limiter: Arc<Limiter>,
    /// One block of counters for each worker, by its index.
    pub metrics: Vec<Arc<WorkerMetrics>>,
    /// What an embedding program answers where no route matches.
    pub fallback: Option<Fallback>,
    /// The revision that was handed to the workers last, for the control side; each worker holds it too. Its number and
    /// configuration are those of the control side's record `Served`.
    newest: ArcSwap<Revision>,
}

impl Gateway {
    /// Makes the shared value, and the receiver from which the control thread takes questions.
    pub fn new(
        revision: Arc<Revision>,
        metrics: Vec<Arc<WorkerMetrics>>,
        fallback: Option<Fallback>,
    ) -> (Self, UnboundedReceiver<Question>) {
        let config = &revision.config;
        let (answers, nodes) = Answers::new(&config.answers, config.origins.quarantine);
        nodes.change_managers(manager_ids(config));
        let (questions, receiver) = Questions::channel();
        let gateway = Self {
            answers,
            nodes,
            node_metrics: NodeTable::default(),
            questions,
            node_faults: NodeFaults::default(),
            refusal_throttle: SharedThrottle::default(),
            #[cfg(feature = "otel")]
            spans: Spans::default(),
            whip_sessions: WhipSessions::default(),
            limiter: Arc::new(Limiter::new(&config.limits)),
            metrics,
            fallback,
            newest: ArcSwap::new(revision),
        };
        (gateway, receiver)
    }

    /// The newest revision, which new requests are served under.
    pub fn newest(&self) -> Arc<Revision> {
        self.newest.load_full()
    }

    /// What became of spans, by their outcome.
    pub fn span_counts(&self) -> Vec<(SpanOutcome, u64)> {
        #[cfg(feature = "otel")]
        let count = |outcome| self.spans.metrics.get(outcome);
        #[cfg(not(feature = "otel"))]
        let count = |_| 0;
        SpanOutcome::ALL.map(|outcome| (outcome, count(outcome))).to_vec()
    }

    /// Takes over the limits, sizes and times of a newer revision. The workers learn of it by a command.
    pub fn revise(&self, revision: &Arc<Revision>) {
        let config = &revision.config;
        self.limiter.change(&config.limits);
        self.answers.change(&config.answers);
        self.nodes.change(&config.answers, config.origins.quarantine);
        self.nodes.change_managers(manager_ids(config));
        self.newest.store(Arc::clone(revision));
        #[cfg(feature = "otel")]
        self.spans.command(ExporterCommand::Revised);
    }

    /// Whether a client that gets this answer can use it: it names no node, or one that is admitted now.
    pub(crate) fn leads_somewhere(&self, answer: &Answer) -> bool {
        let (revision, nodes) = (self.newest.load(), &answer.nodes);
        nodes.is_empty()
            || nodes.iter().any(|node| revision.admit(*node, self.nodes.is_learned(*node)).is_ok())
    }
}

fn manager_ids(config: &Config) -> Vec<ManagerId> {
    config.stream_manager.managers().iter().map(ManagerId::of).collect()
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}
