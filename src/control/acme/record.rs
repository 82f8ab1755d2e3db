//! What is remembered of a name between attempts: how often it failed, and when it may be tried again.
//!
//! It is stored before an attempt begins, so that a process that ends in the middle of one, again and again, does not ask the
//! CA each time. The waits keep below what Let's Encrypt allows: 5 failed checks of a name in an hour, 5 certificates for the
//! same names in 7 days, 300 orders in 3 hours.

use super::renewal::Renewal;
use super::trouble::{Kind, Trouble};
use serde::{Deserialize, Serialize};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Waits after the CA could not be reached, the first failure first; the last one is repeated.
const SERVER_WAITS: [i64; 8] = [5, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE];

/// Waits after the CA refused: four attempts in the first hour, then fewer.
const REFUSED_WAITS: [i64; 8] =
    [2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR];

/// Waits after the process ended in the middle of an attempt. An upgrade or a restart is no fault; a process that always ends
/// there must not ask for ever.
const UNFINISHED_WAITS: [i64; 6] = [10, 2 * MINUTE, 10 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR];

/// Waits while the folder can't be used. The CA is not asked then.
const STORAGE_WAITS: [i64; 3] = [5, 15, MINUTE];

/// The wait after the CA named a limit without a time.
const LIMITED_WAIT: i64 = HOUR;

/// The longest wait that a CA can ask for.
const LIMITED_WAIT_MAX: i64 = 8 * DAY;

/// How many refusals in an hour a reload may lead to.
const REFUSALS_MAX: usize = 4;

/// How many certificates are ordered in 7 days for a name whose stored one was lost or damaged. Renewals do not count.
const LOST_MAX: usize = 4;

/// The least time between two certificates for a name, in seconds: it bounds what a CA with absurd dates could cause.
const ISSUED_WAIT: i64 = 5;

/// The record of one name. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// Failures in a row, by kind.
    server_failures: usize,
    refusals: usize,
    unfinished: usize,
    /// The last refusals, at most [`REFUSALS_MAX`].
    refused_at: Vec<i64>,
    /// The CA named a limit: not even a reload may try before `next_attempt`.
    limited: bool,
    pub(super) next_attempt: i64,
    pub(super) error: Option<String>,
    pub(super) error_at: Option<i64>,
    /// When certificates were ordered because none was stored, at most [`LOST_MAX`].
    ordered_lost: Vec<i64>,
    /// What is known of the renewal of the stored certificate.
    pub(super) renewal: Option<Renewal>,
}

/// Why a certificate is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// None is stored.
    Lost,
    /// The stored one is due.
    Renewal,
}

impl Record {
    /// The moment from which an attempt may begin. `asked` says that the operator asked for it by a reload.
    pub(super) fn begins_at(&self, need: Need, asked: bool, now: i64) -> i64 {
        let refused = self.refused_at.iter().filter(|at| **at > now - HOUR).count();
        let skips = asked && !self.limited && refused < REFUSALS_MAX;
        let next = if skips { now } else { self.next_attempt };
        match self.lost_limit(now) {
            Some(until) if need == Need::Lost => next.max(until),
            _ => next,
        }
    }

    /// Until when no more certificates are ordered for a name whose stored ones get lost.
    pub(super) fn lost_limit(&self, now: i64) -> Option<i64> {
        let recent: Vec<_> = self.ordered_lost.iter().filter(|at| **at > now - 7 * DAY).collect();
        let oldest = recent.iter().min().map(|at| **at + 7 * DAY);
        oldest.filter(|_| recent.len() >= LOST_MAX)
    }

    /// Notes an attempt that begins now, as one that was not finished: if the process ends during it, that is true.
    pub(super) fn begin(&mut self, now: i64) {
        self.unfinished += 1;
        self.next_attempt = now + wait(&UNFINISHED_WAITS, self.unfinished);
        self.error = Some("the process ended during the last attempt".to_owned());
        self.error_at = Some(now);
        self.limited = false;
    }

    /// Notes how an attempt failed. `random` spreads the next attempts of many gateways: 0 to below the given number.
    pub(super) fn fail(&mut self, trouble: &Trouble, now: i64, random: impl Fn(i64) -> i64) {
        self.unfinished = 0;
        self.limited = false;
        let wait = match trouble.kind {
            Kind::Server => {
                self.server_failures += 1;
                wait(&SERVER_WAITS, self.server_failures)
            }
            Kind::Refused => {
                self.refusals += 1;
                push(&mut self.refused_at, now, REFUSALS_MAX);
                wait(&REFUSED_WAITS, self.refusals)
            }
            Kind::Limited(seconds) => {
                self.limited = true;
                if seconds > 0 { seconds.min(LIMITED_WAIT_MAX) } else { LIMITED_WAIT }
            }
            Kind::Storage => {
                self.server_failures += 1;
                wait(&STORAGE_WAITS, self.server_failures)
            }
        };
        self.next_attempt = now + wait + random(wait / 4 + 1);
        self.error = Some(trouble.to_string());
        self.error_at = Some(now);
    }

