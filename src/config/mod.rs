//! The configuration: the text of the file goes in; the values as used come out, or every problem at once.
//!
//! This floor reads text and returns plain values. It opens no file and does not know how anything is served.
//! The keys, their defaults and their meaning are documented in `docs/configuration.md`; `examples/tidegate.toml` holds
//! every one of them.

mod acme;
mod address;
mod certificate;
mod choice;
mod concerns;
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
pub use file::{Reading, listener_address, locate, read, read_whole, to_toml, writes};
pub use keys::{KEYS, Key, written};
pub use model::{
    AccessFormat, AccessLog, Acme, Admin, AdminListen, Answers, ApiVersion, Certificate, Config, Cors,
    Driver, Extensions, Gateway, Limits, Log, LogFormat, LogLevel, ManagerUrl, Monitoring, OriginHeader,
    Origins, Rate, Secret, ShowSessions, StreamManager, Tls, TlsVersion, WebSocket, Workers,
};
pub use problem::Problem;
pub use restart_only::keep_restart_only;
