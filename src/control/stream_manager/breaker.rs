//! A stream manager that says nothing at all: who would wait for it in vain is told so at once.
//!
//! It counts questions that ran into their timeout with no answer to any other one meanwhile. From some on, one question
//! goes out each second to find out whether it is back, and all others fail without being asked. It knows no HTTP.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many questions in a row that nobody answered are no accident.
const IN_A_ROW: u32 = 5;

/// How often one goes out while it is silent.
const PROBE: Duration = Duration::from_secs(1);

/// What is known of the manager's silence.
#[derive(Debug, Default)]
pub(crate) struct CircuitBreaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    unanswered: u32,
    heard: Option<Instant>,
    probed: Option<Instant>,
}

impl CircuitBreaker {
    fn state(&self) -> MutexGuard<'_, State> {
        // plain numbers: a panic leaves none half changed
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a question is worth asking at `now`.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.unanswered < IN_A_ROW {
            return true;
        }
        let due = state.probed.is_none_or(|probed| now.duration_since(probed) >= PROBE);
        if due {
            state.probed = Some(now);
        }
        due
    }

    /// It said something, be it a no.
    pub(crate) fn on_answer(&self, now: Instant) {
        let mut state = self.state();
        if state.unanswered >= IN_A_ROW {
            tracing::info!("the stream manager answers again");
        }
        *state = State { heard: Some(now), ..State::default() };
    }

    /// A question that was asked at `asked` was waited for in vain.
    pub(crate) fn on_timeout(&self, asked: Instant) {
        let mut state = self.state();
        // it is slow with one question and answers others
        if state.heard.is_some_and(|heard| heard >= asked) {
            return;
        }
        state.unanswered = state.unanswered.saturating_add(1);
        if state.unanswered == IN_A_ROW {
            tracing::error!("the stream manager is silent: questions fail at once until it answers one");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_manager_is_asked_once_a_second_and_trusted_at_its_first_word() {
        let (silence, start) = (CircuitBreaker::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for _ in 0..IN_A_ROW {
            assert!(silence.allows(at(0)));
            silence.on_timeout(at(0));
        }
        let asked: Vec<_> = [100, 200, 1099, 1100, 1200, 2100].map(|now| silence.allows(at(now))).into();
        assert_eq!(asked, [true, false, false, true, false, true]);
        silence.on_answer(at(2200));
        assert!((0..9).all(|_| silence.allows(at(2200))));
    }

    #[test]
    fn a_manager_that_answers_others_is_slow_and_not_silent() {
        let (silence, start) = (CircuitBreaker::default(), Instant::now());
        silence.on_answer(start + Duration::from_millis(1));
        (0..9).for_each(|_| silence.on_timeout(start));
        assert!((0..9).all(|_| silence.allows(start + Duration::from_millis(2))));
    }
}
