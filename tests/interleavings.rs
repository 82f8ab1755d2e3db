//! Checks the lock-free counters that all workers share, with loom: every interleaving of a few threads with up to three
//! preemptions, and every reordering that the memory model allows.

#![allow(unreachable_pub, clippy::unwrap_used)] // this test includes a file of the library as a module

use loom::sync::Arc;
use loom::thread;
// counters of the test itself: atomics of `std`, so that loom does not switch threads at them
use std::sync::atomic::{AtomicUsize as Count, Ordering::SeqCst};

mod atomic {
    pub use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
}

#[path = "../src/shared/counters.rs"]
mod counters;

use counters::{Slots, UseCount};

/// Runs `of` under all interleavings with up to three preemptions. More of them find nothing new in code of two atomic
/// operations.
fn model(of: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(of);
}

/// Runs the tasks at the same time.
fn concurrently(tasks: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = tasks.into_iter().map(thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn no_more_slots_are_taken_than_exist() {
    model(|| {
        let (slots, inside) = (Arc::new(Slots::default()), Arc::new(Count::new(0)));
        let session = || {
            let (slots, inside) = (slots.clone(), inside.clone());
            Box::new(move || {
                if slots.take(1) {
                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "two sessions in one slot");
                    inside.fetch_sub(1, SeqCst);
                    slots.give_back();
                }
            }) as Box<dyn FnOnce() + Send>
        };
        concurrently(vec![session(), session(), session()]);
        assert_eq!(slots.taken(), 0, "every slot was given back");
    });
}

/// The slots above the lower limit are reserved for sessions of high priority, which get them no matter how many sessions of
/// low priority try at the same time.
#[test]
fn a_refused_session_takes_no_slot_from_a_session_of_high_priority() {
    model(|| {
        let slots = Arc::new(Slots::default());
        assert!(slots.take(1), "the first slot is free");
        let low = || {
            let slots = slots.clone();
            Box::new(move || assert!(!slots.take(1), "no slot is left for low priority"))
                as Box<dyn FnOnce() + Send>
        };
        let high = {
            let slots = slots.clone();
            Box::new(move || assert!(slots.take(2), "a slot is reserved for high priority"))
        };
        concurrently(vec![low(), low(), high]);
        assert_eq!(slots.taken(), 2);
    });
}

#[test]
fn an_answer_is_used_exactly_as_often_as_allowed() {
    model(|| {
        let (uses, used) = (Arc::new(UseCount::new(2)), Arc::new(Count::new(0)));
        let request = || {
            let (uses, used) = (uses.clone(), used.clone());
            Box::new(move || {
                if uses.take() {
                    used.fetch_add(1, SeqCst);
                }
            }) as Box<dyn FnOnce() + Send>
        };
        concurrently(vec![request(), request(), request()]);
        assert_eq!(used.load(SeqCst), 2);
        assert!(!uses.take(), "no use is left");
    });
}
