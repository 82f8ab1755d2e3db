//! A sandbox Red5 Pro cluster in one process: a stream manager and nodes whose signalling and media are real, for tidegate's
//! tests, demo and benches. It knows the vendor's protocol and nothing of the gateway.
//!
//! ```no_run
//! use tidegate_sandbox::{Cluster, ClusterConfig, NodeFault};
//!
//! let cluster = Cluster::start(ClusterConfig::default())?;
//! println!("ask {}", cluster.manager_url());
//! cluster.node(0).knobs(|knobs| knobs.fault = Some(NodeFault::Answer(404)));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Everything ends when the [`Cluster`] is dropped.

mod answers;
mod cluster;
mod config;
mod directory;
mod http;
mod manager;
mod media;
mod messages;
mod node;
mod peer;
mod record;
mod signalling;
mod whip;

pub use cluster::{Cluster, ManagerHandle, NodeHandle};
pub use config::{
    ClusterConfig, Framing, Group, LocationKnob, ManagerKnobs, NodeFault, NodeKnobs, Page, WhipKnobs,
};
pub use directory::Live;
pub use http::Head;
pub use record::{CloseSeen, NodeCounts, Question, WhipSeen};
