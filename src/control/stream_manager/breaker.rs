//! Circuit breaker for the stream manager: while the manager is silent, questions fail at once and sessions do not wait for
//! it in vain.
//!
//! It counts questions that ran into their timeout while no other question was answered. After `TIMEOUTS_MAX` of them the
//! manager counts as silent: one question each `PROBE_INTERVAL` goes out to find out whether it is back, and all others
//! fail without being asked. Any answer ends that. The breaker knows no HTTP.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this many timeouts in a row the stream manager counts as silent. One or two may be accidents.
const TIMEOUTS_MAX: u32 = 5;

/// Time between two questions that go out while the stream manager is silent.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Decides whether a question may be asked, from how earlier ones ended. Starts closed: every question may be asked.
#[derive(Debug, Default)]
pub(crate) struct CircuitBreaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    timeouts: u32,
    last_answer: Option<Instant>,
    last_probe: Option<Instant>,
}

impl CircuitBreaker {
    fn state(&self) -> MutexGuard<'_, State> {
        // plain numbers: a panic leaves none half changed
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a question may be asked at `now`. If the stream manager is silent, `true` makes that question the probe.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.timeouts < TIMEOUTS_MAX {
            return true;
        }
        let due = state.last_probe.is_none_or(|probe| now.duration_since(probe) >= PROBE_INTERVAL);
        if due {
            state.last_probe = Some(now);
        }
        due
    }

    /// A question got an answer or an error at `now`: the stream manager is not silent.
    pub(crate) fn on_answer(&self, now: Instant) {
        let mut state = self.state();
        if state.timeouts >= TIMEOUTS_MAX {
            tracing::info!("the stream manager answers again");
        }
        *state = State { last_answer: Some(now), ..State::default() };
    }

    /// A question that was asked at `asked` ran into its timeout.
    pub(crate) fn on_timeout(&self, asked: Instant) {
        let mut state = self.state();
        // another question was answered meanwhile: the manager is slow with this one, and not silent
        if state.last_answer.is_some_and(|answer| answer >= asked) {
            return;
        }
        state.timeouts = state.timeouts.saturating_add(1);
        if state.timeouts == TIMEOUTS_MAX {
            tracing::error!(
                "the stream manager is silent: questions fail at once, except one each second, until it answers"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_manager_is_asked_once_a_second_until_its_first_answer() {
        let (breaker, start) = (CircuitBreaker::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for _ in 0..TIMEOUTS_MAX {
            assert!(breaker.allows(at(0)));
            breaker.on_timeout(at(0));
        }
        let allowed: Vec<_> = [100, 200, 1099, 1100, 1200, 2100].map(|now| breaker.allows(at(now))).into();
        assert_eq!(allowed, [true, false, false, true, false, true]);
        breaker.on_answer(at(2200));
        assert!((0..9).all(|_| breaker.allows(at(2200))));
    }

    #[test]
    fn a_manager_that_answers_other_questions_is_slow_and_not_silent() {
        let (breaker, start) = (CircuitBreaker::default(), Instant::now());
        breaker.on_answer(start + Duration::from_millis(1));
        (0..9).for_each(|_| breaker.on_timeout(start));
        assert!((0..9).all(|_| breaker.allows(start + Duration::from_millis(2))));
    }
}
