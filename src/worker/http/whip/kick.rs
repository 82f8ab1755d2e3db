//! Ends a WHIP session that its client goes on with, by order of the operator.

use crate::metrics::{DialOutcome, WhipEnd};
use crate::proto::http::forward_fields::{Fields, NodeRequest};
use crate::proto::http::head::BodyLength;
use crate::proto::red5::whip::Method;
use crate::shared::whip_sessions::WhipSession;
use crate::worker::http::whip::undo::limits_of;
use crate::worker::io::runtime;
use crate::worker::local::state::Worker;
use crate::worker::local::task::guarded;
use crate::worker::node::dial_count::DialCount;
use crate::worker::node::exchange::{self, ExchangeFault};
use crate::worker::session::{request_trace, whip_end};
use futures_channel::mpsc::UnboundedSender;
use std::rc::Rc;
use std::sync::Arc;

/// Sends the DELETE of a WHIP session to its node in a task of its own, and replies with the status of the answer; with `None`
/// if the node gave none. The session is out of the table already, and it has ended whatever the node says.
pub(crate) fn kick(worker: &Rc<Worker>, session: Arc<WhipSession>, reply: UnboundedSender<Option<u16>>) {
    let metrics = Arc::clone(&worker.metrics);
    let worker = Rc::clone(worker);
    runtime::spawn(guarded(metrics, async move {
        let status = delete(&worker, &session).await;
        whip_end::end(&worker, &session, WhipEnd::Kicked);
        // the operator may have stopped waiting
        let _ = reply.unbounded_send(status);
    }));
}

/// Deletes the session at its node.
async fn delete(worker: &Worker, session: &WhipSession) -> Option<u16> {
    let revision = worker.newest();
    let admitted = revision.admit_configured(session.node).ok()?;
    let mut count = DialCount::begin(worker, session.node);
    let request = NodeRequest {
        method: Method::Delete.word(),
        target: &session.at_node,
        node: admitted.address(),
        client: (session.client, 0).into(),
        body: BodyLength::None,
        close: true,
        fields: Fields::default().with_trace(request_trace::fields_of_whip_session(session)),
    };
    let answered = exchange::exchange(&admitted, &request.head(), limits_of(&revision.config)).await;
    let (outcome, answered) = match answered {
        Ok(answered) => (DialOutcome::Connected, Some(answered)),
        Err(ExchangeFault { fault, .. }) => (fault.outcome(), None),
    };
    count.end(outcome);
    let status = answered.as_ref().map(|(answered, _)| answered.status);
    session.note(&count.event(admitted.address(), status));
    if let Some((_, sock)) = answered {
        runtime::spawn(exchange::await_end(sock));
    }
    status
}
