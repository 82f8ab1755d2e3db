//! One core: a thread, a ring, its own listeners, and all sessions that it accepted. The only code that awaits a client or
//! a node.
//!
//! Nothing crosses cores but commands going in, counters coming out, and answers of the stream manager. Rules of the ring
//! (why: `docs/architecture.md`): only readiness is raced; idle holds nothing; no call blocks; every session's future is
//! wrapped, so that a panic ends one session and not the core.

mod connection;
mod drain;
pub(crate) mod http;
pub(crate) mod io;
mod listener;
mod local;
mod main_loop;
mod node;
mod relay;
mod session;
mod thread;

pub use io::fd_budget::descriptors_for;
pub use io::ring_probe::{RingFeatures, probe_ring};
pub use io::runtime::DriverChoice;
pub use listener::ReopenedListener;
pub use local::filter::SessionFilter;
pub use local::info::{Activity, SessionSnapshot, State};
pub use local::registry::{Found, Page, PageQuery};
pub use main_loop::{Command, EndedWhip};
pub(crate) use session::remedy;
pub use thread::{Handle, Mailbox, WorkerSpec, start};
