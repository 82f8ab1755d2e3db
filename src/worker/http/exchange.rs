//! HTTP on a client connection: reads one request after the other and answers it as planned.

use crate::proto::http::head::{self, BodyLength};
use crate::proto::red5::route::{self, Priority};
use crate::proto::refusal::Refusal;
use crate::shared::gateway::FallbackAnswer;
use crate::shared::limits::{HandshakePermit, Idle, SessionPermit};
use crate::worker::http::body::BodyReading;
use crate::worker::http::plan::{Plan, Planned, Standing};
use crate::worker::http::response::{self, Answer, Shape};
use crate::worker::http::websocket::{self, WebSocketRequest};
use crate::worker::http::{body, event_api, plan, whip};
use crate::worker::io::client::Received;
use crate::worker::io::fairness;
use crate::worker::io::runtime;
use crate::worker::local::info::Activity;
use crate::worker::local::registry::ActiveGuard;
use crate::worker::node::placement::Unserved;
use crate::worker::relay::pump::RelayStart;
use crate::worker::session::client::Client;
use crate::worker::session::context::{HEAD_RECEIVE_MAX, Session, Woke};
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Instant;

/// Pipelined requests that are answered in a row before other tasks have their turn. Only a wait in the driver gives them
/// one: a task that wakes itself runs first (`docs/architecture.md`).
const PIPELINED_MAX: u32 = 16;

/// What follows a request.
pub(crate) enum Next {
    /// Another request on this connection.
    Request,
    /// The last answer was sent: the connection ends, and the client has to be able to read it.
    Linger,
    /// The connection is broken, or the client sent nothing to answer.
    Drop,
    /// A node opened the WebSocket, and the client got its 101.
    Relay(Box<RelayStart>),
}

/// The requests of a connection.
pub(crate) struct Requests<'c> {
    client: Client<'c>,
    /// Requests in a row whose first bytes were there before the previous answer was sent.
    pipelined: u32,
    /// The session permit or the refusal. It is taken once, at the first request, because that has the priority.
    permit: OnceCell<Result<Rc<SessionPermit>, Refusal>>,
    /// Counts the connection as an unfinished handshake until its first request.
    handshake: Option<Box<HandshakePermit>>,
    /// Counts the connection as active from its first HTTP request on.
    active: Option<ActiveGuard>,
}

impl<'c> Requests<'c> {
    /// The requests of a client whose TLS handshake is done.
    pub(crate) const fn new(client: Client<'c>, handshake: Box<HandshakePermit>) -> Self {
        Self { client, pipelined: 0, permit: OnceCell::new(), handshake: Some(handshake), active: None }
    }

    /// The session permit, which a relay holds after the last request.
    pub(crate) fn into_permit(self) -> Option<Rc<SessionPermit>> {
        self.permit.into_inner()?.ok()
    }

    /// Takes the session permit, once for all requests of the connection. `None`: there was no readable request.
    fn take_permit(&self, priority: Option<Priority>) -> Result<(), Refusal> {
        let session = self.client.session;
        let permit = self.permit.get_or_init(|| {
            session.worker.gateway.limiter.session(session.peer.ip(), priority, session.accepted).map(Rc::new)
        });
        permit.as_ref().map(|_| ()).map_err(|refusal| *refusal)
    }

    /// Reads one request and answers it.
    pub(crate) async fn exchange(&mut self) -> Next {
        let session = self.client.session;
        self.pipelined = if self.client.conn.inbox.is_empty() { 0 } else { self.pipelined + 1 };
        if self.pipelined.is_multiple_of(PIPELINED_MAX) && self.pipelined > 0 {
            runtime::sleep(fairness::YIELD_DELAY).await;
        }
        let planned = match self.head().await {
            Ok(planned) => planned,
            Err(Some(refusal)) => {
                session.note_unreadable();
                // a connection without a readable head counts against the limits all the same
                let refusal = self.take_permit(None).err().unwrap_or(refusal);
                let shape = Shape { session: session.id.to_string(), close: true, ..Shape::default() };
                return self.refuse(&shape, refusal).await;
            }
            Err(None) => {
                let _ = self.take_permit(None);
                return Next::Drop;
            }
        };
        self.handshake = None;
        session.wake_handle.info.moved.set(session.worker.now());
        if let Plan::WebSocket(request) = planned.plan {
            return self.websocket(planned.shape, *request).await;
        }
        self.active.get_or_insert_with(|| session.count_active(Activity::Requests));
        let wanted = matches!(planned.plan, Plan::Whip(_));
        let send_continue =
            planned.expects_continue && planned.body != BodyLength::None && self.client.conn.inbox.is_empty();
        // over the limit, or `Expect: 100-continue` for a body that would be dropped: answer and close without reading it
        if matches!(self.permit.get(), Some(Err(_))) || (send_continue && !wanted) {
            let planned = Planned { shape: Shape { close: true, ..planned.shape }, ..planned };
            return self.answer(planned, &[]).await;
        }
        let reading = BodyReading { length: planned.body, wanted, send_continue };
        match body::read(&mut self.client, reading).await {
            Ok(body) => self.answer(planned, &body).await,
            Err(Some(refusal)) => self.refuse(&Shape { close: true, ..planned.shape }, refusal).await,
            Err(None) => Next::Drop,
        }
    }

