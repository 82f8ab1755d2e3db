//! Counts that all workers change at once, without locks.
//!
//! No other memory is published through them, so relaxed ordering is enough. `tests/interleavings.rs` includes this file and
//! checks every interleaving of a few threads; so the atomics come from `super::atomic`, which is loom's there.

use super::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// A count of slots that are taken and given back.
#[derive(Debug, Default)]
pub struct Slots(AtomicUsize);

impl Slots {
    /// How many slots are taken now.
    pub fn taken(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Takes a slot if fewer than `max` are taken; whether it did. A failed call never takes a slot for a moment, because
    /// another thread could find all slots taken in that moment.
    pub fn take(&self, max: usize) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |taken| (taken < max).then_some(taken + 1)).is_ok()
    }

    /// Gives back a slot that was taken.
    pub fn give_back(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A counter that allows a number of uses.
#[derive(Debug)]
pub struct UseCount(AtomicU32);

impl UseCount {
    /// Allows `uses` uses from now on.
    pub fn new(uses: u32) -> Self {
        Self(AtomicU32::new(uses))
    }

    /// Takes one use; false when all uses are taken.
    pub fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}
