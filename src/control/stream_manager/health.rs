//! Whether each stream manager answers, since when, and why not: for the log, `/readyz`, the metrics and the status page.
//!
//! A stream manager is **gone** when it can't be reached, or when questions fail in another way, one after the other, and a probe
//! of the gateway's own fails too: clients may ask what it is slow to answer, or what makes it fail. Its first answer ends that.
//! The log has one line for each, and one a minute in between.

use crate::config::ManagerUrl;
use crate::control::stream_manager::fault::Fault;
use crate::control::stream_manager::standing::{Rank, Standing};
use crate::metrics::{ManagerMetrics, ManagerOutcome};
use arc_swap::ArcSwap;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two warnings about one stream manager.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// So many questions in a row have to fail, one of them a probe, before a stream manager that can be reached counts as gone.
const FAILED_MIN: u32 = 3;

/// The cluster of the configuration's top level.
const CLUSTER: &str = "default";

/// The stream managers that are configured now.
#[derive(Debug, Default)]
pub(crate) struct Managers(ArcSwap<Vec<Arc<ManagerHealth>>>);

impl Managers {
    /// From now on these are the configured ones. One that was configured before keeps its state.
    pub(crate) fn configure(&self, urls: &[ManagerUrl]) -> Vec<Arc<ManagerHealth>> {
        let former = self.0.load();
        let health = |url: &ManagerUrl| {
            let known = former.iter().find(|health| health.url == *url);
            known.map(Arc::clone)
        };
        let mut all: Vec<_> = urls.iter().filter_map(health).collect();
        // those that were there keep their names
        for url in urls.iter().filter(|url| !former.iter().any(|health| health.url == **url)) {
            let name = name(url);
            let is_taken = all.iter().any(|health| health.metrics.manager == name);
            let name = if is_taken { url.to_string() } else { name };
            all.push(Arc::new(ManagerHealth::new(url.clone(), name)));
        }
        all.sort_by_key(|health| urls.iter().position(|url| health.url == *url));
        self.0.store(Arc::new(all.clone()));
        all
    }

    /// For how long all of them have been gone; `None` while one is not.
    pub(crate) fn gone_for(&self) -> Option<Duration> {
        let all = self.0.load();
        // `None` is the least: one that is not gone
        all.iter().map(|health| health.gone_for()).min().flatten()
    }

    /// The numbers of each.
    pub(crate) fn metrics(&self) -> Vec<Arc<ManagerMetrics>> {
        self.0.load().iter().map(|health| Arc::clone(&health.metrics)).collect()
    }

    /// Each, as `/api/status` shows it.
    pub(crate) fn to_json(&self) -> Value {
        self.0.load().iter().map(|health| health.to_json()).collect()
    }
}

