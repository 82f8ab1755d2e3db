//! WHIP and WHEP: requests are passed to the node that has, or will have, the session, and its answers back.
//!
//! A POST makes a session and is remembered; whatever the client then follows, the `Location` with our handle, the
//! `Session-Host` that it repeats, or nothing at all, PATCH and DELETE reach the node that made it.

use crate::metrics::DialOutcome;
use crate::proto::admission::Admitted;
use crate::proto::http::cors::PageOrigin;
use crate::proto::http::forward_fields::{Fields, NodeRequest};
use crate::proto::http::head;
use crate::proto::http::head::BodyLength;
use crate::proto::red5::location;
use crate::proto::red5::params::Host;
use crate::proto::red5::route::{Step, WhipRoute};
use crate::proto::red5::whip::{Api, Handle, Method, Request, allowed, check_body};
use crate::proto::refusal::Refusal;
use crate::shared::answers::Answer;
use crate::shared::gateway::Gateway;
use crate::shared::limits::SessionPermit;
use crate::shared::questions::CacheStatus;
use crate::shared::whip_sessions::WhipSession;
use crate::worker::http::response;
use crate::worker::http::response::Shape;
use crate::worker::io::client::Conn;
use crate::worker::io::disconnect::until_disconnect;
use crate::worker::local::task::guarded;
use crate::worker::node::connect::DialFault;
use crate::worker::node::exchange::{Answered, Patience};
use crate::worker::node::placement;
use crate::worker::node::placement::{Found, Search};
use crate::worker::node::{connect, exchange};
use crate::worker::session::context::Session;
use futures_channel::oneshot;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Finding a node and making a session on it; SDKs wait longer for this than for a WebSocket.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a client asked for, checked.
pub(crate) struct WhipRequest {
    request: Request,
    method: Method,
    fields: Fields,
    /// The node that the client named.
    named: Option<Admitted>,
}

/// Why there is no answer of a node.
pub(crate) enum Unserved {
    Refused(Refusal),
    /// The stream manager's own no, passed on.
    Answered(CacheStatus, Arc<Answer>),
    /// The client left.
    Gone,
}

/// A request is a browser's preflight, or one to be passed on.
pub(crate) enum Planned {
    Preflight(&'static str),
    Pass(Box<WhipRequest>),
}

/// Checks a request. Nothing is dialled here.
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
    let ask = Request::read(route, method, &revision.rules().params, group).map_err(plain)?;
    check_body(ask.kind, method, request.content_type, request.body == BodyLength::None).map_err(plain)?;
    let named = admit_named(session, &ask).map_err(plain)?;
    let mut fields = Fields::of(request, ask.api == Api::Two);
    fields.origin_header = placement::origin_for_node(session, request);
    Ok(Planned::Pass(Box::new(WhipRequest { request: ask, method, fields, named })))
}

/// The permit for the node that the client names. A session lives longer than what was learned: a client that repeats the
/// node of one that we know may do so as long as it lives.
fn admit_named(session: &Session, request: &Request) -> Result<Option<Admitted>, Refusal> {
    let Some(host) = &request.host else { return Ok(None) };
    let gateway = &session.worker.gateway;
    placement::admit(session, host).map(Some).or_else(|refusal| match (made(gateway, request), host) {
        (Some(made), Host::Address(address)) if made.node == *address => {
            session.revision().admit(made.node, true).map(Some)
        }
        _ => Err(refusal),
    })
}

/// The session that a request is about: a handle opens its own and no other; without one, the name finds the newest.
fn made(gateway: &Gateway, request: &Request) -> Option<Arc<WhipSession>> {
    if request.step == Step::Endpoint {
        return None;
    }
    match request.handle {
        Some(handle) => gateway
            .whip_sessions
            .by_handle(handle)
            .filter(|made| made.key.is_same_stream(&request.affinity_key())),
        None => gateway.whip_sessions.by_key(request.affinity_key()),
    }
}

/// A request on its way to a node.
pub(crate) struct Passing<'p> {
    pub session: &'p Session,
    /// Kept by everything that may outlive the client, so that those who leave at once do not get past the limits.
    pub place: Option<&'p Rc<SessionPermit>>,
    pub conn: &'p mut Conn,
    pub inbox: &'p mut Vec<u8>,
    pub shape: &'p Shape,
    pub ask: &'p WhipRequest,
    pub body: &'p [u8],
}

