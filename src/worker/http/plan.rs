//! What has to be done for a request: decided from its head, without a wait.
//!
//! A plan owns everything it needs of the head, so that nothing borrows from the inbox across a wait.

use crate::proto::http::cors::PageOrigin;
use crate::proto::http::head::{BodyLength, Request};
use crate::proto::http::redact::redact_target;
use crate::proto::red5::route::{EventKind, Keep, Route};
use crate::proto::red5::whip::Handle;
use crate::proto::refusal::Refusal;
use crate::shared::gateway::FallbackAnswer;
use crate::worker::http::about::about;
use crate::worker::http::response::Shape;
use crate::worker::http::websocket::{self, WebSocketRequest};
use crate::worker::http::whip::{self, WhipRequest};
use crate::worker::session::context::Session;
use std::borrow::Cow;

/// What has to be done for a request.
pub(crate) enum Plan {
    /// Refuse it. The text lists the methods that a 405 allows; it is empty for other refusals.
    Refuse(Refusal, &'static str),
    /// Answer a browser's preflight with these methods.
    Preflight(&'static str),
    /// Tell a load balancer whether the gateway serves.
    Health,
    /// Send the answer of the embedding program.
    Fallback(FallbackAnswer),
    /// Ask the stream manager.
    Event { key: String, kind: EventKind, keep: Keep },
    /// Open a WebSocket at a node.
    WebSocket(Box<WebSocketRequest>),
    /// NodeRequest the request to a node.
    Whip(Box<WhipRequest>),
}

/// A request and its plan.
pub(crate) struct Planned {
    pub plan: Plan,
    pub shape: Shape,
    pub body: BodyLength,
    /// The client waits for `100 Continue` before it sends the body (RFC 9110, 10.1.1).
    pub expects_continue: bool,
}

/// What a plan has to know of the connection.
pub(crate) struct Standing {
    /// The refusal if the connection got no session permit.
    pub permitted: Result<(), Refusal>,
    /// The refusal if the client address sends too many requests.
    pub within_rate: Result<(), Refusal>,
    /// This connection was served a request before.
    pub served_before: bool,
    /// The client will send nothing after this request.
    pub ended: bool,
}

/// Plans a request. `route` is what its target matched.
pub(crate) fn plan(
    session: &Session,
    request: &Request<'_>,
    route: Result<Route<'_>, Refusal>,
    standing: &Standing,
) -> Planned {
    note_limit(session, standing);
    let revision = session.revision();
    let cors = &revision.config.cors;
    let page = cors.allow_origins.judge(request.origin, request.host);
    let leaving = session.is_leaving();
    // another process serves the listeners, and this one only what it has
    let moved_on = session.worker.closing.is_set();
    let mut shape = Shape {
        session: String::new(),
        allow_origin: request.origin.filter(|_| page == PageOrigin::Allowed).map(str::to_owned),
        allow_credentials: cors.allow_credentials,
        vary_origin: request.origin.is_some(),
        close: !request.keep_alive || leaving || moved_on || standing.ended || standing.permitted.is_err(),
        bodiless: request.method == "HEAD",
    };
    let health = is_health_check(request.target, revision.config.gateway.health_path.as_deref());
    let target = loggable(request.target, &revision.config.log.redact);
    session.note_request(request, &target, about(&route, &target, health));
    let plan = match standing.permitted.and(standing.within_rate) {
        // also over a limit and in a drain: then the connection ends with the answer
        _ if health => match request.method {
            "GET" | "HEAD" => Plan::Health,
            _ => Plan::Refuse(Refusal::MethodNotAllowed, "GET, HEAD"),
        },
        Err(refusal) => Plan::Refuse(refusal, ""),
        Ok(()) if leaving && is_refused_when_leaving(request.method, standing.served_before) => {
            Plan::Refuse(Refusal::Draining, "")
        }
        // the process that serves the listeners would not know the WHIP session
        Ok(()) if moved_on && standing.served_before && request.method == "POST" => {
            Plan::Refuse(Refusal::Draining, "")
        }
        Ok(()) => plan_route(session, request, route, page)
            .unwrap_or_else(|(refusal, allow)| Plan::Refuse(refusal, allow)),
    };
    shape.session = session.shown_id().to_string();
    Planned { plan, shape, body: request.body, expects_continue: request.expect_continue }
}

/// A target as logs and records show it: with the values of the parameters `redact` and with handles masked.
fn loggable<'t>(target: &'t str, redact: &[String]) -> Cow<'t, str> {
    match redact_target(target, redact) {
        Cow::Borrowed(target) => Handle::masked(target),
        Cow::Owned(target) => Cow::Owned(Handle::masked(&target).into_owned()),
    }
}

