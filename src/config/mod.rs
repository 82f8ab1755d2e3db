//! The configuration: the file as written goes in, the values as used come out, every problem at once.
//!
//! This floor reads text and returns plain values. It opens nothing and knows nothing of how anything is served.
//! The keys, their defaults and their meaning are documented in `docs/configuration.md`; `examples/tidegate.toml` holds
//! every one of them.

mod address;
mod certificate;
mod choice;
mod cross_check;
mod file;
mod keys;
mod model;
mod problem;
mod restart_only;
#[cfg(test)]
mod tests;
mod value;

pub use crate::proto::http::cors::AllowOrigins;
pub use crate::proto::proxy_protocol::Versions;
pub use file::{admin_address, locate, read, to_toml};
pub use keys::{KEYS, Key, written};
pub use model::*;
pub use problem::Problem;
pub use restart_only::keep_running;
