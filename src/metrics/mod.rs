//! Counters of each worker, and the text of `/metrics`.
//!
//! A worker writes only its own block, with relaxed atomics, so that no cache line is shared between cores on the hot path;
//! the page sums the blocks. This floor does not know what the numbers mean.

mod close_codes;
mod counters;
mod dialect;
mod families;
mod labels;
mod managers;
pub mod nodes;
pub mod page;
pub mod requests;
pub mod state;
mod worker;

pub use close_codes::CloseCodes;
pub use counters::{BUCKETS_MICROS, Counter, Gauge, Histogram, quantile_micros};
pub use labels::{
    AnswerOutcome, DialOutcome, ManagerOutcome, ProxyFailure, RequestRoute, Route, TlsFailure, Version,
    WhipEnd,
};
pub use managers::ManagerMetrics;
pub use requests::Requests;
pub use worker::{RefusalCounters, WorkerMetrics};
