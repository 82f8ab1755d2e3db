//! HTTP on a client connection: one head after the other, each planned without waiting and then answered.
//!
//! Planning takes everything it needs out of the head, owned, so that nothing borrowed from the inbox lives across a wait.

use crate::metrics::Route as RouteLabel;
use crate::proto::http::body::{Body, BodyFault};
use crate::proto::http::cors::PageOrigin;
use crate::proto::http::head;
use crate::proto::http::head::{BodyLength, Request};
use crate::proto::red5::route;
use crate::proto::red5::route::{EventKind, Keep, Priority, Route};
use crate::proto::refusal::Refusal;
use crate::shared::limits::{HandshakePermit, SessionPermit};
use crate::shared::questions::CacheStatus;
use crate::worker::http::event_api;
use crate::worker::http::response;
use crate::worker::http::response::Shape;
use crate::worker::http::websocket;
use crate::worker::http::websocket::Unserved;
use crate::worker::http::whip;
use crate::worker::io::client::{Conn, Received};
use crate::worker::io::fairness;
use crate::worker::local::registry::ActiveGuard;
use crate::worker::relay::pump;
use crate::worker::session::access_log::RequestLine;
use crate::worker::session::context::{HEAD_RECEIVE, Session, Woke};
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a kept-alive connection may wait for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// So many requests are answered one after the other without a wait for the client; then others have their turn. Only the
/// ring's own wait lets them: a task that wakes itself comes first.
const AHEAD: u32 = 16;

/// Go on and send the body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Stands in the access log where a client did not wait for an answer; the word for it is nginx's.
pub(crate) const CLIENT_LEFT: u16 = 499;

/// What follows a request.
pub(crate) enum Next {
    /// Another request on this connection.
    Again,
    /// We said our last word.
    Close,
    /// The connection is gone or not worth a word.
    Drop,
    /// A node answered 101, and so did we.
    Relay(Box<pump::RelayStart>),
}

/// The HTTP part of a connection.
pub(crate) struct Http<'s> {
    session: &'s Session,
    /// Plaintext that was not used yet: the next request, pipelined, or the first frames.
    inbox: Vec<u8>,
    /// Requests in a row that were there before the answer to the one before.
    ahead: u32,
    /// The place among the sessions, or the refusal instead of one; looked for at the first request, which says who comes.
    place: OnceCell<Result<Rc<SessionPermit>, Refusal>>,
    handshake: Option<HandshakePermit>,
    counted: Option<ActiveGuard>,
    /// The client will send nothing more.
    ended: bool,
}