impl Passing<'_> {
    /// Passes the request to its node. Gives the status and the bytes for the client.
    pub(crate) async fn pass(mut self) -> Result<(u16, Vec<u8>), Unserved> {
        match self.ask.request.step {
            Step::Resource => self.on_resource().await,
            Step::Endpoint => self.on_endpoint().await,
        }
    }

    /// OPTIONS and POST: a node is found; one that can't be reached is replaced by another.
    async fn on_endpoint(&mut self) -> Result<(u16, Vec<u8>), Unserved> {
        let revision = self.session.revision();
        let request = &self.ask.request;
        let target = request.node_target();
        if let Some(named) = &self.ask.named {
            return self.try_node(named, &target).await.map_err(|(no, _)| no);
        }
        let question = request.question(revision.config.stream_manager.api.text());
        let question = question.ok_or(Unserved::Refused(Refusal::BadParams))?;
        let mut search = Search::new(self.session, &question, PATIENCE);
        let mut last = Refusal::OriginTimeout;
        loop {
            let admitted = match search.next(self.session, self.conn, self.inbox).await {
                Found::Node(admitted) => admitted,
                Found::NoMore => return Err(Unserved::Refused(last)),
                Found::Refused(refusal) => return Err(Unserved::Refused(refusal)),
                Found::Answered(by, answer) => return Err(Unserved::Answered(by, answer)),
                Found::Gone => return Err(Unserved::Gone),
            };
            match self.try_node(&admitted, &target).await {
                Err((Unserved::Refused(refusal), false)) => last = refusal,
                done => return done.map_err(|(no, _)| no),
            }
        }
    }

    /// PATCH and DELETE, and OPTIONS on a resource: only the node that made the session will do.
    async fn on_resource(&mut self) -> Result<(u16, Vec<u8>), Unserved> {
        let gateway = &self.session.worker.gateway;
        let (request, named) = (&self.ask.request, self.ask.named);
        let is_there = |made: &Arc<WhipSession>| {
            request.handle.is_some() || named.is_none_or(|named| named.address().ip() == made.node)
        };
        let made = made(gateway, request).filter(is_there);
        let (admitted, target) = match (&made, named) {
            (Some(made), _) => {
                // it was admitted when the session was made, however that came
                let revision = self.session.revision();
                let admitted = revision.admit_configured(made.node).map_err(Unserved::Refused)?;
                (admitted, request.resource_target(&made.at_node))
            }
            (None, Some(named)) => (named, request.node_target()),
            (None, None) => return Err(Unserved::Refused(Refusal::NoSuchResource)),
        };
        let done = self.try_node(&admitted, &target).await;
        let ended = matches!(&done, Ok((status, _)) if matches!(status, 200..=299 | 404 | 410));
        if let Some(made) = made.filter(|_| self.ask.method == Method::Delete && ended) {
            gateway.whip_sessions.forget(&made);
        }
        done.map_err(|(no, _)| no)
    }

    /// One exchange with one node. In the error the flag says whether bytes may have reached it.
    async fn try_node(
        &mut self,
        admitted: &Admitted,
        target: &str,
    ) -> Result<(u16, Vec<u8>), (Unserved, bool)> {
        let (session, ask) = (self.session, self.ask);
        let metrics = &session.worker.metrics;
        let started = Instant::now();
        let head = head_for(session.peer, ask, admitted, target, self.body);
        if !connect::takes_head(head.len()) {
            return Err((Unserved::Refused(Refusal::HeadTooLarge), true));
        }
        let mut answer = start(session, self.place, ask, admitted, [&head, self.body].concat());
        let answered =
            until_disconnect(self.conn, self.inbox, None, |cx| Pin::new(&mut answer).poll(cx)).await;
        let Some(answered) = answered else {
            metrics.dials[DialOutcome::Cancelled as usize].add(1);
            return Err((Unserved::Gone, true));
        };
        metrics.dial.observe(started.elapsed());
        let fault = match answered.unwrap_or(Err(DialFault::Broken)) {
            Ok(answered) if matches!(answered.status, 200..=299 | 400..=599) => {
                metrics.dials[DialOutcome::Connected as usize].add(1);
                return for_client(session, self.shape, ask, admitted, answered).map_err(|no| (no, true));
            }
            // a redirect would lead the client past the gateway
            Ok(_) => DialFault::BadHandshake(None),
            Err(fault) => fault,
        };
        metrics.dials[fault.outcome() as usize].add(1);
        Err((Unserved::Refused(placement::blame(session, admitted, fault)), fault.reached()))
    }
}

/// Sends the request in a task of its own. When the client has left before a session was made, the session is deleted
/// again: its name has to be free for the next one.
fn start(
    session: &Session,
    place: Option<&Rc<SessionPermit>>,
    ask: &WhipRequest,
    admitted: &Admitted,
    request: Vec<u8>,
) -> oneshot::Receiver<Result<Answered, DialFault>> {
    let patience = patience(session);
    let (admitted, worker) = (*admitted, Rc::clone(&session.worker));
    let delete = (ask.method == Method::Post).then(|| Undo::new(session.peer, ask, &admitted));
    let (tell, answer) = oneshot::channel();
    let (metrics, place) = (Arc::clone(&session.worker.metrics), place.cloned());
    monoio::spawn(guarded(metrics, async move {
        let _place = place;
        let answered = exchange::exchange(&admitted, &request, patience).await;
        if let (Err(Ok(answered)), Some(undo)) = (tell.send(answered), delete)
            && matches!(answered.status, 200..=299)
        {
            undo.run(&worker, &admitted, answered.location.as_deref(), patience).await;
        }
    }));
    answer
}

