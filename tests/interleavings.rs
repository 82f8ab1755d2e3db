//! What all workers count without locks, under every interleaving of a few threads with up to three switches at the worst
//! moments, and every reordering that the memory model allows (loom).

#![allow(unreachable_pub, clippy::unwrap_used)] // a file of the library stands in a test here

use loom::sync::Arc;
use loom::thread;
// plain ones: they watch, and are no moments of their own to switch threads at
use std::sync::atomic::{AtomicUsize as Count, Ordering::SeqCst};

mod atomic {
    pub use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
}

#[path = "../src/shared/counters.rs"]
mod counters;

use counters::{Slots, UseCount};

/// Looks at all interleavings; more than three switches against a thread's will find nothing new in two instructions.
fn model(of: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(of);
}

/// Runs these at the same time.
fn together(tasks: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = tasks.into_iter().map(thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn no_more_places_are_taken_than_there_are() {
    model(|| {
        let (places, inside) = (Arc::new(Slots::default()), Arc::new(Count::new(0)));
        let visitor = || {
            let (places, inside) = (places.clone(), inside.clone());
            Box::new(move || {
                if places.take(1) {
                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "two in one place");
                    inside.fetch_sub(1, SeqCst);
                    places.give_back();
                }
            }) as Box<dyn FnOnce() + Send>
        };
        together(vec![visitor(), visitor(), visitor()]);
        assert_eq!(places.taken(), 0, "every place was given back");
    });
}

/// The places above the first limit are for those of the first priority; however many others try, they get theirs.
#[test]
fn who_is_turned_away_takes_nobody_elses_place() {
    model(|| {
        let places = Arc::new(Slots::default());
        assert!(places.take(1), "the others have filled theirs");
        let other = || {
            let places = places.clone();
            Box::new(move || assert!(!places.take(1), "there was none for others"))
                as Box<dyn FnOnce() + Send>
        };
        let first = {
            let places = places.clone();
            Box::new(move || assert!(places.take(2), "this one was kept"))
        };
        together(vec![other(), other(), first]);
        assert_eq!(places.taken(), 2);
    });
}

#[test]
fn an_answer_is_given_out_as_often_as_it_may_be() {
    model(|| {
        let (uses, given) = (Arc::new(UseCount::new(2)), Arc::new(Count::new(0)));
        let caller = || {
            let (uses, given) = (uses.clone(), given.clone());
            Box::new(move || {
                if uses.take() {
                    given.fetch_add(1, SeqCst);
                }
            }) as Box<dyn FnOnce() + Send>
        };
        together(vec![caller(), caller(), caller()]);
        assert_eq!(given.load(SeqCst), 2);
        assert!(!uses.take(), "and not once more");
    });
}
