//! Handing the listeners to a successor.

pub mod handover;
pub mod successor;
