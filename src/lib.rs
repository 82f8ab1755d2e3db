//! tidegate: an edge gateway for Red5 Pro clusters.
//!
//! A client reaches a listener on one worker. The worker completes the TLS handshake, reads a head, and finds its route. A
//! WebSocket names a stream; the stream manager's answer (cached, asked for once) says which node has it; admission says
//! whether that node may be dialled; the worker dials the node, rewrites the head, and relays frames both ways until one
//! side closes or the gateway drains.
//!
//! Imports go down only: `control` over `worker` over `shared` over `config` and `metrics` over `proto`. The first three
//! stand behind the feature `gateway`; without it no runtime is compiled. `oracles` stands beside the floors, behind a
//! feature of its own, and is in no release binary.

pub mod config;
#[cfg(feature = "gateway")]
pub mod control;
pub mod metrics;
#[cfg(feature = "oracles")]
pub mod oracles;
pub mod proto;
#[cfg(feature = "gateway")]
pub mod shared;
#[cfg(feature = "gateway")]
pub mod worker;