/// What has to be done for a request: everything that is needed of its head, owned.
enum Plan {
    Refuse(Refusal, &'static str),
    /// Answered by us; the methods that it may be followed by.
    Preflight(&'static str),
    Page(usize),
    Event {
        key: String,
        kind: EventKind,
        keep: Keep,
    },
    WebSocket(Box<websocket::WebSocketRequest>),
    Whip(Box<whip::WhipRequest>),
}

/// A request as planned.
struct Planned {
    plan: Plan,
    shape: Shape,
    body: BodyLength,
    /// The client waits for a word before it sends its body (RFC 9110, 10.1.1).
    expects_continue: bool,
    access: Option<RequestLine>,
}

impl<'s> Http<'s> {
    /// A connection whose handshake is done. Until its first request it is counted among the unfinished ones.
    pub(crate) const fn new(session: &'s Session, handshake: HandshakePermit) -> Self {
        Self {
            session,
            inbox: Vec::new(),
            ahead: 0,
            place: OnceCell::new(),
            handshake: Some(handshake),
            counted: None,
            ended: false,
        }
    }

    /// The place among the sessions, which outlives the requests.
    pub(crate) fn into_place(self) -> Option<Rc<SessionPermit>> {
        self.place.into_inner()?.ok()
    }

    /// Looks for a place, once for all requests of the connection.
    fn take_place(&self, priority: Priority) -> Result<(), Refusal> {
        let session = self.session;
        let place = self.place.get_or_init(|| {
            session.worker.gateway.limiter.session(session.peer.ip(), priority, session.accepted).map(Rc::new)
        });
        place.as_ref().map(|_| ()).map_err(|refusal| *refusal)
    }

    /// Reads one request and answers it.
    pub(crate) async fn exchange(&mut self, conn: &mut Conn) -> Next {
        self.inbox.append(&mut conn.early);
        self.ahead = if self.inbox.is_empty() { 0 } else { self.ahead + 1 };
        if self.ahead.is_multiple_of(AHEAD) && self.ahead > 0 {
            monoio::time::sleep(fairness::YIELD_DELAY).await;
        }
        self.ended |= conn.tls.peer_closed();
        let planned = match self.head(conn).await {
            Ok(planned) => planned,
            Err(Some(refusal)) => {
                // who says nothing that can be read has come all the same
                let refusal = self.take_place(Priority::Normal).err().unwrap_or(refusal);
                let shape = Shape { session: self.session.id.clone(), close: true, ..Shape::default() };
                return self.refuse(conn, &shape, refusal, "").await;
            }
            Err(None) => {
                let _ = self.take_place(Priority::Normal);
                return Next::Drop;
            }
        };
        self.handshake = None;
        self.session.wake_handle.info.moved.set(self.session.worker.now());
        if let Plan::WebSocket(ask) = planned.plan {
            return self.websocket(conn, planned.shape, *ask).await;
        }
        self.counted.get_or_insert_with(|| self.session.count_active(RouteLabel::Http));
        // who has no place here is not waited for, and who asks before it sends a body that nobody wants may keep it
        let waits = planned.expects_continue && planned.body != BodyLength::None && self.inbox.is_empty();
        if matches!(self.place.get(), Some(Err(_))) || (waits && !matches!(planned.plan, Plan::Whip(_))) {
            let planned = Planned { shape: Shape { close: true, ..planned.shape }, ..planned };
            return self.answer(conn, planned, &[]).await;
        }
        let wanted = matches!(planned.plan, Plan::Whip(_));
        match self.body(conn, planned.body, wanted, waits).await {
            Ok(body) => self.answer(conn, planned, &body).await,
            Err(Some(refusal)) => {
                planned.access.into_iter().for_each(|line| line.write(refusal.status()));
                let shape = Shape { close: true, ..planned.shape };
                self.refuse(conn, &shape, refusal, "").await
            }
            Err(None) => Next::Drop,
        }
    }

    /// Waits for a whole head and plans what to do. `Err(None)`: the client went, or had nothing to say.
    async fn head(&mut self, conn: &mut Conn) -> Result<Planned, Option<Refusal>> {
        let worker = &self.session.worker;
        let head_timeout = || worker.newest().config.limits.head_timeout;
        let first = self.handshake.is_some();
        let mut deadline = Instant::now() + if first { head_timeout() } else { KEEP_ALIVE };
        let mut begun = first;
        let mut seen = 0;
        loop {
            if !begun && !self.inbox.is_empty() {
                begun = true;
                deadline = Instant::now() + head_timeout();
            }
            match head::request(&self.inbox, seen, &worker.newest().rules().head) {
                Err(fault) => return Err(Some(fault.refusal())),
                Ok(Some((request, used))) => {
                    self.session.begin_request();
                    let planned = self.plan(&request);
                    self.inbox.drain(..used);
                    return Ok(planned);
                }
                Ok(None) if self.ended => return Err(None),
                Ok(None) => seen = self.inbox.len(),
            }
            match self.session.readable(&conn.sock, deadline).await {
                Woke::Ready => {}
                Woke::Told if self.inbox.is_empty() && !first => return Err(None),
                Woke::Told => continue,
                Woke::Deadline if self.inbox.is_empty() => return Err(None),
                Woke::Deadline => return Err(Some(Refusal::HeadTimeout)),
            }
            match conn.receive_into(HEAD_RECEIVE, &mut self.inbox) {
                Received::Some | Received::Nothing => {}
                // a whole head may have come together with the end
                Received::End => self.ended = true,
                Received::Broken | Received::Fault(_) => return Err(None),
            }
        }
    }

    fn plan(&self, request: &Request<'_>) -> Planned {
        let route = route::route(request.target);
        let priority = route.map_or(Priority::Normal, |route| route.priority(request.method));
        let place = self.take_place(priority);
        let page = self.session.revision().config.cors.allow_origins.judge(request.origin, request.host);
        let leaving = self.session.is_leaving();
        let shape = Shape {
            session: self.session.id.clone(),
            allow_origin: request.origin.filter(|_| page == PageOrigin::Allowed).map(str::to_owned),
            vary_origin: request.origin.is_some(),
            close: !request.keep_alive || leaving || self.ended || place.is_err(),
            bodiless: request.method == "HEAD",
        };
        let plan = match place {
            Err(refusal) => Plan::Refuse(refusal, ""),
            Ok(()) if leaving && self.comes_too_late(request.method) => Plan::Refuse(Refusal::Draining, ""),
            Ok(()) => self
                .plan_route(request, route, page)
                .unwrap_or_else(|(refusal, allow)| Plan::Refuse(refusal, allow)),
        };
        let access = RequestLine::of(self.session, request);
        Planned { plan, shape, body: request.body, expects_continue: request.expect_continue, access }
    }

    /// Whether a request is not served any more once the gateway goes down: one on a connection of before, and one that
    /// begins a session. What ends a WHIP session has to arrive, and a first question is cheaper to answer than to refuse.
    fn comes_too_late(&self, method: &str) -> bool {
        !matches!(method, "PATCH" | "DELETE" | "OPTIONS") && (self.counted.is_some() || method == "POST")
    }

    fn plan_route(
        &self,
        request: &Request<'_>,
        route: Result<Route<'_>, Refusal>,
        page: PageOrigin,
    ) -> Result<Plan, (Refusal, &'static str)> {
        let gateway = &self.session.worker.gateway;
        if let Some(page) = gateway.pages.iter().position(|page| page.path == page_path(request.target)) {
            return match request.method {
                "GET" => Ok(Plan::Page(page)),
                _ => Err((Refusal::MethodNotAllowed, "GET")),
            };
        }
        match route.map_err(|refusal| (refusal, ""))? {
            Route::Event(event) => match request.method {
                "GET" => {
                    // not passed on, but who shows a credential wants an answer of its own (RFC 9111, 3.5)
                    let personal = request.authorization.is_some();
                    let keep = if personal { Keep::Never } else { event.keep };
                    Ok(Plan::Event { key: event.target.to_owned(), kind: event.kind, keep })
                }
                "OPTIONS" => Ok(Plan::Preflight("GET, OPTIONS")),
                _ => Err((Refusal::MethodNotAllowed, "GET, OPTIONS")),
            },
            Route::TwoStep { .. } | Route::OneStep(_) if request.method != "GET" => {
                Err((Refusal::MethodNotAllowed, "GET"))
            }
            Route::TwoStep { suffix, query } => {
                socket(websocket::plan_two_step(self.session, request, suffix, query, page))
            }
            Route::OneStep(route) => socket(websocket::plan_one_step(self.session, request, &route, page)),
            Route::Whip(route) => Ok(match whip::plan(self.session, request, &route, page)? {
                whip::Planned::Preflight(methods) => Plan::Preflight(methods),
                whip::Planned::Pass(ask) => Plan::Whip(ask),
            }),
        }
    }

    /// Reads a request's body to its end, within its limits; `keep` says whether anybody wants it, `waits` that the client
    /// waits for a word before it sends it. `Err(None)`: the client is gone.
    async fn body(
        &mut self,
        conn: &mut Conn,
        length: BodyLength,
        keep: bool,
        waits: bool,
    ) -> Result<Vec<u8>, Option<Refusal>> {
        let revision = self.session.revision();
        let limits = &revision.config.limits;
        let deadline = Instant::now() + limits.body_timeout;
        let refuse = |fault: BodyFault| Some(fault.refusal());
        let mut body = Body::new(length, limits.body_max as u64).map_err(refuse)?;
        if waits && !self.session.say(conn, CONTINUE).await {
            return Err(None);
        }
        let mut kept = Vec::new();
        loop {
            let mut at = 0;
            while !body.is_done() && at < self.inbox.len() {
                let piece = body.next(&self.inbox[at..]).map_err(refuse)?;
                kept.extend_from_slice(if keep { piece.payload } else { &[] });
                at += piece.used;
            }
            self.inbox.drain(..at);
            if body.is_done() {
                return Ok(kept);
            }
            if self.ended {
                return Err(None);
            }
            if self.session.readable(&conn.sock, deadline).await == Woke::Deadline {
                return Err(Some(Refusal::BodyTimeout));
            }
            match conn.receive_into(HEAD_RECEIVE, &mut self.inbox) {
                Received::Some | Received::Nothing => {}
                Received::End => self.ended = true,
                Received::Broken | Received::Fault(_) => return Err(None),
            }
        }
    }

    async fn answer(&mut self, conn: &mut Conn, planned: Planned, body: &[u8]) -> Next {
        let Planned { plan, mut shape, access, .. } = planned;
        let session = self.session;
        let gateway = &session.worker.gateway;
        let (status, bytes) = match plan {
            Plan::Refuse(refusal, allow) => {
                session.worker.metrics.refusals.of(refusal).add(1);
                (refusal.status(), response::refusal(&shape, refusal, allow))
            }
            Plan::Preflight(methods) => (204, response::preflight(&shape, methods)),
            Plan::Page(index) => {
                let page = &gateway.pages[index];
                (200, response::write(&shape, 200, &[("Content-Type", &page.content_type)], &page.body))
            }
            Plan::Event { key, kind, keep } => {
                let asked =
                    event_api::ask(session, conn, &mut self.inbox, &mut self.ended, &key, kind, keep).await;
                let Some((by, outcome)) = asked else { return gone(access) };
                shape.close |= session.is_leaving();
                event_api::answer(session, &shape, by, outcome)
            }
            Plan::Whip(ask) => {
                let passed = self.passing(conn, &shape, &ask, body).pass().await;
                shape.close |= session.is_leaving();
                match passed {
                    Ok(done) => done,
                    Err(whip::Unserved::Gone) => return gone(access),
                    Err(whip::Unserved::Answered(by, answer)) => {
                        event_api::answer(session, &shape, by, Ok(answer))
                    }
                    Err(whip::Unserved::Refused(refusal)) => {
                        event_api::answer(session, &shape, CacheStatus::Bypass, Err(refusal))
                    }
                }
            }
            Plan::WebSocket(_) => unreachable!("a WebSocket is answered by its own path"),
        };
        if let Some(line) = access {
            line.write(status);
        }
        match session.say(conn, &bytes).await {
            false => Next::Drop,
            true if shape.close || session.is_leaving() => Next::Close,
            true => Next::Again,
        }
    }

    fn passing<'p>(
        &'p mut self,
        conn: &'p mut Conn,
        shape: &'p Shape,
        ask: &'p whip::WhipRequest,
        body: &'p [u8],
    ) -> whip::Passing<'p> {
        let place = self.place.get().and_then(|place| place.as_ref().ok());
        whip::Passing { session: self.session, place, conn, inbox: &mut self.inbox, shape, ask, body }
    }

