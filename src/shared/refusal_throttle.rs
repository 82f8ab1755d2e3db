//! How often refusals become log lines: the first of each code and app at once, then one line a minute with how many more there
//! were. Clients choose the apps and how often they are refused, so the pairs are bounded too; what they are beyond the bound
//! is counted by code alone.
//!
//! Each worker has a [`Throttle`] of its own, which asks that of the process at most once a second for each pair. So a flood
//! takes no lock, and the workers together write one line for each pair.

use crate::proto::refusal::Refusal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines for the same pair.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Time between two questions of a worker whether a line is due for the same pair.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// A pair without a line for so long is new again. Much longer than [`LINE_INTERVAL`], or a flood of new apps would have a line
/// for each of [`PAIRS_MAX`] every minute.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Most pairs of code and app that are told apart.
const PAIRS_MAX: usize = 64;

/// Longest app that is kept, in bytes; longer ones are cut.
const APP_MAX: usize = 80;

/// Counts refusals until they become a line.
#[derive(Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    pairs: Vec<Pair>,
    /// Those of apps that found no room among the pairs, by code.
    others: [Row; Refusal::ALL.len()],
}

/// A code and an app.
#[derive(Debug)]
struct Pair {
    refusal: Refusal,
    app: Box<str>,
    row: Row,
}

#[derive(Debug, Default, Clone, Copy)]
struct Row {
    /// When something passed last.
    passed: Option<Instant>,
    /// Refusals since then.
    waiting: u64,
}

/// Refusals of one pair that have waited long enough.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) refusal: Refusal,
    /// `None` for the apps that found no room.
    pub(crate) app: Option<Box<str>>,
    pub(crate) count: u64,
}

impl Throttle {
    /// The throttle of one worker.
    pub(crate) fn of_worker() -> Self {
        Self::new(ASK_INTERVAL)
    }

    fn new(interval: Duration) -> Self {
        Self { interval, pairs: Vec::new(), others: Default::default() }
    }

    /// Counts `n` refusals of an app; `None` stands for every app that found no room. `Some` if they may pass now: how many
    /// there are with those that waited, and whether the app has found room.
    fn count(&mut self, refusal: Refusal, app: Option<&str>, n: u64, now: Instant) -> Option<(u64, bool)> {
        let interval = self.interval;
        let index = app.and_then(|app| self.index(refusal, app));
        let row = self.row(refusal, index);
        row.waiting += n;
        row.take(now, interval).map(|count| (count, index.is_some()))
    }

    /// Where the row of a pair is. A new one is added if there is room.
    fn index(&mut self, refusal: Refusal, app: &str) -> Option<usize> {
        // part of a request target, which is ASCII
        let app = app.get(..APP_MAX).unwrap_or(app);
        let known = self.pairs.iter().position(|pair| pair.refusal == refusal && *pair.app == *app);
        known.or_else(|| {
            (self.pairs.len() < PAIRS_MAX).then(|| {
                self.pairs.push(Pair { refusal, app: app.into(), row: Row::default() });
                self.pairs.len() - 1
            })
        })
    }

    fn row(&mut self, refusal: Refusal, index: Option<usize>) -> &mut Row {
        match index {
            Some(index) => &mut self.pairs[index].row,
            None => &mut self.others[refusal as usize],
        }
    }

    /// Takes what has waited long enough, and forgets pairs that were not refused for long.
    fn take_due(&mut self, now: Instant) -> Vec<Due> {
        let (mut due, interval) = (Vec::new(), self.interval);
        self.pairs.retain_mut(|Pair { refusal, app, row }| {
            let taken = row.take(now, interval);
            due.extend(taken.map(|count| Due { refusal: *refusal, app: Some(app.clone()), count }));
            row.passed.is_none_or(|last| now.duration_since(last) < FORGET_AFTER)
        });
        for (refusal, row) in Refusal::ALL.into_iter().zip(&mut self.others) {
            due.extend(row.take(now, interval).map(|count| Due { refusal, app: None, count }));
        }
        due
    }
}

impl Row {
    /// What waits, if it has waited long enough.
    fn take(&mut self, now: Instant, interval: Duration) -> Option<u64> {
        let waited = self.passed.is_none_or(|last| now.duration_since(last) >= interval);
        (self.waiting > 0 && waited).then(|| {
            self.passed = Some(now);
            std::mem::take(&mut self.waiting)
        })
    }
}

/// The throttle of the process.
#[derive(Debug)]
pub(crate) struct SharedThrottle(Mutex<Throttle>);

impl Default for SharedThrottle {
    fn default() -> Self {
        Self(Mutex::new(Throttle::new(LINE_INTERVAL)))
    }
}

