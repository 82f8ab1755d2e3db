//! WHIP and WHEP: requests are forwarded to the node that has, or will have, the WHIP session, and its answers come back.
//!
//! A POST creates a WHIP session, which is remembered. PATCH and DELETE then reach the node that created it, whether the
//! client follows the `Location` with the gateway's handle, repeats the `Session-Host`, or does neither.

use crate::metrics::DialOutcome;
use crate::proto::admission::Admitted;
use crate::proto::http::cors::PageOrigin;
use crate::proto::http::forward_fields::{Fields, NodeRequest};
use crate::proto::http::head::{self, BodyLength};
use crate::proto::red5::location;
use crate::proto::red5::params::Host;
use crate::proto::red5::route::{Step, WhipRoute};
use crate::proto::red5::whip::{Api, Handle, Method, Request, allowed, check_body};
use crate::proto::refusal::Refusal;
use crate::shared::limits::SessionPermit;
use crate::shared::whip_sessions::WhipSession;
use crate::worker::http::response::{self, Shape};
use crate::worker::io::disconnect::{CloseNotify, until_disconnect};
use crate::worker::io::runtime;
use crate::worker::local::state::Worker;
use crate::worker::local::task::guarded;
use crate::worker::node::connect::{self, DialFault};
use crate::worker::node::exchange::{self, Answered, ExchangeFault, ExchangeLimits};
use crate::worker::node::placement::{self, DialCount, Failed, Retry, TryLimits, Unserved};
use crate::worker::session::client::Client;
use crate::worker::session::context::Session;
use futures_channel::oneshot;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The methods of a WHIP session, as the value of `Access-Control-Allow-Methods` in answers to an OPTIONS that is no preflight.
/// WHIP libraries look there for PATCH before they trickle, and split at commas only.
const METHODS: &str = "OPTIONS,POST,PATCH,DELETE";

/// How long finding a node and creating a WHIP session on it may take. SDKs wait longer for this than for a WebSocket.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(15);

/// A request to a WHIP or WHEP route, checked.
pub(crate) struct WhipRequest {
    request: Request,
    method: Method,
    fields: Fields,
    /// Whether the method takes no body, and whether it takes one of this type. A chunked body may turn out to be empty.
    takes_empty: Result<(), Refusal>,
    takes_body: Result<(), Refusal>,
    /// The node that the client named.
    named: Option<Admitted>,
}