/// What is known of one stream manager.
#[derive(Debug)]
pub(crate) struct ManagerHealth {
    url: ManagerUrl,
    metrics: Arc<ManagerMetrics>,
    state: Mutex<State>,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct State {
    /// When it was asked first, went or came back last; before the first question when it was configured.
    since: Instant,
    answered: bool,
    /// Questions that failed since the last answer, those of the gateway itself included.
    failed_in_row: u32,
    /// A probe is among them.
    probe_failed: bool,
    /// Questions of clients that failed since the last answer.
    failed: u64,
    /// Those that no line has told of.
    untold: u64,
    gone: bool,
    /// Whether a line has told that it is gone.
    announced: bool,
    /// When a warning was written last.
    warned: Option<Instant>,
    last_fault: Option<(Fault, Instant)>,
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Gone { fault: String, failed: u64 },
    StillGone { fault: String, failed: u64, seconds: u64 },
    Back { failed: u64, seconds: u64 },
}

impl ManagerHealth {
    fn new(url: ManagerUrl, name: String) -> Self {
        Self {
            metrics: Arc::new(ManagerMetrics::new(CLUSTER, name)),
            state: Mutex::new(State::new(Instant::now())),
            standing: Mutex::new(Standing::new(Instant::now())),
            url,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // every change leaves a state that is valid
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // every change leaves a standing that is valid
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it stands in the order in which stream managers are asked.
    pub(crate) fn rank(&self, now: Instant) -> Rank {
        self.standing().rank(now)
    }

    /// Notes a question that was answered after `took`.
    pub(crate) fn on_answer(&self, took: Duration) {
        self.metrics.requests[ManagerOutcome::Answered as usize].add(1);
        self.metrics.seconds.observe(took);
        self.standing().on_answer(Instant::now());
        let line = self.state().on_answer(Instant::now());
        self.write(line);
        self.metrics.up.set(1);
    }

    /// Notes a question that failed after `took`. `probe`: the gateway asked it itself.
    pub(crate) fn on_fault(&self, fault: Fault, took: Duration, probe: bool) {
        tracing::debug!(manager = %self.url, %fault, "a question to the stream manager failed");
        self.metrics.requests[fault.outcome as usize].add(1);
        self.metrics.seconds.observe(took);
        // other faults of a question of a client may be due to the question
        self.standing().on_fault(probe || fault.is_of_the_way(), Instant::now());
        let mut state = self.state();
        let line = state.on_fault(fault, probe, Instant::now());
        self.metrics.up.set(i64::from(!state.gone));
        drop(state);
        self.write(line);
    }

    /// Notes a question that was not asked, because the stream manager is silent.
    pub(crate) fn on_not_asked(&self) {
        self.metrics.requests[ManagerOutcome::NotAsked as usize].add(1);
        self.state().count_failed();
    }

    /// Writes a line if it is gone and one is due. True if a probe has to find out whether it answers. `has_others`: it is one of
    /// several, so that questions may pass it by.
    pub(crate) fn tick(&self, has_others: bool) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let line = state.warning(now);
        let is_suspect = state.failed_in_row > 0;
        drop(state);
        self.write(line);
        let standing = self.standing();
        is_suspect || (has_others && (standing.rank(now) != Rank::Well || standing.is_unheard(now)))
    }

    fn write(&self, line: Option<Line>) {
        let url = &self.url;
        match line {
            Some(Line::Gone { fault, failed }) => {
                tracing::warn!(failed, "stream manager {url} is gone: {fault}");
            }
            Some(Line::StillGone { fault, failed, seconds }) => {
                tracing::warn!(failed, seconds, "stream manager {url} is still gone: {fault}");
            }
            Some(Line::Back { failed, seconds }) => {
                tracing::info!(failed, seconds, "stream manager {url} answers again");
            }
            None => {}
        }
    }

    fn gone_for(&self) -> Option<Duration> {
        let state = self.state();
        state.gone.then(|| state.since.elapsed())
    }

    fn to_json(&self) -> Value {
        let state = self.state();
        let fault = state.last_fault.as_ref().map(|(fault, at)| {
            json!({
                "cause": fault.outcome.word(),
                "text": fault.to_string(),
                "seconds_ago": at.elapsed().as_secs(),
            })
        });
        let requests: serde_json::Map<String, Value> = ManagerOutcome::ALL
            .iter()
            .map(|o| (o.word().to_owned(), self.metrics.requests[*o as usize].get().into()))
            .collect();
        json!({
            "cluster": self.metrics.cluster,
            "manager": self.metrics.manager,
            "url": self.url.to_string(),
            // nothing is known before the first answer
            "up": (state.gone || state.answered).then_some(!state.gone),
            "rank": self.rank(Instant::now()).word(),
            "since_seconds": state.since.elapsed().as_secs(),
            "failed": state.failed,
            "last_fault": fault,
            "requests": requests,
        })
    }
}

/// Host and port of a stream manager, as labels name it.
fn name(url: &ManagerUrl) -> String {
    if url.host.contains(':') {
        format!("[{}]:{}", url.host, url.port)
    } else {
        format!("{}:{}", url.host, url.port)
    }
}

impl State {
    const fn new(now: Instant) -> Self {
        Self {
            since: now,
            answered: false,
            failed_in_row: 0,
            probe_failed: false,
            failed: 0,
            untold: 0,
            gone: false,
            announced: false,
            warned: None,
            last_fault: None,
        }
    }

    fn on_answer(&mut self, now: Instant) -> Option<Line> {
        let since = self.since;
        let was_gone = std::mem::replace(&mut self.gone, false);
        if !std::mem::replace(&mut self.answered, true) || was_gone {
            self.since = now;
        }
        (self.failed_in_row, self.probe_failed, self.untold) = (0, false, 0);
        let failed = std::mem::take(&mut self.failed);
        // one that comes and goes has a line a minute, not two for each time
        std::mem::replace(&mut self.announced, false)
            .then(|| Line::Back { failed, seconds: (now - since).as_secs() })
    }

    fn on_fault(&mut self, fault: Fault, probe: bool, now: Instant) -> Option<Line> {
        self.failed_in_row = self.failed_in_row.saturating_add(1);
        self.probe_failed |= probe;
        if !probe {
            self.count_failed();
        }
        let is_gone = fault.is_of_the_way() || (self.failed_in_row >= FAILED_MIN && self.probe_failed);
        self.last_fault = Some((fault, now));
        if is_gone && !std::mem::replace(&mut self.gone, true) {
            self.since = now;
        }
        self.warning(now)
    }

    const fn count_failed(&mut self) {
        self.failed += 1;
        self.untold += 1;
    }

