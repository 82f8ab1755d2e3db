//! The two-step WebSocket: the client names the node; we look whether it may, dial it, and relay.
//!
//! Everything that can be refused is refused before anything is dialled, and the node is dialled before the client gets
//! its 101: browsers show a refused handshake as a failure, but a socket that opens and closes as nothing at all.

use super::conn::Conn;
use super::event::{access_line, log_access, unless_gone};
use super::forward::Ready;
use super::origin::{self, DialFault};
use super::session::Session;
use super::sessions::ActiveGuard;
use crate::config::{Extensions, OriginHeader};
use crate::metrics::DialOutcome;
use crate::proto::admission::{self, Admitted};
use crate::proto::cors::Site;
use crate::proto::head::Request;
use crate::proto::params::{ConnectionParams, Host};
use crate::proto::refusal::Refusal;
use crate::proto::upgrade::{Upgrade, is_key, trim_user_agent};
use std::time::Instant;

/// What a client asked for, checked and admitted.
pub(super) struct Ask {
    admitted: Admitted,
    upgrade: Upgrade,
    access: Option<String>,
}

/// Why there is no relay.
#[derive(Debug)]
pub(super) enum No {
    Refused(Refusal),
    /// The client left.
    Gone,
}

/// Checks a request on the WebSocket route. Nothing is dialled here.
pub(super) fn plan(
    session: &Session,
    request: &Request<'_>,
    suffix: &str,
    query: &str,
    site: Site,
) -> Result<Ask, Refusal> {
    let gateway = &session.worker.gateway;
    let config = &gateway.config;
    if !request.upgrade_websocket {
        return Err(Refusal::UpgradeRequired);
    }
    if request.ws_version != Some("13") {
        return Err(Refusal::WebsocketVersion);
    }
    let key = request.ws_key.filter(|key| is_key(key)).ok_or(Refusal::BadRequest)?;
    if site == Site::Foreign || (site == Site::Unnamed && !config.cors.allow_missing) {
        return Err(Refusal::CrossSite);
    }
    let params = ConnectionParams::read(suffix, query, &gateway.rules().params)?;
    let admitted = admit(session, &params.host)?;
    if session.pager.is_draining() {
        return Err(Refusal::Draining);
    }
    let forward = config.origins.extensions == Extensions::Forward;
    let upgrade = Upgrade {
        target: params.origin_target,
        client_key: key.to_owned(),
        origin_key: tungstenite::handshake::client::generate_key(),
        user_agent: request.user_agent.and_then(trim_user_agent),
        extensions: request.ws_extensions.filter(|_| forward).map(str::to_owned),
        client_protocols: request.ws_protocol.map(str::to_owned),
        origin_protocol: config.origins.subprotocol.clone(),
        origin: match &config.origins.origin_header {
            OriginHeader::None => None,
            OriginHeader::Node => Some(format!("http://{}", admitted.address())),
            OriginHeader::Client => request.origin.map(str::to_owned),
            OriginHeader::Fixed(value) => Some(value.clone()),
        },
    };
    Ok(Ask { admitted, upgrade, access: access_line(session, request) })
}

/// The permit for the node that a client named.
fn admit(session: &Session, host: &Host) -> Result<Admitted, Refusal> {
    let gateway = &session.worker.gateway;
    match host {
        Host::Address(address) => {
            admission::admit(gateway.admission(), *address, gateway.answers.is_learned(*address))
        }
        Host::Name(name) => {
            let names = gateway.names.load();
            let addresses = names.get(name).map(Vec::as_slice).unwrap_or_default();
            let admitted =
                addresses.iter().map(|address| admission::admit(gateway.admission(), *address, true));
            admitted.into_iter().find_map(Result::ok).ok_or(Refusal::OriginNotAdmitted)
        }
    }
}

/// Dials the node, asks it to upgrade, and answers the client 101.
pub(super) async fn open(
    session: &Session,
    conn: &mut Conn,
    inbox: &mut Vec<u8>,
    ask: Ask,
    active: ActiveGuard,
) -> Result<Ready, No> {
    let metrics = &session.worker.metrics;
    let config = &session.worker.gateway.config.origins;
    let started = Instant::now();
    let count = |outcome: DialOutcome| metrics.dials[outcome as usize].add(1);
    let mut dial = std::pin::pin!(origin::open(&ask.admitted, &ask.upgrade, session.peer, config));
    let Some(dialled) = unless_gone(conn, inbox, None, |cx| dial.as_mut().poll(cx)).await else {
        count(DialOutcome::Cancelled);
        log_access(ask.access, 499);
        return Err(No::Gone);
    };
    metrics.dial.observe(started.elapsed());
    let opened = match dialled {
        Ok(opened) => opened,
        Err(fault) => {
            count(fault.outcome());
            let refusal = refusal_of(session, &ask.admitted, fault);
            log_access(ask.access, refusal.status());
            return Err(No::Refused(refusal));
        }
    };
    count(DialOutcome::Connected);
    let response = ask.upgrade.response(&opened.agreed, &session.id);
    if conn.send(&response).is_err() {
        return Err(No::Gone);
    }
    metrics.setup.observe(session.accepted.elapsed());
    log_access(ask.access, 101);
    Ok(Ready {
        origin: opened.sock,
        from_client: std::mem::take(inbox),
        from_origin: opened.early,
        extensions: opened.agreed.extensions.is_some(),
        active,
    })
}

/// What the client is told; and everybody forgets the answers that name a node which did not answer.
fn refusal_of(session: &Session, admitted: &Admitted, fault: DialFault) -> Refusal {
    tracing::debug!(session = session.id, ?fault, "a node did not take the session");
    if !matches!(fault, DialFault::BadHandshake(_) | DialFault::Exhausted) {
        session.worker.gateway.answers.refused(admitted.address().ip());
    }
    match fault {
        DialFault::Refused => Refusal::OriginRefused,
        DialFault::Exhausted => Refusal::Overloaded,
        DialFault::BadHandshake(_) => Refusal::OriginBadHandshake,
        DialFault::ConnectTimeout | DialFault::UpgradeTimeout => Refusal::OriginTimeout,
    }
}
