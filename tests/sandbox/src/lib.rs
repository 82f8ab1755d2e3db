//! A sandbox Red5 Pro cluster in one process, for tidegate's demo and for tests in a browser: a stream manager, and nodes
//! with real signalling and real media. It implements the vendor's protocol and does not depend on the gateway.
//!
//! ```no_run
//! use tidegate_sandbox::{Cluster, ClusterConfig, NodeFault};
//!
//! let cluster = Cluster::start(ClusterConfig::default())?;
//! println!("the stream manager is at {}", cluster.manager_url());
//! cluster.node(0).knobs(|knobs| knobs.fault = Some(NodeFault::Answer(404)));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The cluster ends when the [`Cluster`] is dropped.

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
pub use directory::LiveStream;
pub use http::Head;
pub use record::{CloseSeen, NodeCounts, Question, WhipSeen};
