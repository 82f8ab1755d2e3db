//! The state of one core: its sessions, how to wake them, what others may see of them, its flights.

pub(crate) mod filter;
pub(crate) mod flights;
pub(crate) mod info;
pub(crate) mod phrases;
pub(crate) mod registry;
pub(crate) mod state;
pub(crate) mod task;
pub(crate) mod wake;
