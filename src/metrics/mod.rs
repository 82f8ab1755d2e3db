//! Counters of each worker, and the text of `/metrics`.
//!
//! A worker writes only its own block, with relaxed atomics, so that no cache line is shared between cores on the hot path;
//! the page sums the blocks. This floor does not know what the numbers mean.

mod counters;
mod dialect;
mod families;
mod labels;
pub mod nodes;
pub mod page;
pub mod state;
mod worker;

pub use counters::{BUCKETS_MICROS, Counter, Gauge, Histogram};
pub use labels::{AnswerOutcome, DialOutcome, ProxyFailure, Route, TlsFailure, Version};
pub use worker::{RefusalCounters, WorkerMetrics};
