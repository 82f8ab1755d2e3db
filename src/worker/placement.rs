//! Which node: the one that the client named, or one that the stream manager names, a fresh one before one that failed.

use super::answers::{Answer, By};
use super::conn::Conn;
use super::lookup;
use super::origin::DialFault;
use super::session::Session;
use super::watch::unless_gone;
use crate::config::OriginHeader;
use crate::proto::admission::{self, Admitted};
use crate::proto::head::Request;
use crate::proto::params::Host;
use crate::proto::refusal::Refusal;
use crate::proto::target::{self, EventKind, Keep, Route};
use crate::proto::upgrade::NodeOrigin;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// How a request comes to its node.
pub(super) enum Way {
    /// The client named it, and it may be dialled.
    Named(Admitted),
    /// This question to the stream manager finds it.
    Asked(String),
}

/// What asking for a node gave.
pub(super) enum Choice {
    Node(Admitted),
    /// Only nodes that failed were named: ask again.
    Again,
    Refused(Refusal),
    /// The stream manager's own no, such as "not found" or "in use".
    Answered(By, Arc<Answer>),
    /// The client left.
    Gone,
}

/// The permit for the node that a client named.
pub(super) fn admit(session: &Session, host: &Host) -> Result<Admitted, Refusal> {
    let gateway = &session.worker.gateway;
    match host {
        Host::Address(address) => {
            admission::admit(gateway.admission(), *address, gateway.answers.is_learned(*address))
        }
        Host::Name(name) => {
            let names = gateway.names.load();
            let addresses = names.get(name).map(Vec::as_slice).unwrap_or_default();
            let mut admitted =
                addresses.iter().map(|ip| admission::admit_configured(gateway.admission(), *ip));
            admitted.find_map(Result::ok).ok_or(Refusal::OriginNotAdmitted)
        }
    }
}

/// The `Origin` that a node sees, as configured.
pub(super) fn origin_for_node(session: &Session, request: &Request<'_>) -> Option<NodeOrigin> {
    match &session.worker.gateway.config.origins.origin_header {
        OriginHeader::None => None,
        OriginHeader::Node => Some(NodeOrigin::Itself),
        OriginHeader::Client => request.origin.map(|origin| NodeOrigin::Text(origin.to_owned())),
        OriginHeader::Fixed(value) => Some(NodeOrigin::Text(value.clone())),
    }
}

/// Asks the stream manager for a node that is not among `tried`. With `again` a node that failed lately is not taken
/// either, since there is another try; on the last one it is better than none.
pub(super) async fn choose(
    session: &Session,
    conn: &mut Conn,
    inbox: &mut Vec<u8>,
    question: &str,
    tried: &[IpAddr],
    again: bool,
    deadline: Instant,
) -> Choice {
    let (kind, keep) = match target::route(question) {
        Ok(Route::Event(event)) => (event.kind, event.keep),
        _ => (EventKind::Other, Keep::Never),
    };
    if !tried.is_empty() {
        // what led to a node that did not take us would lead there again
        session.worker.gateway.answers.forget(question);
    }
    let asked = lookup::ask(&session.worker, question, kind, keep);
    let mut asked = std::pin::pin!(monoio::time::timeout_at(deadline.into(), asked));
    let Some(asked) = unless_gone(conn, inbox, None, |cx| asked.as_mut().poll(cx)).await else {
        return Choice::Gone;
    };
    match asked {
        Err(_) => Choice::Refused(Refusal::ManagerTimeout),
        Ok((_, Err(refusal))) => Choice::Refused(refusal),
        Ok((by, Ok(answer))) if answer.status != 200 => Choice::Answered(by, answer),
        Ok((_, Ok(answer))) => pick(session, question, &answer.nodes, tried, again),
    }
}

fn pick(session: &Session, question: &str, nodes: &[IpAddr], tried: &[IpAddr], again: bool) -> Choice {
    // the second node of a transcoding answer is the origin behind the transcoder, not one to take its place
    let nodes = if question.contains("transcode=") { &nodes[..nodes.len().min(1)] } else { nodes };
    if nodes.is_empty() {
        return Choice::Refused(Refusal::ManagerFailed);
    }
    let gateway = &session.worker.gateway;
    let untried = || nodes.iter().filter(|node| !tried.contains(node));
    let healthy = untried().find(|node| !gateway.answers.is_quarantined(**node));
    let wait_for_better = again && gateway.answers.knows_healthy_node();
    match healthy.or_else(|| untried().next().filter(|_| !wait_for_better)) {
        None => Choice::Again,
        Some(node) => match admission::admit(gateway.admission(), *node, true) {
            Ok(admitted) => Choice::Node(admitted),
            Err(refusal) => Choice::Refused(refusal),
        },
    }
}

/// A node did not take a session: everybody forgets the answers that name it, unless it answered, however wrongly. Says
/// what the client is told.
pub(super) fn blame(session: &Session, admitted: &Admitted, fault: DialFault) -> Refusal {
    tracing::debug!(session = session.id, ?fault, "a node did not take the session");
    if !matches!(fault, DialFault::BadHandshake(_) | DialFault::Exhausted) {
        session.worker.gateway.answers.refused(admitted.address().ip());
    }
    match fault {
        DialFault::Refused | DialFault::Broken => Refusal::OriginRefused,
        DialFault::Exhausted => Refusal::Overloaded,
        DialFault::BadHandshake(_) => Refusal::OriginBadHandshake,
        DialFault::ConnectTimeout | DialFault::UpgradeTimeout => Refusal::OriginTimeout,
    }
}
