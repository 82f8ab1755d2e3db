//! The clock: whether the kernel knows it to be synchronised, and whether it can be right at all.

use crate::control::doctor::finding::Finding;
use crate::control::start::certs::Facts;
use std::time::{SystemTime, UNIX_EPOCH};

/// No machine that runs this version has an earlier time: 2026-01-01, in seconds since 1970.
const EARLIEST: i64 = 1_767_225_600;

/// What there is to know about the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockFacts {
    /// Seconds since 1970; 0 before.
    pub(crate) now: i64,
    /// Whether a time service keeps it right; `None` if the kernel does not tell.
    synchronised: Option<bool>,
}

impl ClockFacts {
    pub(crate) fn read() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { now: i64::try_from(now).unwrap_or(0), synchronised: synchronised() }
    }
}

/// Asks the kernel for the state of its clock (adjtimex(2)).
#[allow(unsafe_code)]
fn synchronised() -> Option<bool> {
    // SAFETY: `timex` consists of integers, for which zeroes are values. With `modes` 0 the call changes nothing of the clock
    // and writes only into the struct it is given, which outlives it. Test: `the_kernel_tells_the_state_of_its_clock`.
    let (state, status) = unsafe {
        let mut time = std::mem::zeroed::<libc::timex>();
        (libc::adjtimex(&raw mut time), time.status)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0)
}

/// Judges the clock; `certificates` are those that are served.
pub(crate) fn judge(facts: ClockFacts, certificates: &[Facts]) -> Finding {
    let check = "clock";
    let set = "set the clock: `timedatectl set-ntp true`, or start chrony";
    let newest = certificates.iter().map(|certificate| certificate.not_before).max();
    if facts.now < EARLIEST {
        return Finding::problem(check, "shows a time that is long past", set);
    }
    if newest.is_some_and(|newest| facts.now < newest) {
        let found = "shows a time before a certificate was issued: the clock or the certificate is wrong";
        return Finding::problem(check, found, set);
    }
    match facts.synchronised {
        Some(true) => Finding::ok(check, "synchronised"),
        Some(false) => Finding::warning(
            check,
            "not synchronised: certificates, tickets and the times of logs depend on it",
            "`timedatectl set-ntp true`, or install chrony; in a container or a virtual machine do so on its host",
        ),
        None => Finding::ok(check, "plausible; the kernel does not tell whether it is synchronised"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    #[test]
    fn the_kernel_tells_the_state_of_its_clock() {
        let facts = ClockFacts::read();
        assert!(facts.now > EARLIEST, "{facts:?}");
        // a filter of system calls may hide it, but it does not change between two questions
        assert_eq!(facts.synchronised, synchronised());
    }

    #[test]
    fn a_clock_that_can_not_be_right_is_a_problem() {
        let certificate = |not_before| Facts {
            chain: "c.pem".into(),
            names: Vec::new(),
            not_before,
            not_after: i64::MAX,
            by_acme: false,
        };
        let judge =
            |now, synchronised, issued: i64| judge(ClockFacts { now, synchronised }, &[certificate(issued)]);
        assert_eq!(judge(EARLIEST + 9, Some(true), 0).level, Level::Ok);
        assert_eq!(judge(EARLIEST + 9, None, 0).level, Level::Ok);
        let drifting = judge(EARLIEST + 9, Some(false), 0);
        assert_eq!(drifting.level, Level::Warning);
        assert!(drifting.remedy.is_some_and(|remedy| remedy.contains("timedatectl set-ntp true")));
        assert_eq!(judge(86_400, Some(true), 0).level, Level::Problem, "1970");
        assert_eq!(
            judge(EARLIEST + 9, Some(true), EARLIEST + 99).level,
            Level::Problem,
            "before the certificate"
        );
    }
}
