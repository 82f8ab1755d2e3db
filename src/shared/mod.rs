//! What all workers and control share. Nothing here knows a ring, tokio, a signal or a file.

pub mod answers;
mod atomic;
mod bucket;
pub(crate) mod cache_status;
pub(crate) mod client_address;
pub(crate) mod clock;
pub mod counters;
pub mod evictions;
pub mod gateway;
pub mod limits;
pub(crate) mod node_faults;
pub(crate) mod node_list;
pub mod node_metrics;
pub mod nodes;
mod pending;
pub mod questions;
pub mod record;
pub(crate) mod refusal_throttle;
pub mod revision;
pub mod session_id;
mod silences;
#[cfg(feature = "otel")]
pub(crate) mod spans;
pub mod transfer;
pub(crate) mod whip_sessions;
