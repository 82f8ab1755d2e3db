//! HTTP on a client connection: one head after the other, each planned without waiting and then answered.
//!
//! Planning takes everything it needs out of the head, owned, so that nothing borrowed from the inbox lives across a wait.

use super::ceiling::HandshakePermit;
use super::conn::{Conn, Received};
use super::event;
use super::forward;
use super::reply::{self, Shape};
use super::session::{HEAD_RECEIVE, Session, Woke};
use super::sessions::ActiveGuard;
use super::two_step;
use crate::metrics::Route as RouteLabel;
use crate::proto::cors::Site;
use crate::proto::head::{self, BodyLength, Request};
use crate::proto::refusal::Refusal;
use crate::proto::target::{self, EventKind, Keep, Route};
use std::time::{Duration, Instant};

/// How long a kept-alive connection may wait for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// What follows a request.
pub(super) enum Next {
    /// Another request on this connection.
    Again,
    /// We said our last word.
    Close,
    /// The connection is gone or not worth a word.
    Drop,
    /// A node answered 101, and so did we.
    Relay(Box<forward::Ready>),
}

/// The HTTP part of a connection.
pub(super) struct Http<'s> {
    session: &'s Session,
    /// Plaintext that was not used yet: the next request, pipelined, or the first frames.
    inbox: Vec<u8>,
    /// Refused from the start; said at the first request, since there is no earlier way to say it.
    turned_away: Option<Refusal>,
    handshake: Option<HandshakePermit>,
    counted: Option<ActiveGuard>,
    /// The client will send nothing more.
    ended: bool,
}

