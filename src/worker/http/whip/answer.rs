//! What a client gets of a node's answer, and the WHIP sessions that nodes create.

use crate::metrics::WhipEnd;
use crate::proto::admission::Admitted;
use crate::proto::red5::location;
use crate::proto::red5::route::Step;
use crate::proto::red5::whip::{Handle, Method};
use crate::proto::refusal::Refusal;
use crate::shared::session_id::SessionId;
use crate::shared::whip_sessions::{Identity, WhipSession};
use crate::worker::http::response::{self, Shape};
use crate::worker::http::whip::plan::{METHODS, WhipRequest};
use crate::worker::http::whip::undo::{Undo, exchange_limits};
use crate::worker::io::runtime;
use crate::worker::local::task::guarded;
use crate::worker::node::exchange::Answered;
use crate::worker::session::context::Session;
use crate::worker::session::whip_end;
use std::rc::Rc;
use std::sync::Arc;

/// The node's answer as the client gets it: status and bytes. A WHIP session that it created is remembered.
pub(super) fn answer_for_client(
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
    let close = shape.close || session.is_leaving();
    let shape = Shape { close, session: session.shown_id().to_string(), ..shape.clone() };
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
        let undo = Undo::new(session, whip, admitted);
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
    let id = SessionId(session.worker.random());
    let counted = gateway.node_metrics.session(node);
    let identity = Identity { node, at_node, handle, key, client, counted };
    let made = Arc::new(WhipSession::new(id, session.accepted, identity));
    let kind = made.kind();
    session.worker.metrics.sessions_total[kind.0 as usize][kind.1 as usize].add(1);
    session.note_description(kind);
    session.whip_session.set(Some(id));
    let _ = whip.session.set(Arc::clone(&made));
    for pushed_out in gateway.whip_sessions.remember(made) {
        whip_end::end(&session.worker, &pushed_out, WhipEnd::Forgotten);
    }
    Ok(location::for_client(&whip.request, handle))
}
