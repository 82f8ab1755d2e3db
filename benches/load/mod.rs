//! The load for benches and for tests of many sessions: a gateway under test, a scripted node and stream manager behind it,
//! and clients in front of it.
//!
//! A gateway under test is a command line, an address and a process id; except for `tidegate.rs` nothing here depends on
//! tidegate. Every byte that comes back is compared with the expected one. A difference is a fault, and a measurement with
//! faults gives no figure.

#![allow(dead_code)] // benches and a test share this module, and none of them uses all of it

pub mod client;
pub mod floor;
pub mod frames;
pub mod link;
pub mod manager;
pub mod node;
pub mod pace;
pub mod poll;
pub mod process;
pub mod rows;
pub mod run;
pub mod scripts;
pub mod signalling;
pub mod stats;
pub mod target;
pub mod tidegate;

/// Why a bench can't continue.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, Error>;
