//! The atomics of [`crate::shared::counters`], in a file of their own so that `tests/interleavings.rs` can put loom's in their
//! place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
