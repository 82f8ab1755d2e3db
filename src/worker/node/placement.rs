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
use futures_util::future::Either;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Where another node can still be tried, a connection may take no less than this: TCP sends a lost packet again after 1 s.
const CONNECT_SHARE_MIN: Duration = Duration::from_millis(1100);

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

/// The time that one try may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TryLimits {
    /// For the connection: `origins.connect_timeout`, or less where another node can still be tried.
    pub connect_timeout: Duration,
    /// The end of the search.
    pub deadline: Instant,
}

/// Asks the stream manager `question` for a node and tries it with `start`. When the node fails and `retry` allows it, asks
/// again and tries another node.
///
/// The search takes at most `timeout` and at most as many tries as `origins.attempts` allows. Each has a fair share of the
/// time. A try whose share is over goes on beside the next one where `retry` allows another node after it has sent
/// something: if no other node is found, or all are as slow, the first answer wins. When no further node is found, the
/// error is the failure of the last node that was tried.
pub(crate) async fn search<T, F>(
    client: &mut Client<'_>,
    question: &str,
    timeout: Duration,
    retry: Retry,
    start: impl Fn(Admitted, TryLimits) -> F,
) -> Result<T, Unserved>
where
    F: Future<Output = Result<T, Failed>>,
{
    let session = client.session;
    let mut search = std::pin::pin!(run(session, question, timeout, retry, start));
    until_disconnect(client.conn, CloseNotify::Leaves, |cx| search.as_mut().poll(cx))
        .await
        .unwrap_or(Err(Unserved::ClientLeft))
}

async fn run<T, F>(
    session: &Session,
    question: &str,
    timeout: Duration,
    retry: Retry,
    start: impl Fn(Admitted, TryLimits) -> F,
) -> Result<T, Unserved>
where
    F: Future<Output = Result<T, Failed>>,
{
    let mut search = Search::begin(session, question, timeout);
    let mut last = Refusal::OriginTimeout;
    let mut slow: Option<Slow<F>> = None;
    loop {
        let admitted = match beside(&mut slow, search.next(session)).await {
            Either::Left(served) => return Ok(served),
            Either::Right(Ok(Some(admitted))) => admitted,
            Either::Right(next) => {
                return match (slow, next) {
                    // no other node: the slow one has the rest of the time
                    (Some(slow), _) => slow.attempt.await.map_err(|failed| failed.why),
                    (None, Err(unserved)) => Err(unserved),
                    (None, Ok(_)) => Err(Unserved::Refused(last)),
                };
            }
        };
        let (asked, deadline) = (Instant::now(), search.deadline);
        let share = search.share(asked);
        let connect_timeout = search.connect_timeout.min(share.max(CONNECT_SHARE_MIN));
        let mut attempt = Box::pin(start(admitted, TryLimits { connect_timeout, deadline }));
        let may_leave = retry == Retry::Always && search.left > 0;
        let tried = async {
            match may_leave {
                true => runtime::timeout_at(asked + share, attempt.as_mut()).await.ok(),
                // it ends by its own limits
                false => Some(attempt.as_mut().await),
            }
        };
        match beside(&mut slow, tried).await {
            Either::Left(served) => return Ok(served),
            Either::Right(Some(Ok(served))) => {
                slow.inspect(|slow| slow.note(session));
                return Ok(served);
            }
            Either::Right(Some(Err(Failed { why: Unserved::Refused(refusal), reached })))
                if retry == Retry::Always || !reached =>
            {
                last = refusal;
            }
            Either::Right(Some(Err(failed))) => return Err(failed.why),
            Either::Right(None) => {
                last = Refusal::OriginTimeout;
                let node = admitted.address().ip();
                // an even slower one is dropped
                slow.replace(Slow { attempt, node, asked }).inspect(|slow| slow.note(session));
            }
        }
    }
}

/// A try whose share of the time is over and that goes on.
struct Slow<F> {
    attempt: Pin<Box<F>>,
    node: IpAddr,
    asked: Instant,
}

impl<F> Slow<F> {
    /// Notes, when the try is given up, that its node did not answer.
    fn note(&self, session: &Session) {
        session.worker.gateway.nodes.mark_silent(self.node, session.peer.ip(), self.asked);
    }
}

/// Runs `work` and, beside it, a slow try: `Left` is what the slow try served, if it came first. When the slow try fails, it
/// is gone, and `work` goes on.
async fn beside<T, F, R>(slow: &mut Option<Slow<F>>, work: impl Future<Output = R>) -> Either<T, R>
where
    F: Future<Output = Result<T, Failed>>,
{
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        if let Some(Slow { attempt, .. }) = slow
            && let Poll::Ready(ended) = attempt.as_mut().poll(cx)
        {
            *slow = None;
            if let Ok(served) = ended {
                return Poll::Ready(Either::Left(served));
            }
        }
        work.as_mut().poll(cx).map(Either::Right)
    })
    .await
}

