//! The load for benches and for tests of many sessions: a gateway under test, a scripted node and stream manager behind it, and clients in front of it.
//!
//! Nothing here knows tidegate: a gateway under test is a command line, an address and a process id. Every byte that comes
//! back is compared with what has to come back; what is wrong is a fault, and a measurement with faults is none.

#![allow(dead_code)] // benches and a test share this, and each uses its part

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

/// Why a bench can't go on.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What most functions here give back.
pub type Result<T> = std::result::Result<T, Error>;
