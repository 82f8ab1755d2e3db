//! Upgrade: the listeners go from a process to its successor.

pub mod handover;
pub mod successor;
