//! Circuit breaker for the stream manager: while the manager is silent, questions fail at once and sessions do not wait for
//! it in vain.
//!
//! It counts questions that ran into their timeout while no other question was answered. That alone does not make the
//! manager silent: one client may ask, again and again, what the manager is slow to answer. So from the first timeout on the
//! gateway asks a question of its own each `PROBE_INTERVAL`, the **probe**: one that the manager has answered before, or
//! one that no client can make slow. After `TIMEOUTS_MAX` timeouts and a probe without an answer the manager counts as
//! silent. Then only probes go out, and each `PROBE_INTERVAL` one question of a client that has not failed yet. Any answer
//! ends that. The breaker knows no HTTP.

use crate::shared::answers::Key;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this many timeouts in a row the stream manager may count as silent. One or two may be accidents.
const TIMEOUTS_MAX: u32 = 5;

/// Time between two probes, and between two questions of clients that go out while the stream manager is silent.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// So many answered questions are remembered as probes.
const ANSWERED_MAX: usize = 4;

/// So many failed questions are remembered, which are no probes.
const FAILED_MAX: usize = 64;

/// Decides whether a question may be asked, from how earlier ones ended. Starts closed: every question may be asked.
#[derive(Debug, Default)]
pub(crate) struct CircuitBreaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    timeouts: u32,
    /// A probe ran into its timeout, and no question was answered since.
    probe_failed: bool,
    silent: bool,
    /// A task asks the probes.
    probing: bool,
    last_answer: Option<Instant>,
    /// When a question of a client went out last while the manager was silent.
    last_let_through: Option<Instant>,
    /// Questions that were answered and may be asked again, the latest one last.
    answered: VecDeque<Key>,
    /// Questions that ran into their timeout since the last answer.
    failed: VecDeque<Key>,
}

/// The next question of the gateway itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// One that was answered before.
    Answered(Key),
    /// No such question is known: one for a stream that does not exist.
    Unknown,
}

impl CircuitBreaker {
    fn state(&self) -> MutexGuard<'_, State> {
        // every change leaves a state that is valid: a panic leaves none half changed
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the question `key` may be asked at `now`. `repeatable`: it has no effect at the stream manager.
    pub(crate) fn allows(&self, key: &str, repeatable: bool, now: Instant) -> bool {
        let mut state = self.state();
        if !state.silent {
            return true;
        }
        let due = state.last_let_through.is_none_or(|last| now.duration_since(last) >= PROBE_INTERVAL);
        let goes = due && repeatable && !state.failed.iter().any(|failed| **failed == *key);
        if goes {
            state.last_let_through = Some(now);
        }
        goes
    }

    /// A question got an answer or an error at `now`: the stream manager is not silent. `probe`: the question, if the gateway
    /// may ask it itself later.
    pub(crate) fn on_answer(&self, probe: Option<&str>, now: Instant) {
        let mut state = self.state();
        if state.silent {
            tracing::debug!("the stream manager is asked again");
        }
        state.timeouts = 0;
        state.probe_failed = false;
        state.silent = false;
        state.last_answer = Some(now);
        state.last_let_through = None;
        state.failed.clear();
        if let Some(key) = probe
            && !state.answered.iter().any(|answered| **answered == *key)
        {
            remember(&mut state.answered, key.into(), ANSWERED_MAX);
        }
    }

    /// The question `key`, asked at `asked`, ran into its timeout. True if the caller has to begin to ask probes.
    #[must_use]
    pub(crate) fn on_timeout(&self, key: &str, asked: Instant) -> bool {
        let mut state = self.state();
        if !state.failed_since_answer(key, asked) {
            return false;
        }
        state.timeouts = state.timeouts.saturating_add(1);
        state.look();
        !std::mem::replace(&mut state.probing, true)
    }

    /// The next probe. `None` ends the probing: a question was answered meanwhile.
    pub(crate) fn next_probe(&self) -> Option<Probe> {
        let mut state = self.state();
        state.probing = state.timeouts > 0;
        let state = state.probing.then_some(state)?;
        let known = state.answered.iter().rev().find(|key| !state.failed.contains(key));
        Some(known.cloned().map_or(Probe::Unknown, Probe::Answered))
    }

    /// Whether a task asks probes.
    pub(crate) fn is_probing(&self) -> bool {
        self.state().probing
    }

