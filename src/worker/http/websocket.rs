//! WebSocket requests: a node is found or was named, dialled and asked to upgrade; then the client gets its 101 and the
//! relay begins.
//!
//! Everything that can be refused is refused before a node is dialled, and the node is dialled before the client gets its
//! 101: browsers report a refused handshake as a failure, but report nothing about a socket that opens and closes at once.

use crate::config::Extensions;
use crate::metrics::{DialOutcome, Route};
use crate::proto::admission::Admitted;
use crate::proto::http::cors::PageOrigin;
use crate::proto::http::head::{BodyLength, Request};
use crate::proto::red5::one_step::OneStep;
use crate::proto::red5::params::ConnectionParams;
use crate::proto::red5::role::Role;
use crate::proto::red5::route::OneStepRoute;
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::{self, Side};
use crate::proto::websocket::relay::RelayRules;
use crate::proto::websocket::upgrade::{Upgrade, UpgradeOptions, is_key};
use crate::shared::node_metrics::NodeSession;
use crate::worker::io::disconnect::{CloseNotify, until_disconnect};
use crate::worker::io::runtime;
use crate::worker::local::info::Activity;
use crate::worker::local::registry::ActiveGuard;
use crate::worker::node::connect;
use crate::worker::node::dial_count::Attempt;
use crate::worker::node::placement::{self, Failed, NodeChoice, Retry, TryLimits, Unserved};
use crate::worker::node::upgrade::{self, Opened};
use crate::worker::relay::pump::RelayStart;
use crate::worker::session::client::Client;
use crate::worker::session::context::Session;
use std::time::{Duration, Instant};

/// How long looking for a node, connecting and upgrading may take together. Clients give a handshake up after 5.5 s, and need
/// the refusal before that.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A WebSocket request, checked.
pub(crate) struct WebSocketRequest {
    route: Route,
    node: NodeChoice,
    role: Role,
    upgrade: Upgrade,
}

impl WebSocketRequest {
    /// What its session does.
    pub(crate) const fn activity(&self) -> Activity {
        Activity::Session(self.route, self.role)
    }
}

/// Checks a two-step request, in which the client names the node. Dials nothing.
pub(crate) fn plan_two_step(
    session: &Session,
    request: &Request<'_>,
    suffix: &str,
    query: &str,
    page: PageOrigin,
) -> Result<WebSocketRequest, Refusal> {
    let key = check(session, request, page)?;
    let params = ConnectionParams::read(suffix, query, &session.revision().rules().params)?;
    let admitted = placement::admit(session, &params.host)?;
    let role = Role::of_id(params.id().unwrap_or_default());
    let upgrade = upgrade_for_node(session, request, key, params.node_target);
    let node = NodeChoice::Named(admitted);
    Ok(WebSocketRequest { route: Route::TwoStep, node, role, upgrade })
}

/// Checks a one-step request, for which the gateway finds the node unless the client names one. Dials nothing.
pub(crate) fn plan_one_step(
    session: &Session,
    request: &Request<'_>,
    route: &OneStepRoute<'_>,
    page: PageOrigin,
) -> Result<WebSocketRequest, Refusal> {
    let key = check(session, request, page)?;
    let revision = session.revision();
    let group = revision.config.stream_manager.node_group.as_deref().unwrap_or_default();
    let step = OneStep::read(route, &revision.rules().params, group)?;
    let node = match &step.host {
        Some(host) => NodeChoice::Named(placement::admit(session, host)?),
        None => NodeChoice::Search(step.question().ok_or(Refusal::BadParams)?),
    };
    let upgrade = upgrade_for_node(session, request, key, step.node_target);
    Ok(WebSocketRequest { route: Route::OneStep, node, role: step.action.into(), upgrade })
}

/// Checks what every WebSocket request needs (RFC 6455, 4.2.1), its web origin, and that the gateway is not draining. The
/// result is the request's `Sec-WebSocket-Key`.
fn check<'r>(session: &Session, request: &Request<'r>, page: PageOrigin) -> Result<&'r str, Refusal> {
    if !request.upgrade_websocket {
        return Err(Refusal::UpgradeRequired);
    }
    if request.ws_version != Some("13") {
        return Err(Refusal::WebsocketVersion);
    }
    // bytes of a body would be taken for frames
    if request.body != BodyLength::None {
        return Err(Refusal::BadRequest);
    }
    let key = request.ws_key.filter(|key| is_key(key)).ok_or(Refusal::BadRequest)?;
    let allow_missing = session.revision().config.cors.allow_missing;
    if page == PageOrigin::Foreign || (page == PageOrigin::Missing && !allow_missing) {
        return Err(Refusal::CrossSite);
    }
    if session.is_leaving() {
        return Err(Refusal::Draining);
    }
    Ok(key)
}

/// The upgrade that the node is asked for: `target` there, and of the client's offer what the configuration forwards.
fn upgrade_for_node(session: &Session, request: &Request<'_>, key: &str, target: String) -> Upgrade {
    let revision = session.revision();
    let config = &revision.config.origins;
    let options = UpgradeOptions {
        forward_extensions: config.extensions == Extensions::Forward,
        node_protocol: config.subprotocol.clone(),
        origin_header: placement::origin_header_for_node(session, request),
        trace: session.trace_fields(),
    };
    Upgrade::new(request, key, target, options)
}

