//! The atomics of [`super::counters`]. A file of its own, so that `tests/interleavings.rs` can put loom's in their place.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
