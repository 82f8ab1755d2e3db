//! The whole process: starts the workers, tells them when to drain, shows their counters, ends them well.
//!
//! [`run`] is the plot. This floor knows nothing of frames, heads or rings.

pub mod admin;
pub mod cli;
pub mod exit;
pub mod log;
pub mod process;
pub mod reload;
pub mod run;
pub mod signals;
pub mod start;
pub mod stream_manager;
pub mod supervise;
pub mod systemd;
pub mod upgrade;
pub mod workers;