    /// Notes that a certificate was issued and stored.
    pub(super) fn succeed(&mut self, need: Need, renewal: Renewal, now: i64) {
        let mut ordered_lost = std::mem::take(&mut self.ordered_lost);
        if need == Need::Lost {
            push(&mut ordered_lost, now, LOST_MAX);
        }
        let next_attempt = now + ISSUED_WAIT;
        *self = Self { ordered_lost, next_attempt, renewal: Some(renewal), ..Self::default() };
    }

    /// Whether the last attempt failed, or did not end.
    pub(super) fn is_failing(&self) -> bool {
        self.error.is_some()
    }
}

/// The wait after so many failures in a row.
fn wait(waits: &[i64], failures: usize) -> i64 {
    waits[failures.clamp(1, waits.len()) - 1]
}

/// Keeps the newest `most` times.
fn push(times: &mut Vec<i64>, now: i64, most: usize) {
    times.push(now);
    let surplus = times.len().saturating_sub(most);
    times.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn refused() -> Trouble {
        Trouble::new(Kind::Refused, "no")
    }

    fn renewal() -> Renewal {
        Renewal::default()
    }

    /// The moments of attempts in a time, each of which fails in the same way.
    fn attempts(trouble: &Trouble, seconds: i64) -> Vec<i64> {
        let (mut record, mut now, mut attempts) = (Record::default(), NOW, Vec::new());
        while now < NOW + seconds {
            attempts.push(now - NOW);
            record.begin(now);
            record.fail(trouble, now, |_| 0);
            now = record.begins_at(Need::Lost, false, now);
        }
        attempts
    }

    #[test]
    fn refusals_stay_below_the_limit_of_failed_checks() {
        let at = attempts(&refused(), 3 * DAY);
        let most =
            at.iter().map(|begin| at.iter().filter(|at| (*begin..begin + HOUR).contains(at)).count()).max();
        assert_eq!(most, Some(4), "of 5 that are allowed in an hour: {at:?}");
        assert!(at.windows(2).last().is_some_and(|pair| pair[1] - pair[0] == 12 * HOUR), "{at:?}");
    }

    #[test]
    fn a_ca_that_is_gone_is_asked_soon_and_then_every_quarter_of_an_hour() {
        let at = attempts(&Trouble::new(Kind::Server, "gone"), DAY);
        assert_eq!(at[..3], [0, 5, 20]);
        assert!(at.windows(2).last().is_some_and(|pair| pair[1] - pair[0] == 15 * MINUTE), "{at:?}");
    }

    #[test]
    fn a_limit_is_kept_to_and_no_reload_lifts_it() {
        let mut record = Record::default();
        record.fail(&Trouble::new(Kind::Limited(7200), "slow down"), NOW, |_| 0);
        assert_eq!(record.begins_at(Need::Renewal, true, NOW), NOW + 7200);
        record.fail(&Trouble::new(Kind::Limited(0), "slow down"), NOW, |_| 0);
        assert_eq!(record.begins_at(Need::Renewal, false, NOW), NOW + HOUR);
        record.fail(&Trouble::new(Kind::Limited(i64::MAX), "slow down"), NOW, |_| 0);
        assert_eq!(record.begins_at(Need::Renewal, false, NOW), NOW + 8 * DAY);
    }

    #[test]
    fn a_reload_tries_again_at_once_but_not_without_end() {
        let mut record = Record::default();
        for attempt in 0..4 {
            assert_eq!(record.begins_at(Need::Lost, true, NOW + attempt), NOW + attempt, "{record:?}");
            record.fail(&refused(), NOW + attempt, |_| 0);
        }
        assert!(record.begins_at(Need::Lost, true, NOW + 10) > NOW + 50 * MINUTE, "{record:?}");
        let later = NOW + HOUR + 10;
        assert_eq!(record.begins_at(Need::Lost, true, later), later);
    }

    #[test]
    fn a_process_that_ends_in_each_attempt_asks_ever_more_seldom() {
        let (mut record, mut now) = (Record::default(), NOW);
        for wait in [10, 2 * MINUTE, 10 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR, 12 * HOUR] {
            record.begin(now);
            let stored = serde_json::to_string(&record).expect("JSON");
            record = serde_json::from_str(&stored).expect("JSON");
            assert_eq!(record.begins_at(Need::Lost, false, now), now + wait);
            assert!(record.is_failing());
            now += wait;
        }
        record.succeed(Need::Renewal, renewal(), now);
        record.begin(now);
        assert_eq!(record.begins_at(Need::Lost, false, now), now + 10);
    }

    #[test]
    fn lost_certificates_are_not_ordered_without_end_and_renewals_are() {
        let mut record = Record::default();
        for day in 0..4 {
            let now = NOW + day * DAY;
            assert!(record.begins_at(Need::Lost, false, now) <= now);
            record.succeed(Need::Lost, renewal(), now);
        }
        let now = NOW + 4 * DAY;
        assert_eq!(record.begins_at(Need::Lost, true, now), NOW + 7 * DAY);
        assert!(record.begins_at(Need::Renewal, false, now) <= now);
        record.succeed(Need::Renewal, renewal(), now);
        assert!(!record.is_failing() && record.lost_limit(now).is_some());
        assert_eq!(record.lost_limit(NOW + 7 * DAY), None);
    }
}