    async fn websocket(&mut self, conn: &mut Conn, shape: Shape, ask: websocket::WebSocketRequest) -> Next {
        self.counted = None;
        let active = self.session.count_active(ask.label());
        let shape = Shape { close: true, ..shape };
        match websocket::open(self.session, conn, &mut self.inbox, ask, active).await {
            Ok(ready) => Next::Relay(Box::new(ready)),
            Err(Unserved::Gone) => Next::Drop,
            Err(Unserved::Refused(refusal)) => self.refuse(conn, &shape, refusal, "").await,
            Err(Unserved::Answered(by, answer)) => {
                let (_, bytes) = event_api::answer(self.session, &shape, by, Ok(answer));
                if self.session.say(conn, &bytes).await { Next::Close } else { Next::Drop }
            }
        }
    }

    async fn refuse(&self, conn: &mut Conn, shape: &Shape, refusal: Refusal, allow: &str) -> Next {
        self.session.worker.metrics.refusals.of(refusal).add(1);
        let bytes = response::refusal(shape, refusal, allow);
        if self.session.say(conn, &bytes).await { Next::Close } else { Next::Drop }
    }
}

/// The client left before its answer.
fn gone(access: Option<RequestLine>) -> Next {
    access.into_iter().for_each(|line| line.write(CLIENT_LEFT));
    Next::Drop
}

fn socket(ask: Result<websocket::WebSocketRequest, Refusal>) -> Result<Plan, (Refusal, &'static str)> {
    ask.map(|ask| Plan::WebSocket(Box::new(ask))).map_err(|refusal| (refusal, ""))
}

fn page_path(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}
