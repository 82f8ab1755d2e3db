//! Upgrade: the listeners go from a process to its successor.
//!
//! [`handover`] is this process between the two, [`turn`] its wait for the predecessor, [`successor`] the new process on its
//! way, `spawn` its start.

pub mod handover;
mod spawn;
pub mod successor;
pub mod turn;