/// Notes, for the log, which limit refuses a request before it is read.
fn note_limit(session: &Session, standing: &Standing) {
    let limits = &session.revision().config.limits;
    match (standing.permitted, standing.within_rate) {
        (Err(Refusal::Overloaded), _) => session.note_limit("limits.sessions is reached"),
        (Err(_), _) if limits.new_per_ip.is_some() => {
            session.note_limit("its address is over limits.sessions_per_ip or limits.new_per_ip");
        }
        (Err(_), _) => session.note_limit("its address is over limits.sessions_per_ip"),
        (Ok(()), Err(_)) => session.note_limit("its address is over limits.requests_per_ip"),
        (Ok(()), Ok(())) => {}
    }
}

/// Whether a target is that of `gateway.health_path`, with any query.
fn is_health_check(target: &str, health_path: Option<&str>) -> bool {
    health_path
        .and_then(|path| target.strip_prefix(path))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('?'))
}

/// Whether a request is refused once the gateway is draining: a further request on an old connection, and a POST, which
/// creates a WHIP session. A request that ends a WHIP session has to arrive, and the first question on a connection costs
/// less to answer than to refuse.
fn is_refused_when_leaving(method: &str, served_before: bool) -> bool {
    !matches!(method, "PATCH" | "DELETE" | "OPTIONS") && (served_before || method == "POST")
}

/// Plans a request by its route. The error names the methods that a 405 allows, else nothing.
fn plan_route(
    session: &Session,
    request: &Request<'_>,
    route: Result<Route<'_>, Refusal>,
    page: PageOrigin,
) -> Result<Plan, (Refusal, &'static str)> {
    let route = match route {
        Err(refusal) => return plan_without_route(session, request, refusal),
        Ok(route) => route,
    };
    match route {
        Route::Event(event) => match request.method {
            "GET" | "HEAD" => {
                // the credential is not passed on, but its client gets an answer of its own (RFC 9111, 3.5)
                let personal = request.authorization.is_some();
                let keep = if personal { Keep::Never } else { event.keep };
                Ok(Plan::Event { key: event.target.to_owned(), kind: event.kind, keep })
            }
            "OPTIONS" => Ok(Plan::Preflight("GET, HEAD, OPTIONS")),
            _ => Err((Refusal::MethodNotAllowed, "GET, HEAD, OPTIONS")),
        },
        // RFC 6455, 4.1: only a GET opens a WebSocket; a HEAD is told what a GET without an upgrade is
        Route::TwoStep { .. } | Route::OneStep(_) if request.method == "HEAD" => {
            Err((Refusal::UpgradeRequired, ""))
        }
        Route::TwoStep { .. } | Route::OneStep(_) if request.method != "GET" => {
            Err((Refusal::MethodNotAllowed, "GET, HEAD"))
        }
        Route::TwoStep { suffix, query } => {
            plan_websocket(websocket::plan_two_step(session, request, suffix, query, page))
        }
        Route::OneStep(route) => plan_websocket(websocket::plan_one_step(session, request, &route, page)),
        Route::Whip(route) => Ok(match whip::plan(session, request, &route, page)? {
            whip::Planned::Preflight(methods) => Plan::Preflight(methods),
            whip::Planned::NodeRequest(whip) => Plan::Whip(whip),
        }),
    }
}

fn plan_websocket(request: Result<WebSocketRequest, Refusal>) -> Result<Plan, (Refusal, &'static str)> {
    request.map(|request| Plan::WebSocket(Box::new(request))).map_err(|refusal| (refusal, ""))
}

/// A request that matches no route is answered by the fallback, if there is one and it has an answer.
fn plan_without_route(
    session: &Session,
    request: &Request<'_>,
    refusal: Refusal,
) -> Result<Plan, (Refusal, &'static str)> {
    let fallback = session.worker.gateway.fallback.as_ref().filter(|_| refusal == Refusal::NoSuchRoute);
    match fallback.and_then(|fallback| fallback(request.target)) {
        Some(answer) if matches!(request.method, "GET" | "HEAD") => Ok(Plan::Fallback(answer)),
        Some(_) => Err((Refusal::MethodNotAllowed, "GET, HEAD")),
        None => Err((refusal, "")),
    }
}
