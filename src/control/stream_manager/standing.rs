//! In which order stream managers are asked: those that are well first, then those that came back lately, then those that are
//! out. Within each of these the order of the list counts.
//!
//! One that is **out** is asked by probes, and by questions that all others failed. With its first answer it **settles**: it is
//! there for questions that the others fail, and is preferred again only after a time without a fault. That time doubles each
//! time it goes again soon after, so that one that comes and goes does not make each question wait for it anew.

use std::time::{Duration, Instant};

/// How long one that came back settles, at least.
const SETTLE_MIN: Duration = Duration::from_secs(10);

/// And at most.
const SETTLE_MAX: Duration = Duration::from_secs(160);

/// One that was well for so long and goes settles no longer than the first time.
const STEADY: Duration = Duration::from_secs(300);

/// One that no question reached for so long gets a probe: whether the last of a list is there has to be known before it is
/// needed.
const UNHEARD_MAX: Duration = Duration::from_secs(10);

/// Where a stream manager stands in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Well,
    Settling,
    Out,
}

impl Rank {
    /// The word for it in `/api/status`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Settling => "settling",
            Self::Out => "out",
        }
    }
}

/// How the questions to one stream manager ended, as far as it decides its rank. Begins well.
#[derive(Debug)]
pub(crate) struct Standing {
    is_out: bool,
    /// When it was out last and came back.
    back: Option<Instant>,
    settle: Duration,
    /// When a question to it ended last.
    heard: Instant,
}

impl Standing {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { is_out: false, back: None, settle: SETTLE_MIN, heard: now }
    }

    /// It answered.
    pub(crate) fn on_answer(&mut self, now: Instant) {
        self.heard = now;
        if std::mem::replace(&mut self.is_out, false) {
            self.back = Some(now);
        }
    }

    /// A question failed. `shows_out`: not by its own fault.
    pub(crate) fn on_fault(&mut self, shows_out: bool, now: Instant) {
        self.heard = now;
        if !shows_out || std::mem::replace(&mut self.is_out, true) {
            return;
        }
        let relapsed = self.back.is_some_and(|back| now.duration_since(back) < self.settle + STEADY);
        self.settle = if relapsed { (self.settle * 2).min(SETTLE_MAX) } else { SETTLE_MIN };
    }

    pub(crate) fn rank(&self, now: Instant) -> Rank {
        match self.back {
            _ if self.is_out => Rank::Out,
            Some(back) if now.duration_since(back) < self.settle => Rank::Settling,
            _ => Rank::Well,
        }
    }

    /// Whether a probe has to find out how it is, because no question did for long.
    pub(crate) fn is_unheard(&self, now: Instant) -> bool {
        now.duration_since(self.heard) >= UNHEARD_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_comes_back_is_preferred_after_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut standing = Standing::new(start);
        standing.on_fault(false, start);
        assert_eq!(standing.rank(start), Rank::Well, "a fault that may be the question's");
        standing.on_fault(true, at(1));
        standing.on_fault(true, at(2));
        assert_eq!(standing.rank(at(100)), Rank::Out, "time alone brings none back");
        standing.on_answer(at(100));
        assert_eq!(
            [100, 109, 110].map(|now| standing.rank(at(now))),
            [Rank::Settling, Rank::Settling, Rank::Well]
        );
    }

    #[test]
    fn one_that_comes_and_goes_settles_longer_each_time() {
        let start = Instant::now();
        let (mut standing, mut now, mut waits) = (Standing::new(start), start, Vec::new());
        for _ in 0..7 {
            standing.on_fault(true, now);
            standing.on_answer(now);
            let back = now;
            while standing.rank(now) != Rank::Well {
                now += Duration::from_secs(1);
            }
            waits.push(now.duration_since(back).as_secs());
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 160, 160]);
        now += STEADY + SETTLE_MAX;
        standing.on_fault(true, now);
        standing.on_answer(now);
        assert_eq!(standing.rank(now + SETTLE_MIN), Rank::Well, "it was well for long");
    }

    #[test]
    fn one_without_questions_has_to_be_probed() {
        let start = Instant::now();
        let mut standing = Standing::new(start);
        assert!(!standing.is_unheard(start + UNHEARD_MAX / 2) && standing.is_unheard(start + UNHEARD_MAX));
        standing.on_answer(start + UNHEARD_MAX);
        assert!(!standing.is_unheard(start + UNHEARD_MAX));
    }
}
