//! All of the runtime's IO: sockets, TLS, buffers, fairness between tasks, and what the kernel is told.

pub(crate) mod buffers;
pub(crate) mod client;
pub(crate) mod disconnect;
pub(crate) mod fairness;
pub(crate) mod fd_budget;
pub(crate) mod keepalive;
pub(crate) mod latch;
pub(crate) mod outbox;
pub(crate) mod ring_probe;
pub(crate) mod runtime;
pub(crate) mod socket;
pub(crate) mod tls;
