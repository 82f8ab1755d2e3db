//! The process: starts the workers, supervises them, hands them newer revisions, shows their state, ends them.
//!
//! [`run`] is the plot. Imports go one way, and the rooms within braces do not import each other: run → supervise →
//! {reload, upgrade, cli} → doctor → workers → {admin, acme, otlp} → {process, exit} → start → {stream_manager, log, systemd, signals} →
//! {log_format, log_queue, cpu_time} → journal. This floor knows nothing of frames, heads or rings.

pub(crate) mod acme;
pub mod admin;
pub mod cli;
pub(crate) mod cpu_time;
pub mod doctor;
pub mod exit;
mod journal;
pub mod log;
mod log_format;
pub mod log_queue;
#[cfg(feature = "otel")]
mod otlp;
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
