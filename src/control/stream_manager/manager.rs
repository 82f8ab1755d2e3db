//! One stream manager under one revision: a question to it, its circuit breaker, its probes.

use crate::config::{Config, ManagerUrl};
use crate::control::stream_manager::breaker::{CircuitBreaker, PROBE_INTERVAL, Probe};
use crate::control::stream_manager::fault::Fault;
use crate::control::stream_manager::health::ManagerHealth;
use crate::control::stream_manager::http::{Exchanged, ManagerHttp, probe_target};
use crate::metrics::ManagerOutcome;
use crate::proto::http::trace_context::TraceFields;
use crate::proto::red5::answer;
use crate::proto::red5::route::{EventKind, Keep};
use crate::proto::refusal::Refusal;
use crate::shared::nodes::ManagerId;
use hyper::Uri;
use hyper::header;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A timer of tokio may end so much too early by another clock.
const TIMER_PRECISION: Duration = Duration::from_millis(2);

/// Where the paths of the streams service begin. All its good answers are lists of nodes, those to publishers too.
const STREAMS_SERVICE: &str = "/as/v1/streams/";

/// A question of a client, on its way to stream managers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'q> {
    pub(crate) target: &'q str,
    pub(crate) kind: EventKind,
    pub(crate) keep: Keep,
    /// The trace that it belongs to.
    pub(crate) trace: Option<&'q TraceFields>,
    /// When it has to be answered.
    pub(crate) deadline: tokio::time::Instant,
}

impl Asked<'_> {
    /// Whether it has no effect, so that several stream managers may hear it.
    pub(crate) fn may_repeat(&self) -> bool {
        self.kind != EventKind::Other
    }

    /// Whether good answers to it are JSON. Of other questions it is not known what their answers look like.
    fn wants_json(&self) -> bool {
        self.kind != EventKind::Other || self.target.starts_with(STREAMS_SERVICE)
    }

    /// Whether it shows no credentials and has no effect.
    fn may_share(&self) -> bool {
        self.keep != Keep::Never
    }
}

/// How a question to one stream manager ended.
pub(crate) struct Tried {
    /// The stream manager that was asked; `None`: none was.
    pub(crate) manager: Option<ManagerId>,
    /// What it answered, and how that reads; or the refusal that the client gets if no other one answers.
    pub(crate) outcome: Result<(Exchanged, answer::Answer), Refusal>,
    /// An answer of a stream manager that is well, whatever it says.
    pub(crate) is_answer: bool,
    /// Whether a part of the question may have reached the stream manager.
    pub(crate) was_heard: bool,
}

/// One stream manager, with the address, credentials, trusted certificates and times of one revision.
pub(crate) struct Manager {
    pub(crate) id: ManagerId,
    pub(crate) health: Arc<ManagerHealth>,
    breaker: CircuitBreaker,
    http: ManagerHttp,
    /// The beginning of every URL that is asked: scheme, host, port and configured path.
    base: String,
    /// The target of a probe that no client asked for.
    probe_target: String,
    /// After this time a question counts as one that it does not answer, and a probe as failed.
    share: Duration,
    is_watched: AtomicBool,
}

impl Manager {
    pub(crate) fn new(
        url: &ManagerUrl,
        config: &Config,
        http: ManagerHttp,
        health: Arc<ManagerHealth>,
        share: Duration,
    ) -> Self {
        Self {
            id: ManagerId::of(url),
            health,
            breaker: CircuitBreaker::default(),
            http,
            base: url.to_string(),
            probe_target: probe_target(config),
            share,
            is_watched: AtomicBool::new(false),
        }
    }

    /// Whether its circuit breaker lets this question through. If not, that is noted.
    pub(crate) fn allows(&self, asked: &Asked<'_>) -> bool {
        let allows = self.breaker.allows(asked.target, asked.may_share(), Instant::now());
        if !allows {
            self.health.on_not_asked();
        }
        allows
    }

    /// Asks a question until its deadline, and notes how it ended.
    pub(crate) async fn ask(self: Arc<Self>, asked: Asked<'_>) -> Tried {
        let manager = Some(self.id);
        let tried = |outcome, is_answer, was_heard| Tried { manager, outcome, is_answer, was_heard };
        let Ok(uri) = self.uri(asked.target) else {
            return tried(Err(Refusal::BadTarget), true, false);
        };
        let began = Instant::now();
        let Some(exchanged) = self.exchange(&uri, &asked, began).await else {
            return tried(Err(Refusal::ManagerTimeout), false, true);
        };
        let (read, is_answer) = self.read(&exchanged, asked.wants_json(), began, false);
        if exchanged.as_ref().is_err_and(Fault::is_of_time) {
            self.on_silence(asked.target, began);
        } else {
            let probe = (asked.may_share() && is_answer).then_some(asked.target);
            self.breaker.on_answer(probe, Instant::now());
        }
        match exchanged {
            Ok(exchanged) => tried(Ok((exchanged, read)), is_answer, true),
            Err(fault) => tried(Err(fault.refusal()), false, !fault.is_unheard),
        }
    }

