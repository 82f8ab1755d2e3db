//! One client connection from accept to end: handshake, head, answer; again, or a relay.
//!
//! The phases before a relay are boxed: while a session relays or idles, its future is no larger than the relay's.

use super::Worker;
use super::ceiling::{Ceiling, HandshakePermit, SessionPermit};
use super::conn::{Conn, Received};
use super::net::Sock;
use super::sessions::Pager;
use super::tls::Tls;
use super::{event, forward, reply, two_step};
use crate::metrics::{Route as RouteLabel, TlsFailure, Version};
use crate::proto::cors::Site;
use crate::proto::head::{self, BodyLength, Request};
use crate::proto::refusal::Refusal;
use crate::proto::target::{self, EventKind, Keep, Route};
use reply::Shape;
use rustls::ProtocolVersion;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Bytes taken at once while a head is read.
const HEAD_RECEIVE: usize = 16 * 1024;

/// How long a kept-alive connection may wait for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a client may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// After our last word: how long we read on, so that unread bytes do not reset the connection under the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Everything about one connection that its phases share.
pub(super) struct Session {
    pub worker: Rc<Worker>,
    pub pager: Rc<Pager>,
    pub id: String,
    pub peer: SocketAddr,
    pub accepted: Instant,
}

/// Why a wait before the relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woke {
    Ready,
    Deadline,
    Drain,
}

/// What follows a request.
enum Next {
    /// Another request on this connection.
    Again,
    /// We said our last word.
    Close,
    /// The connection is gone or not worth a word.
    Drop,
    /// A node answered 101, and so did we.
    Relay(Box<forward::Ready>),
}

/// Serves one accepted connection to its end.
pub(super) async fn serve(worker: Rc<Worker>, sock: Sock, peer: SocketAddr, permit: HandshakePermit) {
    let held = worker.clone();
    let place = held.sessions.enter();
    let session = Session {
        id: format!("{:016x}", worker.random()),
        pager: place.pager.clone(),
        accepted: Instant::now(),
        worker,
        peer,
    };
    let Some((mut conn, permit, ready)) = Box::pin(before_relay(&session, sock, permit)).await else {
        return;
    };
    forward::relay(&session, &mut conn, *ready).await;
    drop(permit);
}

/// All that comes before a relay; `None` when the connection ended without one.
async fn before_relay(
    session: &Session,
    sock: Sock,
    handshake: HandshakePermit,
) -> Option<(Conn, Option<SessionPermit>, Box<forward::Ready>)> {
    let mut conn = shake(session, sock).await?;
    let permit = Ceiling::session(&session.worker.gateway, session.peer.ip(), session.accepted);
    let mut http = Http {
        session,
        inbox: Vec::new(),
        turned_away: permit.as_ref().err().copied(),
        handshake: Some(handshake),
        counted: None,
    };
    loop {
        match http.exchange(&mut conn).await {
            Next::Again => {}
            Next::Relay(ready) => return Some((conn, permit.ok(), ready)),
            Next::Close => {
                linger(session, &mut conn).await;
                return None;
            }
            Next::Drop => return None,
        }
    }
}

/// The TLS handshake, with its deadline.
async fn shake(session: &Session, sock: Sock) -> Option<Conn> {
    let gateway = &session.worker.gateway;
    let metrics = &session.worker.metrics;
    let deadline = session.accepted + gateway.config.tls.handshake_timeout;
    let mut conn = Conn::new(sock, Tls::new(gateway.tls.clone()).ok()?);
    let mut early = Vec::new();
    let fail = |failure: TlsFailure| metrics.handshake_failures[failure as usize].add(1);
    while !conn.tls.is_open() {
        if !conn.out.is_empty() && !session.flush(&mut conn, deadline).await {
            fail(TlsFailure::Lost);
            return None;
        }
        if session.readable(&conn.sock, deadline).await == Woke::Deadline {
            fail(TlsFailure::Timeout);
            return None;
        }
        match conn.receive_into(HEAD_RECEIVE, &mut early) {
            Received::Some | Received::Nothing => {}
            Received::Fault(fault) => {
                fail(TlsFailure::Protocol);
                tracing::debug!(session = session.id, peer = %session.peer, %fault, "TLS handshake failed");
                linger(session, &mut conn).await;
                return None;
            }
            Received::End | Received::Broken => {
                fail(TlsFailure::Lost);
                return None;
            }
        }
    }
    let (version, resumed) = conn.tls.agreed();
    let version = if version == Some(ProtocolVersion::TLSv1_2) { Version::Tls12 } else { Version::Tls13 };
    metrics.handshakes[version as usize][usize::from(resumed)].add(1);
    metrics.tls.observe(session.accepted.elapsed());
    conn.early = early;
    Some(conn)
}

