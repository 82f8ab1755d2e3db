//! Sends a request to its node and waits for the answer.

use crate::metrics::{DialOutcome, WhipEnd};
use crate::proto::admission::Admitted;
use crate::proto::http::forward_fields::NodeRequest;
use crate::proto::http::head::BodyLength;
use crate::proto::red5::route::Step;
use crate::proto::red5::whip::Method;
use crate::proto::refusal::Refusal;
use crate::shared::limits::SessionPermit;
use crate::worker::http::response::{self, Shape};
use crate::worker::http::whip::answer::answer_for_client;
use crate::worker::http::whip::plan::{METHODS, WhipRequest, target_at_node};
use crate::worker::http::whip::undo::{Undo, exchange_limits};
use crate::worker::io::disconnect::{CloseNotify, until_disconnect};
use crate::worker::io::runtime;
use crate::worker::local::task::guarded;
use crate::worker::node::connect::{self, DialFault, SERVER_ERROR};
use crate::worker::node::dial_count::Attempt;
use crate::worker::node::exchange::{self, Answered, ExchangeFault, ExchangeLimits};
use crate::worker::node::placement::{self, Failed, Retry, TryLimits, Unserved};
use crate::worker::session::client::Client;
use crate::worker::session::context::Session;
use crate::worker::session::whip_end;
use futures_channel::oneshot;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long finding a node and creating a WHIP session on it may take. SDKs wait longer for this than for a WebSocket.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(15);

/// A request on its way to a node.
pub(crate) struct Forwarding<'f> {
    /// Held by every task that may outlive the client, so that clients that leave at once do not get past the limits.
    pub permit: Option<&'f Rc<SessionPermit>>,
    pub shape: &'f Shape,
    pub whip: &'f WhipRequest,
    pub body: &'f [u8],
}

impl Forwarding<'_> {
    /// Forwards the request to its node. The result is the status and the whole answer for the client.
    pub(crate) async fn run(self, client: &mut Client<'_>) -> Result<(u16, Vec<u8>), Unserved> {
        let fits = if self.body.is_empty() { self.whip.takes_empty } else { self.whip.takes_body };
        fits.map_err(Unserved::Refused)?;
        match self.whip.request.step {
            Step::Resource => self.to_resource(client).await,
            Step::Endpoint => self.to_endpoint(client).await,
        }
    }

    /// OPTIONS and POST go to the named node or to one that a search finds. Another node is tried only while no byte of
    /// the request may have reached one.
    async fn to_endpoint(&self, client: &mut Client<'_>) -> Result<(u16, Vec<u8>), Unserved> {
        let revision = client.session.revision();
        let request = &self.whip.request;
        let target = request.node_target();
        if let Some(named) = &self.whip.named {
            return self.try_named(client, named, &target).await;
        }
        let question = request.question(revision.config.stream_manager.api.text());
        let question = question.ok_or(Unserved::Refused(Refusal::BadParams))?;
        let session = client.session;
        let try_node =
            |admitted, limits: TryLimits| self.try_node(session, admitted, &target, limits.connect_timeout);
        let found =
            placement::search(client, &question, SEARCH_TIMEOUT, Retry::UnlessReached, try_node).await;
        match found {
            Err(Unserved::Answered(_, answer)) if self.is_told_by_the_post(answer.status) => {
                Ok((204, self.options_without_node(client.session)))
            }
            found => found,
        }
    }

    /// Whether the client is better told by the answer to its POST that the manager has no node for it. SDK 15 shows this
    /// answer to an OPTIONS as a failed connection, and the same one to a POST as an invalid name.
    fn is_told_by_the_post(&self, status: u16) -> bool {
        self.whip.method == Method::Options && matches!(status, 404 | 409)
    }

    /// The answer to an OPTIONS for which there is no node that could be asked.
    fn options_without_node(&self, session: &Session) -> Vec<u8> {
        let shape = Shape { close: self.shape.close || session.is_leaving(), ..self.shape.clone() };
        let fields = [
            ("Allow", METHODS),
            ("Access-Control-Allow-Methods", METHODS),
            ("Accept-Post", "application/sdp"),
        ];
        response::write(&shape, 204, &fields, b"")
    }

    /// PATCH and DELETE, and OPTIONS on a resource, go only to the node that created the WHIP session.
    async fn to_resource(&self, client: &mut Client<'_>) -> Result<(u16, Vec<u8>), Unserved> {
        let session = client.session;
        let (request, named) = (&self.whip.request, self.whip.named);
        if let Some(whip_session) = self.whip.session.get() {
            session.join_trace(whip_session);
        }
        let (admitted, target) = match (self.whip.session.get(), named) {
            (Some(whip_session), _) => {
                // it was admitted when the WHIP session was created, by whatever rule
                let admitted = session.revision().admit_configured(whip_session.node);
                let admitted = admitted.inspect_err(|_| session.note_node(whip_session.node));
                (admitted.map_err(Unserved::Refused)?, target_at_node(request, whip_session))
            }
            (None, Some(named)) => (named, request.node_target()),
            (None, None) => return Err(Unserved::Refused(Refusal::NoSuchResource)),
        };
        let answer = self.try_named(client, &admitted, &target).await;
        if let Ok((status, _)) = &answer
            && self.whip.deleted_by(&target).is_some()
        {
            self.whip.ends.set(end_by(*status));
        }
        answer
    }

    /// One exchange with the only node that the request can go to.
    async fn try_named(
        &self,
        client: &mut Client<'_>,
        admitted: &Admitted,
        target: &str,
    ) -> Result<(u16, Vec<u8>), Unserved> {
        let session = client.session;
        let connect_timeout = session.revision().config.origins.connect_timeout;
        let mut tried = pin!(self.try_node(session, *admitted, target, connect_timeout));
        until_disconnect(client.conn, CloseNotify::Leaves, |cx| tried.as_mut().poll(cx))
            .await
            .map_or(Err(Unserved::ClientLeft), |answer| answer.map_err(|failed| failed.why))
    }

    /// One exchange with one node. Its outcome is counted, also when the future is dropped because the client left.
    async fn try_node(
        &self,
        session: &Session,
        admitted: Admitted,
        target: &str,
        connect_timeout: Duration,
    ) -> Result<(u16, Vec<u8>), Failed> {
        let whip = self.whip;
        let started = Instant::now();
        let head = head_for_node(session, whip, &admitted, target, self.body);
        if !connect::takes_head(head.len()) {
            return Err(Failed { why: Unserved::Refused(Refusal::HeadTooLarge), reached: true });
        }
        let limits = ExchangeLimits { connect_timeout, ..exchange_limits(session) };
        let mut attempt = Attempt::begin(session, &admitted);
        let answered =
            start(session, self.permit, whip, &admitted, target, (limits, [&head, self.body].concat())).await;
        let fault = match answered.unwrap_or(Err(DialFault::Broken)) {
            Ok(answered) if matches!(answered.status, 200..=299 | 400..=599) => {
                attempt.end(DialOutcome::Connected);
                session.worker.gateway.nodes.mark_answered(admitted.address().ip());
                let (faults, node) = (&session.worker.gateway.node_faults, admitted.address());
                match answered.status {
                    500.. => faults.failed(node, SERVER_ERROR),
                    _ => faults.served(node),
                }
                return answer_for_client(session, self.shape, whip, &admitted, answered)
                    .map_err(|refusal| Failed { why: Unserved::Refused(refusal), reached: true });
            }
            // a redirect would lead the client past the gateway
            Ok(_) => DialFault::BadHandshake(None),
            Err(fault) => fault,
        };
        attempt.fault(fault);
        let refusal = placement::blame(session, &admitted, fault, started);
        Err(Failed { why: Unserved::Refused(refusal), reached: fault.reached() })
    }
}