fn patience(session: &Session) -> Patience {
    let revision = session.revision();
    let config = &revision.config;
    Patience {
        connect: config.origins.connect_timeout,
        answer: config.limits.body_timeout,
        body_max: config.limits.body_max as u64,
    }
}

/// The head of the request to the node.
fn head_for(
    client: SocketAddr,
    ask: &WhipRequest,
    admitted: &Admitted,
    target: &str,
    body: &[u8],
) -> Vec<u8> {
    let length = if body.is_empty() { BodyLength::None } else { BodyLength::Length(body.len() as u64) };
    let node_request = NodeRequest {
        method: ask.method.word(),
        target,
        node: admitted.address(),
        client,
        body: length,
        close: true,
        fields: ask.fields.clone(),
    };
    node_request.head()
}

/// How to delete a session that nobody wants any more.
struct Undo {
    client: SocketAddr,
    request: Request,
    node: SocketAddr,
    fields: Fields,
}

impl Undo {
    fn new(client: SocketAddr, ask: &WhipRequest, admitted: &Admitted) -> Self {
        Self { client, request: ask.request.clone(), node: admitted.address(), fields: ask.fields.bodiless() }
    }

    async fn run(
        &self,
        worker: &crate::worker::local::state::Worker,
        admitted: &Admitted,
        location: Option<&str>,
        patience: Patience,
    ) {
        let at_node = location::at_node(location, &self.request);
        let target = at_node.unwrap_or_else(|_| location::default_at_node(&self.request));
        let node_request = NodeRequest {
            method: Method::Delete.word(),
            target: &self.request.resource_target(&target),
            node: self.node,
            client: self.client,
            body: BodyLength::None,
            close: true,
            fields: self.fields.clone(),
        };
        let outcome = match exchange::exchange(admitted, &node_request.head(), patience).await {
            Ok(_) => DialOutcome::Connected,
            Err(fault) => fault.outcome(),
        };
        worker.metrics.dials[outcome as usize].add(1);
    }
}

/// The node's answer as the client gets it; a new session is remembered.
fn for_client(
    session: &Session,
    shape: &Shape,
    ask: &WhipRequest,
    admitted: &Admitted,
    answered: Answered,
) -> Result<(u16, Vec<u8>), Unserved> {
    let mut fields: Vec<(&str, &str)> =
        answered.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let success = matches!(answered.status, 200..=299);
    let made = match success && ask.method == Method::Post {
        true => Some(remember(session, ask, admitted, answered.location.as_deref())?),
        false => None,
    };
    if let Some(location) = &made {
        fields.push(("Location", location));
    }
    let host = location::session_host(admitted.address());
    if success && ask.request.step == Step::Endpoint {
        fields.push(("Session-Host", &host));
    }
    // a drain may have begun meanwhile
    let shape = Shape { close: shape.close || session.is_leaving(), ..shape.clone() };
    Ok((answered.status, response::write(&shape, answered.status, &fields, &answered.body)))
}

/// Remembers a session and gives the `Location` that the client gets.
fn remember(
    session: &Session,
    ask: &WhipRequest,
    admitted: &Admitted,
    location: Option<&str>,
) -> Result<String, Unserved> {
    let gateway = &session.worker.gateway;
    let at_node = location::at_node(location, &ask.request).map_err(|unusable| {
        let undo = Undo::new(session.peer, ask, admitted);
        let (worker, admitted, patience) = (Rc::clone(&session.worker), *admitted, patience(session));
        let metrics = Arc::clone(&worker.metrics);
        let run = async move { undo.run(&worker, &admitted, None, patience).await };
        monoio::spawn(guarded(metrics, run));
        Unserved::Refused(unusable.refusal())
    })?;
    let mut random = [0; 16];
    let secure = session.revision().tls.crypto_provider().secure_random.fill(&mut random);
    secure.map_err(|_| Unserved::Refused(Refusal::Overloaded))?;
    let handle = Handle::new(random);
    let key = ask.request.affinity_key();
    let at_node = ask.request.with_request_id(at_node);
    gateway.whip_sessions.remember(WhipSession { node: admitted.address().ip(), at_node, handle, key });
    Ok(location::for_client(&ask.request, handle))
}
