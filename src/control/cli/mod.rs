//! The command line, and the commands that ask a running gateway.

pub mod client;
pub mod command_line;
pub mod output;
pub mod reload;
pub mod sessions;
pub mod status;