    /// Sends a question that began at `began`; `None` if there is no answer at its deadline.
    async fn exchange(
        self: &Arc<Self>,
        uri: &Uri,
        asked: &Asked<'_>,
        began: Instant,
    ) -> Option<Result<Exchanged, Fault>> {
        let mut exchange = pin!(self.http.exchange(uri, asked.may_repeat(), asked.trace));
        let share = tokio::time::Instant::from_std(began) + self.share;
        // a later one may have less time, so that its timeout says nothing about the stream manager
        let has_its_share = asked.deadline + TIMER_PRECISION >= share;
        let soon = share.min(asked.deadline);
        if let Ok(exchanged) = tokio::time::timeout_at(soon, &mut exchange).await {
            return Some(exchanged);
        }
        if !has_its_share {
            return None;
        }
        self.on_silence(asked.target, began);
        // also where another stream manager answers first, and this future is dropped
        let unanswered = Unanswered { manager: self, began };
        let exchanged = tokio::time::timeout_at(asked.deadline, exchange).await.ok()?;
        std::mem::forget(unanswered);
        Some(exchanged)
    }

    /// A question that began at `began` is not answered in its time.
    fn on_silence(self: &Arc<Self>, target: &str, began: Instant) {
        if self.breaker.on_timeout(target, began) {
            tokio::task::spawn(Self::probe(Arc::downgrade(self)));
        }
    }

    /// Reads what was exchanged, and notes how a question ended that was asked at `began`. `wants_json`: its good answers are
    /// JSON. `probe`: it was the gateway's own. The second value is whether it is an answer of a stream manager that is well.
    fn read(
        &self,
        exchanged: &Result<Exchanged, Fault>,
        wants_json: bool,
        began: Instant,
        probe: bool,
    ) -> (answer::Answer, bool) {
        let mut read = answer::Answer::Other;
        let fault = match exchanged {
            Err(fault) => Some(fault.clone()),
            Ok((status, headers, body)) => {
                let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
                read = answer::read(*status, content_type, body);
                match status {
                    500.. => Some(Fault::new(ManagerOutcome::ServerError, format_args!("status {status}"))),
                    200 if read == answer::Answer::Other && wants_json => {
                        let found = content_type.unwrap_or("no Content-Type");
                        Some(Fault::new(ManagerOutcome::Json, format_args!("{found}, {} bytes", body.len())))
                    }
                    _ => None,
                }
            }
        };
        let is_answer = fault.is_none();
        match fault {
            Some(fault) => self.health.on_fault(fault, began.elapsed(), probe),
            None => self.health.on_answer(began.elapsed()),
        }
        (read, is_answer)
    }

    /// Writes what is due in the log, and begins a probe if one is due and no other task asks one. `has_others`: questions may go
    /// to other stream managers.
    pub(crate) fn watch(self: &Arc<Self>, has_others: bool) {
        let is_due = self.health.tick(has_others) && !self.breaker.is_probing();
        if !is_due || self.is_watched.swap(true, Relaxed) {
            return;
        }
        let manager = Arc::clone(self);
        tokio::task::spawn(async move {
            manager.ask_probe(&Probe::Unknown).await;
            manager.is_watched.store(false, Relaxed);
        });
    }

    /// Asks questions of the gateway's own until the stream manager has answered some question, or until no other question is
    /// under way at one that a reload has replaced.
    async fn probe(manager: Weak<Self>) {
        while let Some(manager) = manager.upgrade()
            && let Some(probe) = manager.breaker.next_probe()
        {
            let next = tokio::time::Instant::now() + PROBE_INTERVAL;
            manager.ask_probe(&probe).await;
            drop(manager);
            tokio::time::sleep_until(next).await;
        }
    }

    /// Asks one question of the gateway's own, and notes how it ended.
    async fn ask_probe(&self, probe: &Probe) {
        let target = match probe {
            Probe::Answered(target) => target,
            Probe::Unknown => &*self.probe_target,
        };
        let Ok(uri) = self.uri(target) else { return };
        let began = Instant::now();
        let exchange = self.http.exchange(&uri, true, None);
        match tokio::time::timeout(self.share, exchange).await {
            Ok(exchanged) => {
                if exchanged.as_ref().is_err_and(Fault::is_of_time) {
                    self.breaker.on_probe_timeout(probe, began);
                } else {
                    self.breaker.on_answer(None, Instant::now());
                }
                self.read(&exchanged, true, began, true);
            }
            Err(_) => {
                self.breaker.on_probe_timeout(probe, began);
                self.health.on_fault(Fault::new(ManagerOutcome::Timeout, ""), began.elapsed(), true);
            }
        }
    }

    fn uri(&self, target: &str) -> Result<Uri, Refusal> {
        format!("{}{target}", self.base).parse().map_err(|_| Refusal::BadTarget)
    }
}

/// Notes, when dropped, a question that got no answer in its time.
struct Unanswered<'m> {
    manager: &'m Manager,
    began: Instant,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.manager.health.on_fault(Fault::new(ManagerOutcome::Timeout, ""), took, false);
    }
}