/// What is to be done for a request.
pub(crate) enum Planned {
    /// It is a browser's preflight, which the gateway answers with these methods.
    Preflight(&'static str),
    /// It is forwarded to a node.
    NodeRequest(Box<WhipRequest>),
}

/// Checks a request. Dials nothing. The error names the methods that a 405 allows, else nothing.
pub(crate) fn plan(
    session: &Session,
    request: &head::Request<'_>,
    route: &WhipRoute<'_>,
    page: PageOrigin,
) -> Result<Planned, (Refusal, &'static str)> {
    let plain = |refusal: Refusal| (refusal, "");
    let method = Method::read(request.method, route).map_err(|allow| (Refusal::MethodNotAllowed, allow))?;
    if method == Method::Options && request.acr_method.is_some() {
        return Ok(Planned::Preflight(allowed(route)));
    }
    if page == PageOrigin::Foreign {
        return Err(plain(Refusal::CrossSite));
    }
    let revision = session.revision();
    let group = revision.config.stream_manager.node_group.as_deref().unwrap_or_default();
    let whip = Request::read(route, method, &revision.rules().params, group).map_err(plain)?;
    let takes = |empty| check_body(whip.kind, method, request.content_type, empty);
    let (takes_empty, takes_body) = (takes(true), takes(false));
    match request.body {
        BodyLength::None => takes_empty,
        BodyLength::Length(_) => takes_body,
        BodyLength::Chunked => takes_body.or(takes_empty),
    }
    .map_err(plain)?;
    let named = admit_named(session, &whip).map_err(plain)?;
    let mut fields = Fields::of(request, whip.api == Api::Two);
    fields.origin_header = placement::origin_header_for_node(session, request);
    let request = WhipRequest { request: whip, method, fields, takes_empty, takes_body, named };
    Ok(Planned::NodeRequest(Box::new(request)))
}

/// Admits the node that the client names, if it names one. A WHIP session lives longer than the knowledge about its node:
/// a client that repeats the node of a remembered WHIP session may do so for as long as that is remembered.
fn admit_named(session: &Session, request: &Request) -> Result<Option<Admitted>, Refusal> {
    let Some(host) = &request.host else { return Ok(None) };
    placement::admit(session, host).map(Some).or_else(|refusal| match (remembered(session, request), host) {
        (Some(whip_session), Host::Address(address)) if whip_session.node == *address => {
            session.revision().admit(whip_session.node, true).map(Some)
        }
        _ => Err(refusal),
    })
}

/// The WHIP session that a request is about. A handle leads only to the WHIP session it was made for; a request without a
/// handle is about the newest one of its name.
fn remembered(session: &Session, request: &Request) -> Option<Arc<WhipSession>> {
    if request.step == Step::Endpoint {
        return None;
    }
    let (whip_sessions, key) = (&session.worker.gateway.whip_sessions, request.affinity_key());
    match request.handle {
        Some(handle) => whip_sessions.by_handle(handle, &key),
        None => whip_sessions.by_key(&key, session.peer.ip()),
    }
}

/// The target at the node for a request about a remembered WHIP session. Only the handle, which can't be guessed, stands for
/// the node's own resource, which may be as secret. A request without it gets what its name would get at the node.
fn target_at_node(request: &Request, whip_session: &WhipSession) -> String {
    match request.handle {
        Some(_) => request.resource_target(&whip_session.at_node),
        None => request.node_target(),
    }
}

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
        let gateway = &session.worker.gateway;
        let (request, named) = (&self.whip.request, self.whip.named);
        let is_there = |whip_session: &Arc<WhipSession>| {
            request.handle.is_some() || named.is_none_or(|named| named.address().ip() == whip_session.node)
        };
        let remembered = remembered(session, request).filter(is_there);
        let (admitted, target) = match (&remembered, named) {
            (Some(whip_session), _) => {
                // it was admitted when the WHIP session was created, by whatever rule
                let admitted = session.revision().admit_configured(whip_session.node);
                (admitted.map_err(Unserved::Refused)?, target_at_node(request, whip_session))
            }
            (None, Some(named)) => (named, request.node_target()),
            (None, None) => return Err(Unserved::Refused(Refusal::NoSuchResource)),
        };
        let answer = self.try_named(client, &admitted, &target).await;
        let is_over = matches!(&answer, Ok((status, _)) if matches!(status, 200..=299 | 404 | 410));
        // an answer about another resource of the node says nothing about the WHIP session
        let is_asked =
            |whip_session: &Arc<WhipSession>| target == request.resource_target(&whip_session.at_node);
        if let Some(whip_session) = remembered.filter(is_asked)
            && self.whip.method == Method::Delete
            && is_over
        {
            gateway.whip_sessions.forget(&whip_session);
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
        let metrics = &session.worker.metrics;
        let started = Instant::now();
        let head = head_for_node(session.peer, whip, &admitted, target, self.body);
        if !connect::takes_head(head.len()) {
            return Err(Failed { why: Unserved::Refused(Refusal::HeadTooLarge), reached: true });
        }
        let limits = ExchangeLimits { connect_timeout, ..exchange_limits(session) };
        let mut count = DialCount { metrics, outcome: DialOutcome::Cancelled };
        let answered =
            start(session, self.permit, whip, &admitted, limits, [&head, self.body].concat()).await;
        metrics.dial.observe(started.elapsed());
        let fault = match answered.unwrap_or(Err(DialFault::Broken)) {
            Ok(answered) if matches!(answered.status, 200..=299 | 400..=599) => {
                count.outcome = DialOutcome::Connected;
                session.worker.gateway.nodes.mark_answered(admitted.address().ip());
                return answer_for_client(session, self.shape, whip, &admitted, answered)
                    .map_err(|refusal| Failed { why: Unserved::Refused(refusal), reached: true });
            }
            // a redirect would lead the client past the gateway
            Ok(_) => DialFault::BadHandshake(None),
            Err(fault) => fault,
        };
        count.outcome = fault.outcome();
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
    limits: ExchangeLimits,
    request: Vec<u8>,
) -> oneshot::Receiver<Result<Answered, DialFault>> {
    let (admitted, worker) = (*admitted, Rc::clone(&session.worker));
    let undo = (whip.method == Method::Post).then(|| Undo::new(session.peer, whip, &admitted));
    let (sender, answer) = oneshot::channel();
    let (metrics, permit) = (Arc::clone(&session.worker.metrics), permit.cloned());
    runtime::spawn(guarded(metrics, async move {
        let (answered, sock, accepted) = match exchange::exchange(&admitted, &request, limits).await {
            Ok((answered, sock)) => (Ok(answered), Some(sock), None),
            Err(ExchangeFault { fault, accepted }) => (Err(fault), None, accepted),
        };
        let made = match sender.send(answered) {
            Err(Ok(answered)) if matches!(answered.status, 200..=299) => Some(answered.location),
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

fn exchange_limits(session: &Session) -> ExchangeLimits {
    let revision = session.revision();
    let config = &revision.config;
    ExchangeLimits {
        connect_timeout: config.origins.connect_timeout,
        answer_timeout: config.origins.answer_timeout,
        head_size_max: config.limits.head_size.max(connect::HEAD_LIMITS.head_size_max),
        body_max: config.limits.body_max as u64,
    }
}

/// The head of the request to the node.
fn head_for_node(
    client: SocketAddr,
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
        client,
        body: length,
        close: true,
        fields: whip.fields.clone(),
    };
    forward.head()
}

/// What is needed to delete a WHIP session that no client will use.
struct Undo {
    client: SocketAddr,
    request: Request,
    node: SocketAddr,
    fields: Fields,
}

impl Undo {
    fn new(client: SocketAddr, whip: &WhipRequest, admitted: &Admitted) -> Self {
        let (request, fields) = (whip.request.clone(), whip.fields.bodiless());
        Self { client, request, node: admitted.address(), fields }
    }

    /// Sends the DELETE to the node. `location` is the one of the node's answer; without a usable one the DELETE goes to
    /// the usual target.
    async fn run(
        &self,
        worker: &Worker,
        admitted: &Admitted,
        location: Option<&[u8]>,
        limits: ExchangeLimits,
    ) {
        let at_node = location::at_node(location, &self.request);
        let target = at_node.unwrap_or_else(|_| location::default_at_node(&self.request));
        let forward = NodeRequest {
            method: Method::Delete.word(),
            target: &self.request.resource_target(&target),
            node: self.node,
            client: self.client,
            body: BodyLength::None,
            close: true,
            fields: self.fields.clone(),
        };
        let outcome = match exchange::exchange(admitted, &forward.head(), limits).await {
            Ok((_, sock)) => {
                exchange::await_end(sock).await;
                DialOutcome::Connected
            }
            Err(ExchangeFault { fault, .. }) => fault.outcome(),
        };
        worker.metrics.dials[outcome as usize].add(1);
    }
}

/// The node's answer as the client gets it: status and bytes. A WHIP session that it created is remembered.
fn answer_for_client(
    session: &Session,
    shape: &Shape,
    whip: &WhipRequest,
    admitted: &Admitted,
    answered: Answered,
) -> Result<(u16, Vec<u8>), Refusal> {
    let mut fields: Vec<(&str, &str)> =
        answered.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let success = matches!(answered.status, 200..=299);
    let location = match success && whip.method == Method::Post {
        true => Some(remember(session, whip, admitted, answered.location.as_deref())?),
        false => None,
    };
    if let Some(location) = &location {
        fields.push(("Location", location));
    }
    if success && whip.method == Method::Options {
        fields.extend([("Allow", METHODS), ("Access-Control-Allow-Methods", METHODS)]);
    }
    let host = location::session_host(admitted.address());
    if success && whip.request.step == Step::Endpoint {
        fields.push(("Session-Host", &host));
    }
    // a drain may have begun meanwhile
    let shape = Shape { close: shape.close || session.is_leaving(), ..shape.clone() };
    Ok((answered.status, response::write(&shape, answered.status, &fields, &answered.body)))
}

/// Remembers a WHIP session. The result is the `Location` that the client gets. When the node's `location` is unusable,
/// the WHIP session is deleted again and the client gets a refusal.
fn remember(
    session: &Session,
    whip: &WhipRequest,
    admitted: &Admitted,
    location: Option<&[u8]>,
) -> Result<String, Refusal> {
    let gateway = &session.worker.gateway;
    let mut random = [0; 16];
    let secure = session.revision().tls.crypto_provider().secure_random.fill(&mut random);
    let at_node = secure
        .map_err(|_| Refusal::Overloaded)
        .and_then(|()| location::at_node(location, &whip.request).map_err(|unusable| unusable.refusal()));
    let at_node = at_node.inspect_err(|_| {
        let undo = Undo::new(session.peer, whip, admitted);
        let (worker, admitted, limits) = (Rc::clone(&session.worker), *admitted, exchange_limits(session));
        let metrics = Arc::clone(&worker.metrics);
        let location = location.map(<[u8]>::to_vec);
        let run = async move { undo.run(&worker, &admitted, location.as_deref(), limits).await };
        runtime::spawn(guarded(metrics, run));
    })?;
    let handle = Handle::new(random);
    let key = whip.request.affinity_key();
    let at_node = whip.request.with_request_id(at_node);
    let (node, client) = (admitted.address().ip(), session.peer.ip());
    gateway.whip_sessions.remember(WhipSession { node, at_node, handle, key, client });
    Ok(location::for_client(&whip.request, handle))
}