impl Session {
    /// Waits until the socket is readable, the deadline has come, or the gateway goes down (once for each look: a caller
    /// that goes on waiting after a drain does so on purpose).
    pub(super) async fn readable(&self, sock: &Sock, deadline: Instant) -> Woke {
        self.either(sock.readable(), deadline).await
    }

    /// As [`Session::readable`], for any wait that may be dropped.
    pub(super) async fn either(&self, wait: impl Future<Output = ()>, deadline: Instant) -> Woke {
        let mut wait = std::pin::pin!(wait);
        let mut sleep = std::pin::pin!(monoio::time::sleep_until(deadline.into()));
        std::future::poll_fn(|cx| {
            if wait.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(Woke::Ready);
            }
            if self.pager.listen(cx) && self.pager.is_draining() {
                return std::task::Poll::Ready(Woke::Drain);
            }
            sleep.as_mut().poll(cx).map(|()| Woke::Deadline)
        })
        .await
    }

    /// Sends all that waits for the client; false if it does not go out before the deadline.
    pub(super) async fn flush(&self, conn: &mut Conn, deadline: Instant) -> bool {
        while !conn.out.is_empty() {
            if conn.out.flush(&conn.sock).is_err() {
                return false;
            }
            if !conn.out.is_empty() && self.either(conn.sock.writable(), deadline).await == Woke::Deadline {
                return false;
            }
        }
        true
    }

    /// Sends an answer; false if the client does not take it.
    pub(super) async fn say(&self, conn: &mut Conn, bytes: &[u8]) -> bool {
        conn.send(bytes).is_ok() && self.flush(conn, Instant::now() + WRITE_TIMEOUT).await
    }
}

/// Ends a connection after our last word: close_notify, FIN, and a short while of reading what the client still sent,
/// since a socket closed with unread bytes resets the connection and may take our word with it.
async fn linger(session: &Session, conn: &mut Conn) {
    let deadline = Instant::now() + LINGER;
    // before the handshake is done there is no close_notify to say, only perhaps an alert to flush
    let _ = conn.tls.is_open() && conn.close().is_ok();
    if !session.flush(conn, deadline).await {
        return;
    }
    conn.sock.finish();
    let mut left: usize = 1 << 20;
    while left > 0 && session.readable(&conn.sock, deadline).await != Woke::Deadline {
        let taken = super::scratch::with(|scratch| conn.sock.recv(&mut scratch.input[..HEAD_RECEIVE]));
        match taken {
            Ok(0) => return,
            Ok(taken) => left = left.saturating_sub(taken),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The HTTP part of a connection.
struct Http<'s> {
    session: &'s Session,
    /// Plaintext that was not used yet: the next request, pipelined, or the first frames.
    inbox: Vec<u8>,
    /// Refused from the start; said at the first request, since there is no earlier way to say it.
    turned_away: Option<Refusal>,
    handshake: Option<HandshakePermit>,
    counted: Option<ActiveGuard>,
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

impl Http<'_> {
    /// Reads one request and answers it.
    async fn exchange(&mut self, conn: &mut Conn) -> Next {
        self.inbox.append(&mut conn.early);
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
                Received::End | Received::Broken | Received::Fault(_) => return Err(None),
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
            close: !request.keep_alive || draining || self.turned_away.is_some(),
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
                "GET" => Ok(Plan::Event { key: event.target.to_owned(), kind: event.kind, keep: event.keep }),
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
                let asked = event::ask(session, conn, &mut self.inbox, &key, kind, keep).await;
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

/// Counts a session as active for as long as it lives.
pub(super) struct ActiveGuard {
    worker: Rc<Worker>,
    route: RouteLabel,
}

impl ActiveGuard {
    fn new(worker: &Rc<Worker>, route: RouteLabel) -> Self {
        worker.metrics.sessions_active[route as usize].add(1);
        worker.metrics.sessions_total[route as usize].add(1);
        Self { worker: worker.clone(), route }
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.worker.metrics.sessions_active[self.route as usize].add(-1);
    }
}
