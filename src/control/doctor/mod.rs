//! `tidegate doctor`: looks at the machine and at what a configuration needs of it, and says what to do about each finding. It
//! changes nothing.
//!
//! [`examine`] is the plot. Each other file has one subject: it reads facts, and a function judges them without reading anything
//! more.

mod certificates;
mod clock;
mod configuration;
mod examine;
mod finding;
mod kernel;
mod limits;
mod manager;
mod network;
mod nodes;
mod ports;
mod process;
mod reach;
mod sockets;
mod systemd;
mod timeout;

pub use examine::examine;
pub use finding::{Finding, Level, Report};
