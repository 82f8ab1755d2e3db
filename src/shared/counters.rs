//! Counts that all workers change at once, without locks.
//!
//! Nothing else is published through them, so no order is asked of the memory. `tests/interleavings.rs` holds them against
//! every interleaving of a few threads; so they name their atomics by `crate::worker::atomic`, which is another one there.

use super::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Slots that are taken and given back.
#[derive(Debug, Default)]
pub struct Slots(AtomicUsize);

impl Slots {
    /// How many are taken now.
    pub fn taken(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Takes one if fewer than `most` are taken. Who finds none does not take one either, not even for a moment: somebody
    /// else may look in that moment.
    pub fn take(&self, most: usize) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |taken| (taken < most).then_some(taken + 1)).is_ok()
    }

    /// Gives one back.
    pub fn give_back(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How often something may be used yet.
#[derive(Debug)]
pub struct UseCount(AtomicU32);

impl UseCount {
    /// So often.
    pub fn new(uses: u32) -> Self {
        Self(AtomicU32::new(uses))
    }

    /// Takes one use; false when they are used up.
    pub fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}