    /// Waits for a whole head and plans what to do. `Err(None)`: the client left, or sent nothing in time.
    async fn head(&mut self) -> Result<Planned, Option<Refusal>> {
        let worker = &self.client.session.worker;
        let head_timeout = || worker.newest().config.limits.head_timeout;
        let first = self.handshake.is_some();
        let asked = Instant::now();
        let wait = if first { head_timeout() } else { worker.newest().config.gateway.keep_alive };
        let mut deadline = asked + wait;
        let mut begun = first;
        let mut idle = None;
        let mut seen = 0;
        loop {
            let inbox = &self.client.conn.inbox;
            if !begun && !inbox.is_empty() {
                begun = true;
                deadline = Instant::now() + head_timeout();
                if idle.take().is_some_and(|idle: Idle<'_>| !idle.end()) {
                    return Err(None);
                }
            }
            match head::request(inbox, seen, &worker.newest().rules().head) {
                Err(fault) => return Err(Some(fault.refusal())),
                Ok(Some((request, used))) => {
                    let planned = self.plan(&request);
                    self.client.conn.consume(used);
                    return Ok(planned);
                }
                Ok(None) if self.client.conn.ended => return Err(None),
                Ok(None) => seen = inbox.len(),
            }
            let nothing_came = inbox.is_empty();
            if !begun && idle.is_none() {
                idle = begin_idle(&self.permit, self.client.session, asked);
            }
            match self.client.readable(deadline).await {
                _ if self.client.session.is_evicted() => return Err(None),
                Woke::Ready => {}
                Woke::Ending if nothing_came && !first => return Err(None),
                Woke::Ending => continue,
                Woke::Deadline if nothing_came => return Err(None),
                Woke::Deadline => return Err(Some(Refusal::HeadTimeout)),
            }
            match self.client.conn.receive_to_inbox(HEAD_RECEIVE_MAX) {
                // a whole head may have come together with the end
                Received::Some | Received::Nothing | Received::End => {}
                Received::Broken | Received::Fault(_) => return Err(None),
            }
        }
    }

    /// Begins a request, takes the session permit if this is the first one, and plans.
    fn plan(&self, request: &head::Request<'_>) -> Planned {
        self.client.session.begin_request();
        let route = route::route(request.target);
        let priority = route.map_or(Priority::Normal, |route| route.priority(request.method));
        let standing = Standing {
            permitted: self.take_permit(Some(priority)),
            within_rate: self.count_request(),
            served_before: self.active.is_some(),
            ended: self.client.conn.ended,
        };
        plan::plan(self.client.session, request, route, &standing)
    }

    /// Counts a request against `limits.requests_per_ip`.
    fn count_request(&self) -> Result<(), Refusal> {
        let Session { worker, peer, .. } = self.client.session;
        let rate = worker.newest.borrow().config.limits.requests_per_ip;
        rate.map_or(Ok(()), |rate| worker.gateway.limiter.request(peer.ip(), rate, Instant::now()))
    }