/// Opens the WebSocket at a node, and answers the client 101.
pub(crate) async fn open(
    client: &mut Client<'_>,
    request: WebSocketRequest,
    active: ActiveGuard,
) -> Result<RelayStart, Unserved> {
    let session = client.session;
    let (opened, at_node) = open_at_node(client, &request).await?;
    session.note_upgrade();
    let response = request.upgrade.response(&opened.agreed, &session.id.text());
    if client.conn.send(&response).is_err() {
        return Err(Unserved::ClientLeft);
    }
    session.worker.metrics.setup.observe(session.accepted.elapsed());
    Ok(RelayStart {
        node_sock: opened.sock,
        node: opened.node,
        kind: (request.route, request.role),
        from_node: opened.early,
        rules: RelayRules {
            extensions: opened.agreed.extensions.is_some(),
            ..session.revision().rules().relay.clone()
        },
        active,
        at_node,
    })
}

/// Opens the WebSocket at the named node or at one that a search finds. A publish is not tried at another node once bytes
/// of it may have reached one: that node may have taken the stream's name.
async fn open_at_node(
    client: &mut Client<'_>,
    request: &WebSocketRequest,
) -> Result<(Opened, NodeSession), Unserved> {
    let session = client.session;
    let upgrade = &request.upgrade;
    let opened = match &request.node {
        NodeChoice::Named(admitted) => {
            let limits = {
                let revision = session.revision();
                let origins = &revision.config.origins;
                // an operator may let nodes that clients name take longer
                let timeout = HANDSHAKE_TIMEOUT.max(origins.upgrade_timeout);
                TryLimits { connect_timeout: origins.connect_timeout, deadline: Instant::now() + timeout }
            };
            let mut dialled = std::pin::pin!(dial(session, *admitted, upgrade, limits));
            until_disconnect(client.conn, CloseNotify::Leaves, |cx| dialled.as_mut().poll(cx))
                .await
                .map_or(Err(Unserved::ClientLeft), |dialled| dialled.map_err(|failed| failed.why))
        }
        NodeChoice::Search(question) => {
            let retry = if request.role == Role::Publisher { Retry::UnlessReached } else { Retry::Always };
            let dial = |admitted, limits| dial(session, admitted, upgrade, limits);
            placement::search(client, question, HANDSHAKE_TIMEOUT, retry, dial).await
        }
    };
    match opened {
        Ok((opened, _)) if session.is_leaving() => Err(refuse_opened(session, &opened)),
        opened => opened,
    }
}

/// Refuses a WebSocket that a node opened while a drain began. The client tries a refused handshake elsewhere, but loses a
/// session that is closed at once. The node gets a Close.
fn refuse_opened(session: &Session, opened: &Opened) -> Unserved {
    let mut close = Vec::new();
    let code = session.revision().config.gateway.drain_close_code;
    let reason = format!("draining {}", session.id);
    frame::write_close(Side::Node, code, &reason, session.mask(), &mut close);
    // a few bytes always fit into a fresh socket; a node that is gone needs none
    let _ = opened.sock.send(&close, true);
    opened.sock.finish();
    Unserved::Refused(Refusal::Draining)
}

/// Dials one node and asks it to upgrade, within `limits`. Counts the outcome, also when the future is dropped before: then
/// the client left, or another node was faster.
async fn dial(
    session: &Session,
    admitted: Admitted,
    upgrade: &Upgrade,
    limits: TryLimits,
) -> Result<(Opened, NodeSession), Failed> {
    let started = Instant::now();
    let refuse = |refusal: Refusal, reached: bool| Failed { why: Unserved::Refused(refusal), reached };
    let upgrade_timeout = session.revision().config.origins.upgrade_timeout;
    let key = tungstenite::handshake::client::generate_key();
    let request = upgrade.request(&key, admitted.address(), session.peer);
    if !connect::takes_head(request.len()) {
        return Err(refuse(Refusal::HeadTooLarge, true));
    }
    let mut attempt = Attempt::begin(session, &admitted);
    let work = upgrade::open(&admitted, upgrade, &key, &request, limits.connect_timeout, upgrade_timeout);
    let dialled = runtime::timeout_at(limits.deadline, work).await;
    let Ok(dialled) = dialled else {
        // the time of the handshake is up, which tells nothing about the node
        attempt.end(DialOutcome::UpgradeTimeout);
        return Err(refuse(Refusal::OriginTimeout, true));
    };
    match dialled {
        Ok(opened) => {
            attempt.end(DialOutcome::Connected);
            session.worker.gateway.nodes.mark_answered(admitted.address().ip());
            session.worker.gateway.node_faults.served(admitted.address());
            Ok((opened, attempt.count_session()))
        }
        Err(fault) => {
            attempt.fault(fault);
            Err(refuse(placement::blame(session, &admitted, fault, started), fault.reached()))
        }
    }
}
