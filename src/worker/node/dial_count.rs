//! Tries at nodes: counted when they are over, and noted in the record of their session.

use crate::metrics::nodes::NodeMetrics;
use crate::metrics::{DialOutcome, WorkerMetrics};
use crate::proto::admission::Admitted;
use crate::shared::node_metrics::NodeSession;
use crate::shared::record::Event;
use crate::worker::local::state::Worker;
use crate::worker::node::connect::DialFault;
use crate::worker::session::context::Session;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Counts a dial when it is over, or when it is given up.
pub(crate) struct DialCount {
    worker: Arc<WorkerMetrics>,
    node: Arc<NodeMetrics>,
    began: Instant,
    ended: Option<(DialOutcome, Duration)>,
}

impl DialCount {
    /// Begins to count a dial of `node`.
    pub(crate) fn begin(worker: &Worker, node: IpAddr) -> Self {
        Self {
            worker: Arc::clone(&worker.metrics),
            node: worker.gateway.node_metrics.of(node),
            began: Instant::now(),
            ended: None,
        }
    }

    /// Notes how the dial ended, just now. A dial that never ends was cancelled.
    pub(crate) fn end(&mut self, outcome: DialOutcome) {
        self.ended = Some((outcome, self.began.elapsed()));
    }

    /// Counts a session at the node until the result is dropped.
    pub(crate) fn count_session(&self) -> NodeSession {
        NodeSession::begin(Arc::clone(&self.node))
    }

    /// The dial as an event of a record. `status` is that of an answer that is not what was asked for.
    pub(crate) fn event(&self, node: SocketAddr, status: Option<u16>) -> Event<'static> {
        let (outcome, took) = self.ended.unwrap_or_else(|| (DialOutcome::Cancelled, self.began.elapsed()));
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Event::Tried { node, outcome, status, took }
    }
}

impl Drop for DialCount {
    fn drop(&mut self) {
        let (outcome, took) = self.ended.unzip();
        let outcome = outcome.unwrap_or(DialOutcome::Cancelled);
        self.worker.dials[outcome as usize].add(1);
        took.inspect(|took| self.worker.dial.observe(*took));
        self.node.count_dial(outcome, took);
    }
}

/// A try at a node for a session. It is counted and noted when it is over, also if it is given up: then the client left, or
/// another node was faster.
pub(crate) struct Attempt<'s> {
    session: &'s Session,
    node: SocketAddr,
    count: DialCount,
    status: Option<u16>,
}

impl<'s> Attempt<'s> {
    /// A try that begins now.
    pub(crate) fn begin(session: &'s Session, admitted: &Admitted) -> Self {
        let node = admitted.address();
        Self { session, node, count: DialCount::begin(&session.worker, node.ip()), status: None }
    }

    /// Notes how it ended, just now.
    pub(crate) fn end(&mut self, outcome: DialOutcome) {
        self.count.end(outcome);
    }

    /// Notes that the node did not serve the request.
    pub(crate) fn fault(&mut self, fault: DialFault) {
        self.count.end(fault.outcome());
        self.status = fault.status();
    }

    /// Counts a session at the node until the result is dropped.
    pub(crate) fn count_session(&self) -> NodeSession {
        self.count.count_session()
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.session.note(&self.count.event(self.node, self.status));
    }
}