    /// Does what was planned, writes the access-log line and sends the answer.
    async fn answer(&mut self, planned: Planned, body: &[u8]) -> Next {
        let Planned { plan, mut shape, .. } = planned;
        let session = self.client.session;
        let answer = match plan {
            Plan::Refuse(refusal, allow) => refused(session, &shape, refusal, allow),
            Plan::Preflight(methods) => {
                let allow_headers = &session.revision().config.cors.allow_headers;
                Answer::new(204, response::preflight(&shape, methods, allow_headers))
            }
            Plan::Health => {
                let (status, bytes) = response::health(&shape, session.worker.draining.is_set());
                Answer::new(status, bytes)
            }
            Plan::Fallback(FallbackAnswer { content_type, body }) => {
                Answer::new(200, response::write(&shape, 200, &[("Content-Type", &content_type)], &body))
            }
            Plan::Event { key, kind, keep } => {
                let asked = event_api::ask(&mut self.client, &key, kind, keep).await;
                let Some((cache, outcome)) = asked else { return client_left(session) };
                shape.close |= session.is_leaving();
                event_api::answer(session, &shape, cache, outcome)
            }
            Plan::Whip(whip) => {
                let permit = self.permit.get().and_then(|permit| permit.as_ref().ok());
                let forwarding = whip::Forwarding { permit, shape: &shape, whip: &whip, body };
                let forwarded = forwarding.run(&mut self.client).await;
                shape.close |= session.is_leaving();
                shape.session = session.shown_id().to_string();
                let answer = match forwarded {
                    Ok((status, bytes)) => Answer::new(status, bytes),
                    Err(Unserved::ClientLeft) => return client_left(session),
                    Err(Unserved::Answered(cache, answer)) => {
                        event_api::answer(session, &shape, cache, Ok(answer))
                    }
                    Err(Unserved::Refused(refusal)) => refused(session, &shape, refusal, ""),
                };
                session.note_answer(&answer);
                whip.note(session);
                return self.send(&answer, shape.close).await;
            }
            Plan::WebSocket(_) => unreachable!("`exchange` handles WebSocket requests"),
        };
        session.note_answer(&answer);
        self.send(&answer, shape.close).await
    }

    /// Sends an answer that is not the last one of the connection unless `close` says so, or the session is leaving.
    async fn send(&mut self, answer: &Answer, close: bool) -> Next {
        match self.client.send_answer(&answer.bytes).await {
            false => Next::Drop,
            true if close || self.client.session.is_leaving() => Next::Linger,
            true => Next::Request,
        }
    }

    /// Opens a WebSocket, or answers why there is none; then the connection ends.
    async fn websocket(&mut self, shape: Shape, request: WebSocketRequest) -> Next {
        // before the new guard: a session is counted once
        self.active = None;
        let session = self.client.session;
        let active = session.count_active(request.activity());
        let shape = Shape { close: true, ..shape };
        match websocket::open(&mut self.client, request, active).await {
            Ok(start) => Next::Relay(Box::new(start)),
            Err(Unserved::ClientLeft) => client_left(session),
            Err(Unserved::Refused(refusal)) => self.refuse(&shape, refusal).await,
            Err(Unserved::Answered(cache, answer)) => {
                let answer = event_api::answer(session, &shape, cache, Ok(answer));
                self.send_last(answer).await
            }
        }
    }

    /// Answers a refusal after which the connection ends.
    async fn refuse(&mut self, shape: &Shape, refusal: Refusal) -> Next {
        self.send_last(refused(self.client.session, shape, refusal, "")).await
    }

    async fn send_last(&mut self, answer: Answer) -> Next {
        self.client.session.note_answer(&answer);
        if self.client.send_answer(&answer.bytes).await { Next::Linger } else { Next::Drop }
    }
}

/// Begins the time in which a connection waits for its next request, since `now`. `None` if it holds no slot that others
/// could use, or if an earlier request goes on at a node.
fn begin_idle<'r>(
    permit: &'r OnceCell<Result<Rc<SessionPermit>, Refusal>>,
    session: &'r Session,
    now: Instant,
) -> Option<Idle<'r>> {
    let permit = permit.get()?.as_ref().ok()?;
    (Rc::strong_count(permit) == 1).then(|| permit.idle(&session.worker.evictions, session.id, now))
}

/// The client left before its answer.
fn client_left(session: &Session) -> Next {
    session.note_left();
    Next::Drop
}

/// The answer for a refusal, which is counted. `allow` lists the methods for a 405.
fn refused(session: &Session, shape: &Shape, refusal: Refusal, allow: &str) -> Answer {
    session.count_refusal(refusal);
    Answer {
        status: refusal.status(),
        refusal: Some(refusal),
        bytes: response::refusal(shape, refusal, allow),
    }
}