impl SharedThrottle {
    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        // every change leaves a table that is valid
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a refusal in the throttle of its worker. `Some` if a line may be written for it now, with the number of others of
    /// its pair since the last line.
    pub(crate) fn count(
        &self,
        of_worker: &mut Throttle,
        refusal: Refusal,
        app: &str,
        now: Instant,
    ) -> Option<u64> {
        let (count, has_room) = of_worker.count(refusal, Some(app), 1, now)?;
        let app = has_room.then_some(app);
        self.throttle().count(refusal, app, count, now).map(|(count, _)| count - 1)
    }

    /// Takes what waits in the throttle of a worker, and then what is due for a line.
    pub(crate) fn take_due(&self, of_worker: &mut Throttle, now: Instant) -> Vec<Due> {
        let counted = of_worker.take_due(now);
        let mut throttle = self.throttle();
        for Due { refusal, app, count } in counted {
            let index = app.and_then(|app| throttle.index(refusal, &app));
            throttle.row(refusal, index).waiting += count;
        }
        throttle.take_due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSAL: Refusal = Refusal::AppNotAllowed;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn due(app: Option<&str>, count: u64) -> Vec<Due> {
        vec![Due { refusal: REFUSAL, app: app.map(Into::into), count }]
    }

    #[test]
    fn the_first_of_a_pair_is_a_line_at_once_and_then_there_is_one_a_minute() {
        let (shared, start) = (SharedThrottle::default(), Instant::now());
        let mut workers = [Throttle::of_worker(), Throttle::of_worker()];
        assert_eq!(shared.count(&mut workers[0], REFUSAL, "a", start), Some(0));
        for second in 0..59 {
            for worker in &mut workers {
                assert_eq!(shared.count(worker, REFUSAL, "a", at(start, second)), None, "in second {second}");
            }
        }
        assert_eq!(shared.count(&mut workers[1], REFUSAL, "b", at(start, 1)), Some(0), "another app");
        let other = shared.count(&mut workers[0], Refusal::BadHost, "a", at(start, 1));
        assert_eq!(other, Some(0), "another code");
        let mut lines = Vec::new();
        for second in [61, 122] {
            lines.extend(workers.iter_mut().filter_map(|w| shared.count(w, REFUSAL, "a", at(start, second))));
        }
        // of the four the last one waits
        assert_eq!((lines.len(), lines.iter().sum::<u64>()), (2, 2 * 59 + 4 - 2 - 1), "every one is counted");
    }

    #[test]
    fn what_waits_is_told_a_minute_later_without_another_refusal() {
        let (shared, start) = (SharedThrottle::default(), Instant::now());
        let mut workers = [Throttle::of_worker(), Throttle::of_worker()];
        for worker in &mut workers {
            for _ in 0..5 {
                shared.count(worker, REFUSAL, "a", start);
            }
        }
        for second in [1, 2, 59] {
            for worker in &mut workers {
                assert_eq!(shared.take_due(worker, at(start, second)), []);
            }
        }
        assert_eq!(shared.take_due(&mut workers[1], at(start, 60)), due(Some("a"), 9));
        assert_eq!(shared.take_due(&mut workers[0], at(start, 61)), [], "it is said once");
    }

    #[test]
    fn apps_beyond_the_bound_share_a_line_of_their_code() {
        let (shared, start) = (SharedThrottle::default(), Instant::now());
        let mut workers = [Throttle::of_worker(), Throttle::of_worker()];
        let mut lines = 0;
        for n in 0..10_000 {
            let app = format!("app{n}{}", "x".repeat(n % 200));
            lines += usize::from(shared.count(&mut workers[n % 2], REFUSAL, &app, start).is_some());
        }
        assert_eq!(lines, PAIRS_MAX + 1);
        let _ = shared.take_due(&mut workers[0], at(start, 1));
        let _ = shared.take_due(&mut workers[1], at(start, 1));
        let told: u64 = shared.take_due(&mut workers[0], at(start, 61)).iter().map(|due| due.count).sum();
        assert_eq!(told, 10_000 - lines as u64, "no refusal is lost");
        let throttle = shared.throttle();
        assert!(throttle.pairs.len() == PAIRS_MAX && throttle.pairs.iter().all(|p| p.app.len() <= APP_MAX));
    }

    #[test]
    fn pairs_are_forgotten_when_nothing_was_refused_for_long() {
        let (shared, start) = (SharedThrottle::default(), Instant::now());
        let mut worker = Throttle::of_worker();
        for n in 0..2 * PAIRS_MAX {
            shared.count(&mut worker, REFUSAL, &format!("old{n}"), start);
        }
        let _ = shared.take_due(&mut worker, at(start, 100));
        assert_eq!(shared.count(&mut worker, REFUSAL, "new", at(start, 101)), None, "no room yet");
        let _ = shared.take_due(&mut worker, at(start, 800));
        assert_eq!(shared.count(&mut worker, REFUSAL, "new", at(start, 801)), Some(0));
    }
}