/// Sends the request in a task of its own. When the client has left before a WHIP session was created, or when the node
/// accepted the request and its answer is of no use, the task deletes the WHIP session again: its name has to be free for the
/// next client.
fn start(
    session: &Session,
    permit: Option<&Rc<SessionPermit>>,
    whip: &WhipRequest,
    admitted: &Admitted,
    target: &str,
    exchange: (ExchangeLimits, Vec<u8>),
) -> oneshot::Receiver<Result<Answered, DialFault>> {
    let (admitted, worker) = (*admitted, Rc::clone(&session.worker));
    let (limits, request) = exchange;
    let undo = (whip.method == Method::Post).then(|| Undo::new(session, whip, &admitted));
    let deleted = whip.deleted_by(target).map(Arc::clone);
    let (sender, answer) = oneshot::channel();
    let (metrics, permit) = (Arc::clone(&session.worker.metrics), permit.cloned());
    runtime::spawn(guarded(metrics, async move {
        let (answered, sock, accepted) = match exchange::exchange(&admitted, &request, limits).await {
            Ok((answered, sock)) => (Ok(answered), Some(sock), None),
            Err(ExchangeFault { fault, accepted }) => (Err(fault), None, accepted),
        };
        let unread = sender.send(answered).err().and_then(Result::ok);
        // a page that closes sends its DELETE and does not wait for the answer
        if let (Some(answered), Some(deleted)) = (&unread, deleted)
            && let Some(how) = end_by(answered.status)
        {
            whip_end::forget(&worker, &deleted, how);
        }
        let made = match unread {
            Some(answered) if matches!(answered.status, 200..=299) => Some(answered.location),
            _ => accepted.map(|accepted| accepted.location),
        };
        if let (Some(location), Some(undo)) = (made, undo) {
            undo.run(&worker, &admitted, location.as_deref(), limits).await;
        }
        drop(permit);
        if let Some(sock) = sock {
            exchange::await_end(sock).await;
        }
    }));
    answer
}

/// How a DELETE that its node answered with this status ends the WHIP session; `None` if it does not.
const fn end_by(status: u16) -> Option<WhipEnd> {
    match status {
        200..=299 => Some(WhipEnd::Deleted),
        404 | 410 => Some(WhipEnd::Gone),
        _ => None,
    }
}

/// The head of the request to the node.
fn head_for_node(
    session: &Session,
    whip: &WhipRequest,
    admitted: &Admitted,
    target: &str,
    body: &[u8],
) -> Vec<u8> {
    let length = if body.is_empty() { BodyLength::None } else { BodyLength::Length(body.len() as u64) };
    let forward = NodeRequest {
        method: whip.method.word(),
        target,
        node: admitted.address(),
        client: session.peer,
        body: length,
        close: true,
        fields: whip.fields.clone().with_trace(session.trace_fields()),
    };
    forward.head()
}
