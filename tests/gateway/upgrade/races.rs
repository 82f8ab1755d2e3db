//! A hand-over between two real processes, and one of them ends at some moment of it: afterwards one process serves, or none is
//! left. The moments sweep over the time that a hand-over takes.

use crate::harness::eventually;
use crate::harness::takeover::{self, Takeover, is_running};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// The moments; `TIDEGATE_TEST_MOMENTS` sets their number for long runs.
fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    let count = std::env::var("TIDEGATE_TEST_MOMENTS").map_or(6, |count| count.parse().expect("a number"));
    (0..count).map(move |n| whole * n / count)
}

/// How long a hand-over takes here.
fn duration_of_a_hand_over() -> Duration {
    let takeover = Takeover::start(|_, _| {});
    let began = Instant::now();
    takeover.upgrade();
    began.elapsed() + began.elapsed() / 4
}

/// Whether the log says that the successor is in charge. A process that ends by SIGTERM puts it in charge or ends it; one that is
/// killed can't say so.
fn is_succeeded(takeover: &Takeover, how: Signal) -> bool {
    let text = if how == Signal::TERM { "handed the listeners over" } else { "took over the listeners" };
    takeover.bed.gateway.stderr().contains(text)
}

#[test]
fn a_running_process_that_ends_during_a_hand_over_leaves_no_process_that_is_not_in_charge() {
    let whole = duration_of_a_hand_over();
    for how in [Signal::TERM, Signal::KILL] {
        for moment in moments(whole) {
            let mut takeover = Takeover::start(|config, _| config.set_drains("5s"));
            let first = takeover.bed.gateway.pid();
            takeover::signal(first, Signal::USR2);
            std::thread::sleep(moment);
            takeover::signal(first, how);
            let status = takeover.bed.gateway.wait_for_first_process();
            assert!(how == Signal::KILL || status.code() == Some(0), "{how:?} after {moment:?}: {status:?}");
            let others = || -> Vec<u32> {
                takeover.running_pids().into_iter().filter(|pid| is_running(*pid)).collect()
            };
            eventually("one process serves, or none is left", || {
                if is_succeeded(&takeover, how) {
                    takeover.bed.gateway.ready() == Some(200)
                } else {
                    others().is_empty()
                }
            });
            if is_succeeded(&takeover, how) {
                assert_eq!(others().len(), 1, "{how:?} after {moment:?}");
                assert_eq!(takeover.serving_pid(), others()[0]);
            }
        }
    }
}

#[test]
fn a_new_process_that_ends_before_it_is_in_charge_leaves_the_running_one_serving() {
    let whole = duration_of_a_hand_over();
    for how in [Signal::TERM, Signal::KILL] {
        for moment in moments(whole) {
            let takeover = Takeover::start(|config, _| config.set_drains("5s"));
            let first = takeover.bed.gateway.pid();
            takeover::signal(first, Signal::USR2);
            std::thread::sleep(moment);
            let others: Vec<u32> = takeover.running_pids().into_iter().filter(|pid| *pid != first).collect();
            for pid in &others {
                let _ = kill_process(Pid::from_raw(pid.cast_signed()).expect("a process id"), how);
            }
            let log = || takeover.bed.gateway.stderr();
            eventually("an outcome", || {
                log().contains("serving on") || log().contains("handed the listeners over")
            });
            if !log().contains("handed the listeners over") {
                assert_eq!(takeover.serving_pid(), first, "{how:?} after {moment:?}");
                takeover.bed.get("/nowhere").assert_refusal(404, "no_such_route");
            }
        }
    }
}
