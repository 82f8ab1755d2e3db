//! tidegate: an edge gateway for Red5 Pro clusters.
//!
//! A client reaches a listener on one worker. The worker shakes hands, reads a head, and finds its route. A WebSocket
//! names a stream; the stream manager's answer (remembered, asked for once) says where it lives; admission says whether
//! we may go there; the worker dials the origin, rewrites the head, and relays frames both ways until somebody closes or
//! the gateway drains.
//!
//! Imports go down only: `control` over `worker` over `config` and `metrics` over `proto`. The first two stand behind
//! the feature `gateway`; without it no runtime is even compiled.

pub mod config;
#[cfg(feature = "gateway")]
pub mod control;
pub mod metrics;
pub mod proto;
#[cfg(feature = "gateway")]
pub mod worker;