/// The state of a search for a node.
struct Search<'q> {
    question: &'q str,
    /// The nodes that were tried and failed.
    tried: Vec<IpAddr>,
    /// How many questions may still be asked.
    left: u32,
    connect_timeout: Duration,
    deadline: Instant,
}

impl<'q> Search<'q> {
    fn begin(session: &Session, question: &'q str, timeout: Duration) -> Self {
        let revision = session.revision();
        let origins = &revision.config.origins;
        Self {
            question,
            tried: Vec::new(),
            left: origins.attempts,
            connect_timeout: origins.connect_timeout,
            deadline: Instant::now() + timeout,
        }
    }

    /// The share of the time that is left which a try that begins `now` may have, so that all others have as much.
    fn share(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now) / (self.left + 1)
    }

    /// The next node to try; `None` when there is no further one.
    async fn next(&mut self, session: &Session) -> Result<Option<Admitted>, Unserved> {
        while self.left > 0 && Instant::now() < self.deadline {
            self.left -= 1;
            match self.ask(session).await {
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
    async fn ask(&self, session: &Session) -> Result<Option<Admitted>, Unserved> {
        let (kind, keep) = match route::route(self.question) {
            Ok(Route::Event(event)) => (event.kind, event.keep),
            _ => (EventKind::Other, Keep::Never),
        };
        if !self.tried.is_empty() {
            // the stored answer named a node that failed, and would name it again
            session.worker.gateway.answers.forget(self.question);
        }
        let asked = lookup::ask(session, self.question, kind, keep);
        match runtime::timeout_at(self.deadline, asked).await {
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
            session.note_limit(
                "the stream manager's answer names no node; `curl` to stream_manager.url with the path of this request shows it",
            );
            return Err(Refusal::ManagerFailed);
        }
        let (gateway, revision) = (&session.worker.gateway, session.revision());
        let admit = |node: &IpAddr| revision.admit(*node, true);
        if !nodes.iter().any(|node| admit(node).is_ok()) {
            session.note_node(nodes[0]);
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
    let nodes = &session.worker.gateway.nodes;
    match host {
        Host::Address(address) => {
            revision.admit(*address, nodes.is_learned(*address)).inspect_err(|_| session.note_node(*address))
        }
        Host::Name(name) => {
            let names = revision.names.load();
            let addresses = names.get(name).map(Vec::as_slice).unwrap_or_default();
            let mut admitted = addresses.iter().map(|ip| revision.admit_named(*ip, nodes.is_learned(*ip)));
            admitted.find_map(Result::ok).ok_or(Refusal::OriginNotAdmitted).inspect_err(|_| {
                addresses.first().into_iter().for_each(|node| session.note_node(*node));
            })
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

/// Notes that a node did not serve a request that was sent at `asked`. A node that could not be reached has failed: stored
/// answers that name it are forgotten, and it is quarantined. A node that took the request and did not answer has failed
/// only when several clients saw that, because the request of one client may be the reason. A node that answered, even
/// wrongly, has not failed, nor has one that this machine could not dial. The result is the refusal for the client.
pub(crate) fn blame(session: &Session, admitted: &Admitted, fault: DialFault, asked: Instant) -> Refusal {
    tracing::debug!(
        session = &*session.id.text(), node = %admitted.address(), ?fault,
        "a node did not take a request"
    );
    session.note_node(admitted.address().ip());
    session.note_node_status(fault.status());
    if let Some(text) = fault.of_node() {
        session.worker.gateway.node_faults.failed(admitted.address(), text);
    }
    let (nodes, node) = (&session.worker.gateway.nodes, admitted.address().ip());
    match fault {
        DialFault::Refused | DialFault::ConnectTimeout => nodes.mark_failed(node),
        DialFault::Broken | DialFault::UpgradeTimeout => nodes.mark_silent(node, session.peer.ip(), asked),
        DialFault::BadHandshake(_) => nodes.mark_answered(node),
        DialFault::Exhausted | DialFault::Local { .. } => {}
    }
    match fault {
        DialFault::Refused | DialFault::Broken | DialFault::Local { .. } => Refusal::OriginRefused,
        DialFault::Exhausted => {
            session
                .note_limit("this machine has no descriptor, port or memory left for a connection to a node");
            Refusal::Overloaded
        }
        DialFault::BadHandshake(_) => Refusal::OriginBadHandshake,
        DialFault::ConnectTimeout | DialFault::UpgradeTimeout => Refusal::OriginTimeout,
    }
}
