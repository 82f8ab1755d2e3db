//! The log line of a refusal: what the client asked for, and the key that would change it. How often there is one is decided in
//! [`refusal_throttle`](crate::shared::refusal_throttle). At `debug` every refusal is a line.

use crate::proto::refusal::Refusal;
use crate::shared::revision::Revision;
use crate::shared::session_id::SessionId;
use crate::worker::local::state::Worker;
use crate::worker::session::asked::Asked;
use crate::worker::session::remedy;
use std::net::SocketAddr;
use std::time::Instant;
use tracing::Level;
use tracing::field::display;

/// A refusal, and of what. A connection that is refused before its first request has no session and asked for nothing.
pub(crate) struct Refused<'r> {
    pub(crate) refusal: Refusal,
    pub(crate) session: Option<SessionId>,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) asked: Option<&'r Asked<'r>>,
}

impl<'r> Refused<'r> {
    /// Counts the refusal in the metrics and writes its line, if one is due.
    pub(crate) fn note(&self, worker: &Worker, revision: &Revision) {
        worker.metrics.refusals.of(self.refusal).add(1);
        if !tracing::enabled!(Level::INFO) {
            return;
        }
        let app = self.asked.map_or("", |asked| asked.app);
        let (shared, throttle) = (&worker.gateway.refusal_throttle, &worker.refusal_throttle);
        let due = shared.count(&mut throttle.borrow_mut(), self.refusal, app, Instant::now());
        if due.is_some() || tracing::enabled!(Level::DEBUG) {
            self.write(worker, revision, due);
        }
    }

    fn write(&self, worker: &Worker, revision: &Revision, due: Option<u64>) {
        let Self { refusal, asked, .. } = *self;
        let uri = asked.map(|asked| asked.target);
        let origin = asked.and_then(|asked| asked.origin);
        let origin = origin.filter(|_| refusal == Refusal::CrossSite);
        let node = asked.and_then(|asked| asked.hints.node).filter(|_| is_about_node(refusal)).map(display);
        let remedy = remedy::for_request(refusal, asked, &worker.gateway, revision);
        let (code, status, client) = (refusal.code(), refusal.status(), self.client.map(display));
        let session = self.session.map(display);
        let trace = asked.and_then(|asked| asked.trace).map(display);
        let present = |of: fn(&Asked<'r>) -> &'r str| asked.map(of).filter(|text| !text.is_empty());
        let (route, app, stream) =
            (present(|asked| asked.route), present(|asked| asked.app), present(|asked| asked.stream));
        let others = due.filter(|others| *others > 0);
        match due {
            Some(_) => tracing::info!(
                code,
                status,
                session,
                trace,
                client,
                route,
                app,
                stream,
                uri,
                origin,
                node,
                others,
                "refused: {remedy}"
            ),
            None => tracing::debug!(
                code,
                status,
                session,
                trace,
                client,
                route,
                app,
                stream,
                uri,
                origin,
                node,
                "refused: {remedy}"
            ),
        }
    }
}

/// Whether a refusal is about the node of its request. A search may have tried one before it was refused for another reason.
const fn is_about_node(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::OriginNotAdmitted
            | Refusal::OriginRefused
            | Refusal::OriginBadHandshake
            | Refusal::OriginTimeout
    )
}

/// Writes the lines for refusals that were counted and have waited for their line.
pub(crate) fn write_waiting(worker: &Worker) {
    let mut throttle = worker.refusal_throttle.borrow_mut();
    for due in worker.gateway.refusal_throttle.take_due(&mut throttle, Instant::now()) {
        let (code, others, remedy) = (due.refusal.code(), due.count, remedy::of(due.refusal));
        let app = due.app.as_deref().filter(|app| !app.is_empty());
        let all = if due.app.is_some() { "" } else { " with other apps" };
        tracing::info!(code, app, others, "{others} more{all} were refused: {remedy}");
    }
}