    /// A probe that was asked at `asked` ran into its timeout.
    pub(crate) fn on_probe_timeout(&self, probe: &Probe, asked: Instant) {
        let key = if let Probe::Answered(key) = probe { &**key } else { "" };
        let mut state = self.state();
        if state.failed_since_answer(key, asked) {
            state.probe_failed = true;
            state.look();
        }
    }
}

impl State {
    /// Notes a question that failed. False if another question was answered meanwhile: then the manager is slow with this
    /// one, and not silent.
    fn failed_since_answer(&mut self, key: &str, asked: Instant) -> bool {
        if self.last_answer.is_some_and(|answer| answer >= asked) {
            return false;
        }
        if !self.failed.iter().any(|failed| **failed == *key) {
            remember(&mut self.failed, key.into(), FAILED_MAX);
        }
        true
    }

    fn look(&mut self) {
        if !self.silent && self.timeouts >= TIMEOUTS_MAX && self.probe_failed {
            self.silent = true;
            tracing::debug!(
                "the stream manager is silent: questions fail at once, except one each second, until it answers"
            );
        }
    }
}

fn remember(keys: &mut VecDeque<Key>, key: Key, most: usize) {
    if keys.len() == most {
        keys.pop_front();
    }
    keys.push_back(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &CircuitBreaker, key: &str, asked: Instant) {
        let _ = breaker.on_timeout(key, asked);
    }

    /// A breaker that has seen five questions and a probe fail.
    fn open(at: Instant) -> CircuitBreaker {
        let breaker = CircuitBreaker::default();
        for n in 0..TIMEOUTS_MAX {
            assert!(breaker.allows("slow", true, at));
            assert_eq!(breaker.on_timeout("slow", at), n == 0, "the first timeout begins the probing");
        }
        assert!(breaker.allows("slow", true, at), "questions of clients alone do not open it");
        assert_eq!(breaker.next_probe(), Some(Probe::Unknown));
        breaker.on_probe_timeout(&Probe::Unknown, at);
        breaker
    }

    #[test]
    fn a_silent_manager_gets_one_new_question_a_second_until_its_first_answer() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let breaker = open(at(0));
        let allowed: Vec<_> =
            [100, 200, 1099, 1100, 1200, 2100].map(|now| breaker.allows("new", true, at(now))).into();
        assert_eq!(allowed, [true, false, false, true, false, true]);
        breaker.on_answer(None, at(2200));
        assert!((0..9).all(|_| breaker.allows("slow", true, at(2200))));
        assert_eq!(breaker.next_probe(), None, "the probing ends with the first answer");
        assert!(breaker.on_timeout("slow", at(2300)), "and begins again with the next timeout");
    }

    #[test]
    fn neither_a_question_that_failed_nor_one_with_an_effect_goes_out_to_a_silent_manager() {
        let start = Instant::now();
        let breaker = open(start);
        let later = start + Duration::from_secs(10);
        assert!(!breaker.allows("slow", true, later) && !breaker.allows("publish", false, later));
        assert!(breaker.allows("new", true, later));
    }

    #[test]
    fn a_probe_is_a_question_that_was_answered_and_has_not_failed() {
        let (breaker, start) = (CircuitBreaker::default(), Instant::now());
        for key in ["a", "b", "b", "c"] {
            breaker.on_answer(Some(key), start);
        }
        let asked = start + Duration::from_millis(1);
        fail(&breaker, "c", asked);
        let probe = breaker.next_probe().expect("a probe is due");
        assert_eq!(probe, Probe::Answered("b".into()));
        breaker.on_probe_timeout(&probe, asked);
        assert_eq!(breaker.next_probe(), Some(Probe::Answered("a".into())));
        breaker.on_probe_timeout(&Probe::Answered("a".into()), asked);
        assert_eq!(breaker.next_probe(), Some(Probe::Unknown));
    }

    #[test]
    fn a_manager_that_answers_other_questions_is_slow_and_not_silent() {
        let (breaker, start) = (CircuitBreaker::default(), Instant::now());
        breaker.on_answer(None, start + Duration::from_millis(1));
        (0..9).for_each(|_| assert!(!breaker.on_timeout("slow", start)));
        breaker.on_probe_timeout(&Probe::Unknown, start);
        assert!((0..9).all(|_| breaker.allows("slow", true, start + Duration::from_millis(2))));
    }
}
