//! Asks the stream managers of one revision: which of them, in which order, and what becomes of their answers.
//!
//! It returns status, content type and body; `proto::red5::answer` decides for how long an answer may be stored. Every node
//! that a good answer names is learned, also when the answer itself is not stored.

use crate::control::stream_manager::health::Managers;
use crate::control::stream_manager::http::{Exchanged, ManagerHttp, all_values};
use crate::control::stream_manager::manager::{Asked, Manager};
use crate::control::stream_manager::race::Race;
use crate::proto::http::trace_context::TraceFields;
use crate::proto::red5::answer::{self, FreshnessRules};
use crate::proto::red5::route::{EventKind, Keep};
use crate::shared::answers::Answer;
use crate::shared::counters::UseCount;
use crate::shared::gateway::Gateway;
use crate::shared::nodes::ManagerId;
use crate::shared::questions::Outcome;
use crate::shared::revision::Revision;
use hyper::header;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer with a list or statistics may be used.
const LIST_TTL: Duration = Duration::from_secs(1);

/// With several stream managers, the next one is asked after this time without an answer, or earlier: all of them have to be asked
/// within `stream_manager.timeout`.
const SHARE_MAX: Duration = Duration::from_secs(1);

/// Asks questions under one revision. A question that began with one manager client also ends with it.
pub(crate) struct ManagerClient {
    gateway: Arc<Gateway>,
    revision: Arc<Revision>,
    /// In the order of the configuration, at least one.
    managers: Vec<Arc<Manager>>,
    share: Duration,
    freshness: FreshnessRules,
}

impl ManagerClient {
    /// Makes the client of `revision`. It stores nodes that it learns in `gateway`, and tells `managers` how questions end.
    pub(crate) fn new(gateway: Arc<Gateway>, revision: Arc<Revision>, managers: &Managers) -> Self {
        let config = &revision.config;
        let urls = config.stream_manager.managers();
        let share = share(config.stream_manager.timeout, urls.len());
        let http = ManagerHttp::new(config, &revision.roots, share);
        let manager = |(url, health)| Arc::new(Manager::new(url, config, http.clone(), health, share));
        Self {
            managers: urls.iter().zip(managers.configure(urls)).map(manager).collect(),
            share,
            freshness: FreshnessRules {
                broadcast: config.answers.broadcast_ttl,
                subscribe: config.answers.subscribe_ttl,
                list: LIST_TTL,
                missing: config.answers.missing_ttl,
            },
            gateway,
            revision,
        }
    }

    /// The stream managers that it asks.
    pub(crate) fn managers(&self) -> impl Iterator<Item = ManagerId> {
        self.managers.iter().map(|manager| manager.id)
    }

    /// Whether it asks this one: equal are same scheme, host, port and path.
    pub(crate) fn asks(&self, manager: ManagerId) -> bool {
        self.managers().any(|asked| asked == manager)
    }

    /// Asks the question `target` within `stream_manager.timeout`. While the answer names only nodes in quarantine and a
    /// healthy one is known, it asks again, at most `origins.attempts` times in all. Otherwise the last answer counts: a
    /// node that failed is better than no node.
    pub(crate) async fn ask(
        &self,
        target: &str,
        kind: EventKind,
        keep: Keep,
        trace: Option<&TraceFields>,
    ) -> Outcome {
        let deadline = tokio::time::Instant::now() + self.revision.config.stream_manager.timeout;
        let asked = Asked { target, kind, keep, trace, deadline };
        let mut outcome = self.ask_once(asked).await;
        for _ in 1..self.revision.config.origins.attempts {
            let nodes = &self.gateway.nodes;
            let is_quarantined = |answer: &Arc<Answer>| {
                !answer.nodes.is_empty() && answer.nodes.iter().all(|node| nodes.is_quarantined(*node))
            };
            if keep == Keep::Never || !outcome.as_ref().is_ok_and(is_quarantined) || !nodes.knows_healthy() {
                break;
            }
            match self.ask_once(asked).await {
                Ok(better) => outcome = Ok(better),
                Err(_) => break,
            }
        }
        outcome
    }

    /// Asks the stream managers once, in the order of their standing and then of the configuration.
    async fn ask_once(&self, asked: Asked<'_>) -> Outcome {
        let mut order = self.managers.clone();
        let now = Instant::now();
        // stable: equal ones stay in their order
        order.sort_by_cached_key(|manager| manager.health.rank(now));
        let tried = Race::new(asked, order, self.share).run().await;
        tried.outcome.map(|(exchanged, read)| self.answer(exchanged, read, &asked, tried.manager))
    }

    /// The answer that clients get, and the nodes learned from it.
    fn answer(
        &self,
        (status, headers, body): Exchanged,
        read: answer::Answer,
        asked: &Asked<'_>,
        manager: Option<ManagerId>,
    ) -> Arc<Answer> {
        let (kind, keep) = (asked.kind, asked.keep);
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let content_type = text(header::CONTENT_TYPE);
        let cache_control = all_values(&headers, header::CACHE_CONTROL);
        let fresh = read.freshness(&self.freshness, kind, keep, cache_control.as_deref());
        let nodes = match read {
            answer::Answer::Found { nodes } => nodes,
            _ => Vec::new(),
        };
        let answers = &self.gateway.answers;
        for node in nodes.iter().filter(|node| self.revision.may_learn(**node)) {
            manager.inspect(|manager| self.gateway.nodes.learn_from(*node, *manager));
        }
        let uses = match kind {
            // the session that asked is the first use
            EventKind::Subscribe if status == 200 => {
                self.revision.config.answers.subscribe_uses.saturating_sub(1)
            }
            _ => u32::MAX,
        };
        Arc::new(Answer {
            status,
            content_type: content_type.map(str::to_owned),
            body: body.into(),
            nodes,
            fresh,
            uses: UseCount::new(uses),
            made: answers.now(),
        })
    }

    /// Writes what is due in the log, and asks the probes that are due.
    pub(crate) fn watch(&self) {
        self.managers.iter().for_each(|manager| manager.watch(self.managers.len() > 1));
    }
}

/// How long one of `managers` stream managers may take before the next one is asked too: all of it for the only one.
fn share(timeout: Duration, managers: usize) -> Duration {
    let managers = u32::try_from(managers).unwrap_or(u32::MAX).max(1);
    if managers == 1 { timeout } else { (timeout / managers).min(SHARE_MAX) }
}
