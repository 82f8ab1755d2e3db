//! Which node: the one that the client named, or one that the stream manager names, a fresh one before one that failed.

use crate::config::OriginHeader;
use crate::proto::admission::Admitted;
use crate::proto::http::forward_fields::NodeOrigin;
use crate::proto::http::head::Request;
use crate::proto::red5::params::Host;
use crate::proto::red5::route;
use crate::proto::red5::route::{EventKind, Keep, Route};
use crate::proto::refusal::Refusal;
use crate::shared::answers::Answer;
use crate::shared::questions::CacheStatus;
use crate::worker::io::client::Conn;
use crate::worker::io::disconnect::until_disconnect;
use crate::worker::node::connect::DialFault;
use crate::worker::node::lookup;
use crate::worker::session::context::Session;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a request comes to its node.
pub(crate) enum Way {
    /// The client named it, and it may be dialled.
    Named(Admitted),
    /// This question to the stream manager finds it.
    Asked(String),
}

/// What a [`Search`] found.
pub(crate) enum Found {
    Node(Admitted),
    /// No further node: what the last one led to stands.
    NoMore,
    Refused(Refusal),
    /// The stream manager's own no, such as "not found" or "in use".
    Answered(CacheStatus, Arc<Answer>),
    /// The client left.
    Gone,
}

/// Looks for a node that takes a request: asks the stream manager, and after each node that failed asks again.
pub(crate) struct Search<'q> {
    question: &'q str,
    tried: Vec<IpAddr>,
    left: u32,
    deadline: Instant,
}

impl<'q> Search<'q> {
    /// A search that takes at most `patience` and as many attempts as configured.
    pub(crate) fn new(session: &Session, question: &'q str, patience: Duration) -> Self {
        let left = session.revision().config.origins.attempts;
        Self { question, tried: Vec::new(), left, deadline: Instant::now() + patience }
    }

    /// When its time is up.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The next node.
    pub(crate) async fn next(&mut self, session: &Session, conn: &mut Conn, inbox: &mut Vec<u8>) -> Found {
        while self.left > 0 && Instant::now() < self.deadline {
            self.left -= 1;
            match self.ask(session, conn, inbox).await {
                Some(Found::Node(admitted)) => {
                    self.tried.push(admitted.address().ip());
                    return Found::Node(admitted);
                }
                Some(Found::Refused(_)) if !self.tried.is_empty() => return Found::NoMore,
                Some(found) => return found,
                None => {}
            }
        }
        Found::NoMore
    }

    /// Asks once; `None` when only nodes were named that failed, and there is another try.
    async fn ask(&self, session: &Session, conn: &mut Conn, inbox: &mut Vec<u8>) -> Option<Found> {
        let (kind, keep) = match route::route(self.question) {
            Ok(Route::Event(event)) => (event.kind, event.keep),
            _ => (EventKind::Other, Keep::Never),
        };
        if !self.tried.is_empty() {
            // what led to a node that did not take us would lead there again
            session.worker.gateway.answers.forget(self.question);
        }
        let asked = lookup::ask(&session.worker, self.question, kind, keep);
        let mut asked = std::pin::pin!(monoio::time::timeout_at(self.deadline.into(), asked));
        let Some(asked) = until_disconnect(conn, inbox, None, |cx| asked.as_mut().poll(cx)).await else {
            return Some(Found::Gone);
        };
        match asked {
            Err(_) => Some(Found::Refused(Refusal::ManagerTimeout)),
            Ok((_, Err(refusal))) => Some(Found::Refused(refusal)),
            Ok((by, Ok(answer))) if answer.status != 200 => Some(Found::Answered(by, answer)),
            Ok((_, Ok(answer))) => self.pick(session, &answer.nodes),
        }
    }

    /// One of the nodes named: a fresh one before one that failed lately, which is only taken when nothing better can be
    /// hoped for.
    fn pick(&self, session: &Session, nodes: &[IpAddr]) -> Option<Found> {
        // the second node of a transcoding answer is the origin behind the transcoder, not one to take its place
        let alternatives = !self.question.contains("transcode=");
        let nodes = if alternatives { nodes } else { &nodes[..nodes.len().min(1)] };
        if nodes.is_empty() {
            return Some(Found::Refused(Refusal::ManagerFailed));
        }
        let (gateway, revision) = (&session.worker.gateway, session.revision());
        let admit = |node: &IpAddr| revision.admit(*node, true);
        if !nodes.iter().any(|node| admit(node).is_ok()) {
            return Some(Found::Refused(Refusal::OriginNotAdmitted));
        }
        let untried = || nodes.iter().filter(|node| !self.tried.contains(node)).filter_map(|n| admit(n).ok());
        let healthy = untried().find(|admitted| !gateway.nodes.is_quarantined(admitted.address().ip()));
        let wait_for_better = self.left > 0 && gateway.nodes.knows_healthy();
        healthy.or_else(|| untried().next().filter(|_| !wait_for_better)).map(Found::Node)
    }
}

/// The permit for the node that a client named.
pub(crate) fn admit(session: &Session, host: &Host) -> Result<Admitted, Refusal> {
    let revision = session.revision();
    match host {
        Host::Address(address) => {
            let learned = session.worker.gateway.nodes.is_learned(*address);
            revision.admit(*address, learned)
        }
        Host::Name(name) => {
            let names = revision.names.load();
            let addresses = names.get(name).map(Vec::as_slice).unwrap_or_default();
            let mut admitted = addresses.iter().map(|ip| revision.admit_configured(*ip));
            admitted.find_map(Result::ok).ok_or(Refusal::OriginNotAdmitted)
        }
    }
}

/// The `Origin` that a node sees, as configured.
pub(crate) fn origin_for_node(session: &Session, request: &Request<'_>) -> Option<NodeOrigin> {
    match &session.revision().config.origins.origin_header {
        OriginHeader::None => None,
        OriginHeader::Node => Some(NodeOrigin::Itself),
        OriginHeader::Client => request.origin.map(|origin| NodeOrigin::Text(origin.to_owned())),
        OriginHeader::Fixed(value) => Some(NodeOrigin::Text(value.clone())),
    }
}

/// A node did not take a session: everybody forgets the answers that name it, unless it answered, however wrongly. Says
/// what the client is told.
pub(crate) fn blame(session: &Session, admitted: &Admitted, fault: DialFault) -> Refusal {
    tracing::warn!(session = session.id, node = %admitted.address(), ?fault, "a node did not take a request");
    if !matches!(fault, DialFault::BadHandshake(_) | DialFault::Exhausted) {
        session.worker.gateway.nodes.mark_failed(admitted.address().ip());
    }
    match fault {
        DialFault::Refused | DialFault::Broken => Refusal::OriginRefused,
        DialFault::Exhausted => Refusal::Overloaded,
        DialFault::BadHandshake(_) => Refusal::OriginBadHandshake,
        DialFault::ConnectTimeout | DialFault::UpgradeTimeout => Refusal::OriginTimeout,
    }
}