    /// A line that tells that it is gone, if it is and one is due.
    fn warning(&mut self, now: Instant) -> Option<Line> {
        let is_due = self.warned.is_none_or(|warned| now.duration_since(warned) >= LINE_INTERVAL);
        if !self.gone || !is_due {
            return None;
        }
        self.warned = Some(now);
        let fault = self.last_fault.as_ref().map(|(fault, _)| fault.to_string()).unwrap_or_default();
        let failed = std::mem::take(&mut self.untold);
        if std::mem::replace(&mut self.announced, true) {
            let seconds = now.duration_since(self.since).as_secs();
            return Some(Line::StillGone { fault, failed, seconds });
        }
        Some(Line::Gone { fault, failed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(outcome: ManagerOutcome) -> Fault {
        Fault::new(outcome, "")
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_refuses_is_gone_at_once_and_back_with_its_first_answer() {
        let start = Instant::now();
        let mut state = State::new(start);
        let refused = || fault(ManagerOutcome::Refused);
        let text = refused().to_string();
        let gone = Line::Gone { fault: text.clone(), failed: 1 };
        assert_eq!(state.on_fault(refused(), false, start), Some(gone));
        for second in 0..60 {
            assert_eq!(state.on_fault(refused(), second % 2 == 0, at(start, second)), None);
        }
        let still = Line::StillGone { fault: text, failed: 31, seconds: 60 };
        assert_eq!(state.on_fault(refused(), false, at(start, 60)), Some(still));
        let back = Line::Back { failed: 32, seconds: 70 };
        assert_eq!(state.on_answer(at(start, 70)), Some(back));
        assert_eq!((state.on_answer(at(start, 71)), state.gone), (None, false));
    }

    #[test]
    fn questions_that_fail_make_none_gone_without_a_probe_that_fails() {
        let start = Instant::now();
        for outcome in [ManagerOutcome::Timeout, ManagerOutcome::ServerError, ManagerOutcome::Closed] {
            let mut state = State::new(start);
            for _ in 0..100 {
                assert_eq!(state.on_fault(fault(outcome), false, start), None);
            }
            assert_eq!(state.on_answer(start), None, "it answers other questions");
            assert!(state.on_fault(fault(outcome), false, start).is_none() && !state.gone);
            assert!(state.on_fault(fault(outcome), true, start).is_none() && !state.gone);
            let gone = state.on_fault(fault(outcome), true, start);
            assert_eq!(gone, Some(Line::Gone { fault: fault(outcome).to_string(), failed: 1 }));
        }
    }

    #[test]
    fn one_that_comes_and_goes_has_one_warning_a_minute() {
        let start = Instant::now();
        let mut state = State::new(start);
        let mut lines = 0;
        for second in 0..600 {
            let refused = fault(ManagerOutcome::Refused);
            lines += usize::from(state.on_fault(refused, false, at(start, second)).is_some());
            lines += usize::from(state.on_answer(at(start, second)).is_some());
        }
        assert_eq!(lines, 2 * 10);
    }

    #[test]
    fn a_manager_that_stays_configured_keeps_its_state() {
        let url = |host: &str| {
            let text = format!(
                "stream_manager.url = \"http://{host}\"\ntls.certificates = [{{ chain = \"c\", key = \"k\" }}]"
            );
            crate::config::read(&text).expect("a good configuration").stream_manager.managers()[0].clone()
        };
        let managers = Managers::default();
        assert_eq!(managers.gone_for(), None);
        let [first] = &managers.configure(&[url("10.0.0.2")])[..] else { panic!("one") };
        assert_eq!(managers.to_json()[0]["up"], Value::Null, "it was not asked");
        first.on_fault(fault(ManagerOutcome::Refused), Duration::ZERO, false);
        assert!(managers.gone_for().is_some());
        assert_eq!(managers.to_json()[0]["up"], false);
        managers.configure(&[url("10.0.0.2"), url("[fd00::2]:5080")]);
        assert_eq!(managers.gone_for(), None, "the other one is not gone");
        let json = managers.to_json();
        assert_eq!((&json[0]["up"], &json[0]["last_fault"]["cause"]), (&false.into(), &"refused".into()));
        assert_eq!(json[1]["manager"], "[fd00::2]:5080");
        managers.configure(&[url("10.0.0.3")]);
        assert_eq!(managers.to_json()[0]["up"], Value::Null);
        // the metrics of each have a label of their own, and the list its order
        managers.configure(&[url("10.0.0.4/a"), url("10.0.0.3"), url("10.0.0.4/b"), url("10.0.0.4:81")]);
        let names = ["10.0.0.4:80", "10.0.0.3:80", "http://10.0.0.4:80/b", "10.0.0.4:81"];
        assert_eq!(managers.metrics().iter().map(|of| of.manager.clone()).collect::<Vec<_>>(), names);
    }
}
