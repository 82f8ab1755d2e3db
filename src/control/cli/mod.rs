//! The command line, and the commands that talk to a running gateway through its listeners for operators.

pub mod check;
pub mod client;
pub mod command_line;
pub mod doctor;
pub mod drain;
pub mod manual;
pub mod nodes;
pub mod output;
pub mod reload;
pub mod sessions;
pub mod status;
mod table;
pub mod target;
pub mod upgrade;
pub mod user;
mod watch;
pub mod why;
