//! Which node serves a request: the one that the client named, or one that the stream manager names. Of several named
//! nodes, a healthy one is preferred to one that failed lately.

use crate::config::OriginHeader;
use crate::proto::admission::Admitted;
use crate::proto::http::forward_fields::NodeOrigin;
use crate::proto::http::head::Request;
use crate::proto::red5::params::Host;
use crate::proto::red5::route::{self, EventKind, Keep, Route};
use crate::proto::refusal::Refusal;
use crate::shared::answers::Answer;
use crate::shared::questions::CacheStatus;
use crate::worker::io::disconnect::{CloseNotify, until_disconnect};
use crate::worker::io::runtime;
use crate::worker::node::connect::DialFault;
use crate::worker::node::lookup;
use crate::worker::session::client::Client;
use crate::worker::session::context::Session;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the node of a request is chosen.
pub(crate) enum NodeChoice {
    /// The client named it, and the admission rule allows it.
    Named(Admitted),
    /// A search finds it with this question to the stream manager.
    Search(String),
}

/// Why no node serves a request.
#[derive(Debug)]
pub(crate) enum Unserved {
    /// The gateway refuses the request.
    Refused(Refusal),
    /// The stream manager answered "no", such as "not found" or "in use". The client gets this answer.
    Answered(CacheStatus, Arc<Answer>),
    /// The client left before it got an answer.
    ClientLeft,
}

/// Why a try at one node gave nothing.
#[derive(Debug)]
pub(crate) struct Failed {
    pub why: Unserved,
    /// Whether bytes of the request may have reached the node.
    pub reached: bool,
}

/// When a search tries another node after one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// After every failure.
    Always,
    /// Only while no byte of the request may have reached a node: a node that got it may have acted on it, for example
    /// by taking the name of a publisher.
    UnlessReached,
}

/// Asks the stream manager `question` for a node and calls `try_node` with it and with the deadline of the search. When
/// the node fails and `retry` allows it, asks again and tries another node.
///
/// The search takes at most `timeout` and at most as many tries as `origins.attempts` allows. When no further node is
/// found, the error is the failure of the last node that was tried.
pub(crate) async fn search<T>(
    client: &mut Client<'_>,
    question: &str,
    timeout: Duration,
    retry: Retry,
    mut try_node: impl AsyncFnMut(&mut Client<'_>, Admitted, Instant) -> Result<T, Failed>,
) -> Result<T, Unserved> {
    let left = client.session.revision().config.origins.attempts;
    let mut search = Search { question, tried: Vec::new(), left, deadline: Instant::now() + timeout };
    let mut last = Refusal::OriginTimeout;
    loop {
        let admitted = search.next(client).await?.ok_or(Unserved::Refused(last))?;
        match try_node(client, admitted, search.deadline).await {
            Ok(served) => return Ok(served),
            Err(Failed { why: Unserved::Refused(refusal), reached })
                if retry == Retry::Always || !reached =>
            {
                last = refusal;
            }
            Err(failed) => return Err(failed.why),
        }
    }
}

/// The state of a search for a node.
struct Search<'q> {
    question: &'q str,
    /// The nodes that were tried and failed.
    tried: Vec<IpAddr>,
    /// How many questions may still be asked.
    left: u32,
    deadline: Instant,
}

impl Search<'_> {
    /// The next node to try; `None` when there is no further one.
    async fn next(&mut self, client: &mut Client<'_>) -> Result<Option<Admitted>, Unserved> {
        while self.left > 0 && Instant::now() < self.deadline {
            self.left -= 1;
            match self.ask(client).await {
                Ok(Some(admitted)) => {
                    self.tried.push(admitted.address().ip());
                    return Ok(Some(admitted));
                }
                Ok(None) => {}
                // the failure of the node that was tried says more to the client
                Err(Unserved::Refused(_)) if !self.tried.is_empty() => break,
                Err(unserved) => return Err(unserved),
            }
        }
        Ok(None)
    }

    /// Asks once. `None` when only nodes were named that failed, and asking again may name a better one.
    async fn ask(&self, client: &mut Client<'_>) -> Result<Option<Admitted>, Unserved> {
        let session = client.session;
        let (kind, keep) = match route::route(self.question) {
            Ok(Route::Event(event)) => (event.kind, event.keep),
            _ => (EventKind::Other, Keep::Never),
        };
        if !self.tried.is_empty() {
            // the stored answer named a node that failed, and would name it again
            session.worker.gateway.answers.forget(self.question);
        }
        let asked = lookup::ask(session, self.question, kind, keep);
        let mut asked = std::pin::pin!(runtime::timeout_at(self.deadline, asked));
        let asked = until_disconnect(client.conn, CloseNotify::Leaves, |cx| asked.as_mut().poll(cx)).await;
        match asked.ok_or(Unserved::ClientLeft)? {
            Err(_) => Err(Unserved::Refused(Refusal::ManagerTimeout)),
            Ok((_, Err(refusal))) => Err(Unserved::Refused(refusal)),
            Ok((by, Ok(answer))) if answer.status != 200 => Err(Unserved::Answered(by, answer)),
            Ok((_, Ok(answer))) => self.pick(session, &answer.nodes).map_err(Unserved::Refused),
        }
    }

    /// Picks one of the nodes that an answer named: a healthy one first. One that failed lately is picked only when no
    /// further question is allowed or no node is known to be healthy; else the result is `None`.
    fn pick(&self, session: &Session, nodes: &[IpAddr]) -> Result<Option<Admitted>, Refusal> {
        // the second node of a transcoding answer is the origin behind the transcoder, and no alternative to it
        let alternatives = !self.question.contains("transcode=");
        let nodes = if alternatives { nodes } else { &nodes[..nodes.len().min(1)] };
        if nodes.is_empty() {
            return Err(Refusal::ManagerFailed);
        }
        let (gateway, revision) = (&session.worker.gateway, session.revision());
        let admit = |node: &IpAddr| revision.admit(*node, true);
        if !nodes.iter().any(|node| admit(node).is_ok()) {
            return Err(Refusal::OriginNotAdmitted);
        }
        let untried = || nodes.iter().filter(|node| !self.tried.contains(node)).filter_map(|n| admit(n).ok());
        let healthy = untried().find(|admitted| !gateway.nodes.is_quarantined(admitted.address().ip()));
        let wait_for_better = self.left > 0 && gateway.nodes.knows_healthy();
        Ok(healthy.or_else(|| untried().next().filter(|_| !wait_for_better)))
    }
}

/// Admits the node that a client named. Fails with [`Refusal::OriginNotAdmitted`], or with what the admission rule says.
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

/// The `Origin` header that a node gets, as `origins.origin_header` configures it; `None` for no such header.
pub(crate) fn origin_header_for_node(session: &Session, request: &Request<'_>) -> Option<NodeOrigin> {
    match &session.revision().config.origins.origin_header {
        OriginHeader::None => None,
        OriginHeader::Node => Some(NodeOrigin::Itself),
        OriginHeader::Client => request.origin.map(|origin| NodeOrigin::Text(origin.to_owned())),
        OriginHeader::Fixed(value) => Some(NodeOrigin::Text(value.clone())),
    }
}

/// Notes that a node did not take a request: stored answers that name it are forgotten, and it is quarantined. A node that
/// answered, even wrongly, and a lack of descriptors on this machine are exempt. The result is the refusal for the client.
pub(crate) fn blame(session: &Session, admitted: &Admitted, fault: DialFault) -> Refusal {
    tracing::warn!(
        session = &*session.id.text(), node = %admitted.address(), ?fault,
        "a node did not take a request"
    );
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
