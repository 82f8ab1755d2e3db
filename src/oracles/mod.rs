//! Oracles: for each reader one function that takes any bytes and asserts what must always hold.
//!
//! Unit tests feed them from a printed seed, `tests/corpus.rs` feeds them the committed corpora, and the fuzz targets feed
//! them everything else. They stand behind
//! the feature `oracles`, which the tests switch on: no release binary carries them.

pub use answer::answer;
pub use node_answer::node_answer;
pub use params::{param_rules, params};
pub use proxy_protocol::proxy_protocol;
pub use request_head::head;
pub use routes::{body, one_step, whip};
pub use target::target;

mod answer;
mod cut;
pub mod frame;
mod node_answer;
mod params;
#[cfg(feature = "gateway")]
pub mod pieces;
mod proxy_protocol;
pub mod reference;
pub mod relay;
mod request_head;
mod routes;
mod target;
#[cfg(test)]
mod tests;
#[cfg(feature = "gateway")]
pub mod tls;
