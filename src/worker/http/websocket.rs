//! WebSockets: a node is found or was named, dialled, asked to upgrade; then the client gets its 101 and the relay begins.
//!
//! Everything that can be refused is refused before anything is dialled, and the node is dialled before the client gets
//! its 101: browsers show a refused handshake as a failure, but a socket that opens and closes as nothing at all.

use crate::config::Extensions;
use crate::metrics::{DialOutcome, Route as RouteLabel};
use crate::proto::admission::Admitted;
use crate::proto::http::cors::PageOrigin;
use crate::proto::http::head::{BodyLength, Request};
use crate::proto::red5::one_step::OneStep;
use crate::proto::red5::params::ConnectionParams;
use crate::proto::red5::route::{Action, OneStepRoute};
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::RelayRules;
use crate::proto::websocket::upgrade::{Upgrade, UpgradeOptions, is_key};
use crate::shared::answers::Answer;
use crate::shared::questions::CacheStatus;
use crate::worker::http::exchange::CLIENT_LEFT;
use crate::worker::io::client::Conn;
use crate::worker::io::disconnect::until_disconnect;
use crate::worker::local::info::Names;
use crate::worker::local::registry::ActiveGuard;
use crate::worker::node::connect;
use crate::worker::node::placement;
use crate::worker::node::placement::{Found, Search, Way};
use crate::worker::node::upgrade;
use crate::worker::node::upgrade::Opened;
use crate::worker::relay::pump::RelayStart;
use crate::worker::session::access_log::RequestLine;
use crate::worker::session::context::Session;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients give a handshake up after 5.5 s; what is tried has to be over before.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client asked for, checked.
pub(crate) struct WebSocketRequest {
    way: Way,
    publish: bool,
    upgrade: Upgrade,
    names: Names,
    access: Option<RequestLine>,
}

impl WebSocketRequest {
    /// Label of the session in the metrics.
    pub(crate) const fn label(&self) -> RouteLabel {
        match self.way {
            Way::Named(_) => RouteLabel::TwoStep,
            Way::Asked(_) => RouteLabel::OneStep,
        }
    }
}

/// Why there is no relay.
#[derive(Debug)]
pub(crate) enum Unserved {
    Refused(Refusal),
    /// The stream manager's own no, passed on.
    Answered(CacheStatus, Arc<Answer>),
    /// The client left.
    Gone,
}

/// Checks a request in which the client names the node. Nothing is dialled here.
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
    let names = Names::new(&params.scope, params.id().unwrap_or_default());
    Ok(ask(session, request, key, Way::Named(admitted), false, params.node_target, names))
}

/// Checks a request for which the gateway finds the node itself, unless the client names one. Nothing is dialled here.
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
    let way = match &step.host {
        Some(host) => Way::Named(placement::admit(session, host)?),
        None => Way::Asked(step.question().ok_or(Refusal::BadParams)?),
    };
    let names = Names::new(&step.scope, &step.stream);
    Ok(ask(session, request, key, way, step.action == Action::Publish, step.node_target, names))
}

/// What every WebSocket request has to be; gives its key.
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

fn ask(
    session: &Session,
    request: &Request<'_>,
    key: &str,
    way: Way,
    publish: bool,
    target: String,
    names: Names,
) -> WebSocketRequest {
    let revision = session.revision();
    let config = &revision.config.origins;
    let options = UpgradeOptions {
        forward_extensions: config.extensions == Extensions::Forward,
        node_protocol: config.subprotocol.clone(),
        origin_header: placement::origin_for_node(session, request),
    };
    let upgrade = Upgrade::new(request, key, target, options);
    WebSocketRequest { way, publish, upgrade, names, access: RequestLine::of(session, request) }
}

/// Finds a node that takes the session, and answers the client 101.
pub(crate) async fn open(
    session: &Session,
    conn: &mut Conn,
    inbox: &mut Vec<u8>,
    ask: WebSocketRequest,
    active: ActiveGuard,
) -> Result<RelayStart, Unserved> {
    let found = match &ask.way {
        Way::Named(admitted) => {
            // whoever names the node has only the node's own waits
            let revision = session.revision();
            let origins = &revision.config.origins;
            let deadline = Instant::now() + origins.connect_timeout + origins.upgrade_timeout + PATIENCE;
            dial(session, conn, inbox, admitted, &ask.upgrade, deadline).await.map_err(Unserved::from)
        }
        Way::Asked(question) => find(session, conn, inbox, &ask, question).await,
    };
    let found = found
        .and_then(|opened| if session.is_leaving() { Err(too_late(session, &opened)) } else { Ok(opened) });
    let status = match &found {
        Ok(_) => 101,
        Err(Unserved::Gone) => CLIENT_LEFT,
        Err(Unserved::Refused(refusal)) => refusal.status(),
        Err(Unserved::Answered(_, answer)) => answer.status,
    };
    if let Some(line) = ask.access {
        line.write(status);
    }
    let opened = found?;
    let response = ask.upgrade.response(&opened.agreed, &session.id);
    if conn.send(&response).is_err() {
        return Err(Unserved::Gone);
    }
    session.worker.metrics.setup.observe(session.accepted.elapsed());
    Ok(RelayStart {
        origin: opened.sock,
        node: opened.node,
        names: ask.names,
        from_client: std::mem::take(inbox),
        from_origin: opened.early,
        rules: RelayRules {
            extensions: opened.agreed.extensions.is_some(),
            ..session.revision().rules().relay.clone()
        },
        active,
    })
}