/// What has to be done for a request: everything that is needed of its head, owned.
enum Plan {
    Refuse(Refusal, &'static str),
    Preflight { methods: &'static str, headers: Option<String> },
    Page(usize),
    Event { key: String, kind: EventKind, keep: Keep },
    TwoStep(Box<two_step::Ask>),
}

/// A request as planned.
struct Planned {
    plan: Plan,
    shape: Shape,
    body: usize,
    access: Option<String>,
}

impl<'s> Http<'s> {
    /// A connection whose handshake is done. `turned_away` is said at its first request.
    pub(super) const fn new(
        session: &'s Session,
        turned_away: Option<Refusal>,
        handshake: HandshakePermit,
    ) -> Self {
        Self {
            session,
            inbox: Vec::new(),
            turned_away,
            handshake: Some(handshake),
            counted: None,
            ended: false,
        }
    }

    /// Reads one request and answers it.
    pub(super) async fn exchange(&mut self, conn: &mut Conn) -> Next {
        self.inbox.append(&mut conn.early);
        self.ended |= conn.tls.peer_closed();
        let planned = match self.head(conn).await {
            Ok(planned) => planned,
            Err(Some(refusal)) => {
                let shape = Shape { session: self.session.id.clone(), close: true, ..Shape::default() };
                return self.refuse(conn, &shape, refusal, "").await;
            }
            Err(None) => return Next::Drop,
        };
        self.handshake = None;
        if let Plan::TwoStep(ask) = planned.plan {
            return self.two_step(conn, planned.shape, *ask).await;
        }
        self.counted.get_or_insert_with(|| ActiveGuard::new(&self.session.worker, RouteLabel::Http));
        if let Err(refusal) = self.skip_body(conn, planned.body).await {
            let shape = Shape { close: true, ..planned.shape };
            return self.refuse(conn, &shape, refusal, "").await;
        }
        self.answer(conn, planned).await
    }

    /// Waits for a whole head and plans what to do. `Err(None)`: the client went, or had nothing to say.
    async fn head(&mut self, conn: &mut Conn) -> Result<Planned, Option<Refusal>> {
        let limits = &self.session.worker.gateway.config.limits;
        let first = self.handshake.is_some();
        let mut deadline = Instant::now() + if first { limits.head_timeout } else { KEEP_ALIVE };
        let mut begun = first;
        let mut seen = 0;
        loop {
            if !begun && !self.inbox.is_empty() {
                begun = true;
                deadline = Instant::now() + limits.head_timeout;
            }
            let rules = self.session.worker.gateway.rules();
            match head::request(&self.inbox, seen, &rules.head) {
                Err(fault) => return Err(Some(fault.refusal())),
                Ok(Some((request, used))) => {
                    let planned = self.plan(&request);
                    self.inbox.drain(..used);
                    return Ok(planned);
                }
                Ok(None) if self.ended => return Err(None),
                Ok(None) => seen = self.inbox.len(),
            }
            match self.session.readable(&conn.sock, deadline).await {
                Woke::Ready => {}
                Woke::Drain if self.inbox.is_empty() && !first => return Err(None),
                Woke::Drain => continue,
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
        let gateway = &self.session.worker.gateway;
        let cors = &gateway.config.cors;
        let site = cors.allow_origins.judge(request.origin, request.host);
        let draining = self.session.pager.is_draining();
        let mut shape = Shape {
            session: self.session.id.clone(),
            allow_origin: request.origin.filter(|_| site == Site::Allowed).map(str::to_owned),
            vary_origin: request.origin.is_some(),
            close: !request.keep_alive || draining || self.ended || self.turned_away.is_some(),
            bodiless: request.method == "HEAD",
        };
        let body = match request.body {
            BodyLength::None => 0,
            BodyLength::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
            // no route of ours takes a body; one without a length is not read to its end, the connection ends instead
            BodyLength::Chunked => usize::MAX,
        };
        let plan = match self.turned_away {
            Some(refusal) => Plan::Refuse(refusal, ""),
            None => {
                self.plan_route(request, site).unwrap_or_else(|(refusal, allow)| Plan::Refuse(refusal, allow))
            }
        };
        shape.close |= body > gateway.config.limits.body_max;
        let access = event::access_line(self.session, request);
        Planned { plan, shape, body, access }
    }

    fn plan_route(&self, request: &Request<'_>, site: Site) -> Result<Plan, (Refusal, &'static str)> {
        let gateway = &self.session.worker.gateway;
        if let Some(page) = gateway.pages.iter().position(|page| page.path == page_path(request.target)) {
            return match request.method {
                "GET" => Ok(Plan::Page(page)),
                _ => Err((Refusal::MethodNotAllowed, "GET")),
            };
        }
        match target::route(request.target).map_err(|refusal| (refusal, ""))? {
            Route::Event(event) => match request.method {
                "GET" => {
                    // not passed on, but who shows a credential wants an answer of its own (RFC 9111, 3.5)
                    let personal = request.authorization.is_some();
                    let keep = if personal { Keep::Never } else { event.keep };
                    Ok(Plan::Event { key: event.target.to_owned(), kind: event.kind, keep })
                }
                "OPTIONS" => Ok(Plan::Preflight {
                    methods: "GET, OPTIONS",
                    headers: request.acr_headers.map(str::to_owned),
                }),
                _ => Err((Refusal::MethodNotAllowed, "GET, OPTIONS")),
            },
            Route::TwoStep { suffix, query } => {
                if request.method != "GET" {
                    return Err((Refusal::MethodNotAllowed, "GET"));
                }
                two_step::plan(self.session, request, suffix, query, site)
                    .map(|ask| Plan::TwoStep(Box::new(ask)))
                    .map_err(|refusal| (refusal, ""))
            }
        }
    }

    /// Reads a body that no route wants, so that the connection can go on.
    async fn skip_body(&mut self, conn: &mut Conn, mut left: usize) -> Result<(), Refusal> {
        let limits = &self.session.worker.gateway.config.limits;
        if left > limits.body_max {
            return Err(Refusal::BodyTooLarge);
        }
        let deadline = Instant::now() + limits.body_timeout;
        loop {
            let now = left.min(self.inbox.len());
            self.inbox.drain(..now);
            left -= now;
            if left == 0 {
                return Ok(());
            }
            if self.session.readable(&conn.sock, deadline).await == Woke::Deadline {
                return Err(Refusal::BodyTimeout);
            }
            match conn.receive_into(HEAD_RECEIVE, &mut self.inbox) {
                Received::Some | Received::Nothing => {}
                Received::End | Received::Broken | Received::Fault(_) => return Err(Refusal::BadRequest),
            }
        }
    }

    async fn answer(&mut self, conn: &mut Conn, planned: Planned) -> Next {
        let Planned { plan, mut shape, access, .. } = planned;
        let session = self.session;
        let gateway = &session.worker.gateway;
        let (status, bytes) = match plan {
            Plan::Refuse(refusal, allow) => {
                session.worker.metrics.refusals.of(refusal).add(1);
                (refusal.status(), reply::refusal(&shape, refusal, allow))
            }
            Plan::Preflight { methods, headers } => {
                (204, reply::preflight(&shape, methods, headers.as_deref()))
            }
            Plan::Page(index) => {
                let page = &gateway.pages[index];
                (200, reply::write(&shape, 200, &[("Content-Type", &page.content_type)], &page.body))
            }
            Plan::Event { key, kind, keep } => {
                let asked =
                    event::ask(session, conn, &mut self.inbox, &mut self.ended, &key, kind, keep).await;
                let Some((by, outcome)) = asked else { return Next::Drop };
                shape.close |= session.pager.is_draining();
                event::answer(session, &shape, by, outcome)
            }
            Plan::TwoStep(_) => unreachable!("a WebSocket is answered by its own path"),
        };
        event::log_access(access, status);
        match session.say(conn, &bytes).await {
            false => Next::Drop,
            true if shape.close => Next::Close,
            true => Next::Again,
        }
    }

    async fn two_step(&mut self, conn: &mut Conn, shape: Shape, ask: two_step::Ask) -> Next {
        self.counted = None;
        let active = ActiveGuard::new(&self.session.worker, RouteLabel::TwoStep);
        match two_step::open(self.session, conn, &mut self.inbox, ask, active).await {
            Ok(ready) => Next::Relay(Box::new(ready)),
            Err(two_step::No::Gone) => Next::Drop,
            Err(two_step::No::Refused(refusal)) => {
                let shape = Shape { close: true, ..shape };
                self.refuse(conn, &shape, refusal, "").await
            }
        }
    }

    async fn refuse(&self, conn: &mut Conn, shape: &Shape, refusal: Refusal, allow: &str) -> Next {
        self.session.worker.metrics.refusals.of(refusal).add(1);
        let bytes = reply::refusal(shape, refusal, allow);
        if self.session.say(conn, &bytes).await { Next::Close } else { Next::Drop }
    }
}

fn page_path(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}