/// The gateway began to go down meanwhile: a handshake that is refused is tried elsewhere, but a session that is closed at
/// once is lost. The node hears an orderly end.
fn too_late(session: &Session, opened: &Opened) -> Unserved {
    let mut goodbye = Vec::new();
    let code = session.revision().config.gateway.drain_close_code;
    let reason = format!("draining {}", session.id);
    frame::write_close(Side::Node, code, &reason, session.mask(), &mut goodbye);
    // a few bytes always fit into a fresh socket; a node that is gone needs none
    let _ = opened.sock.send(&goodbye, true);
    opened.sock.finish();
    Unserved::Refused(Refusal::Draining)
}

/// Asks for a node and dials it; when it does not take the session, asks again and tries another one. A publish is not
/// tried again once bytes of it reached a node: the node may have taken the name.
async fn find(
    session: &Session,
    conn: &mut Conn,
    inbox: &mut Vec<u8>,
    ask: &WebSocketRequest,
    question: &str,
) -> Result<Opened, Unserved> {
    let mut search = Search::new(session, question, PATIENCE);
    let mut last = Refusal::OriginTimeout;
    loop {
        let admitted = match search.next(session, conn, inbox).await {
            Found::Node(admitted) => admitted,
            Found::NoMore => return Err(Unserved::Refused(last)),
            Found::Refused(refusal) => return Err(Unserved::Refused(refusal)),
            Found::Answered(by, answer) => return Err(Unserved::Answered(by, answer)),
            Found::Gone => return Err(Unserved::Gone),
        };
        match dial(session, conn, inbox, &admitted, &ask.upgrade, search.deadline()).await {
            Ok(opened) => return Ok(opened),
            Err(Failed::Node { refusal, reached }) if !(ask.publish && reached) => last = refusal,
            Err(failed) => return Err(failed.into()),
        }
    }
}

/// Why a dial gave nothing.
enum Failed {
    Gone,
    Node {
        refusal: Refusal,
        /// Bytes of the request may have reached the node.
        reached: bool,
    },
}

impl From<Failed> for Unserved {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Gone => Self::Gone,
            Failed::Node { refusal, .. } => Self::Refused(refusal),
        }
    }
}

/// Dials one node and asks it to upgrade. A client that leaves cancels it, and so does the deadline.
async fn dial(
    session: &Session,
    conn: &mut Conn,
    inbox: &mut Vec<u8>,
    admitted: &Admitted,
    upgrade: &Upgrade,
    deadline: Instant,
) -> Result<Opened, Failed> {
    let metrics = &session.worker.metrics;
    let started = Instant::now();
    let count = |outcome: DialOutcome| metrics.dials[outcome as usize].add(1);
    let revision = session.revision();
    let config = &revision.config.origins;
    let key = tungstenite::handshake::client::generate_key();
    let request = upgrade.request(&key, admitted.address(), session.peer);
    if !connect::takes_head(request.len()) {
        return Err(Failed::Node { refusal: Refusal::HeadTooLarge, reached: true });
    }
    let work = upgrade::open(admitted, upgrade, &key, &request, config);
    let mut work = std::pin::pin!(monoio::time::timeout_at(deadline.into(), work));
    let Some(dialled) = until_disconnect(conn, inbox, None, |cx| work.as_mut().poll(cx)).await else {
        count(DialOutcome::Cancelled);
        return Err(Failed::Gone);
    };
    metrics.dial.observe(started.elapsed());
    let Ok(dialled) = dialled else {
        // our own time is up, which says nothing of the node
        count(DialOutcome::UpgradeTimeout);
        return Err(Failed::Node { refusal: Refusal::OriginTimeout, reached: true });
    };
    dialled.inspect(|_| count(DialOutcome::Connected)).map_err(|fault| {
        count(fault.outcome());
        Failed::Node { refusal: placement::blame(session, admitted, fault), reached: fault.reached() }
    })
}
