//! Oracles: for each reader one function that takes any bytes and asserts what must always hold.
//!
//! Unit tests feed them input from a printed seed, `tests/corpus.rs` the committed corpora, `tests/properties` generated
//! input, and the fuzz targets everything else. Many compare a reader with a [`reference`](mod@reference), which decides the same a second
//! time. They stand behind the feature `oracles`, which the tests switch on: no release binary has them.

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
mod signalling;
mod target;
#[cfg(test)]
mod tests;
#[cfg(feature = "gateway")]
pub mod tls;

pub use answer::answer;
pub use node_answer::node_answer;
pub use params::{param_rules, params};
pub use proxy_protocol::proxy_protocol;
pub use request_head::head;
pub use routes::{body, one_step, whip};
pub use signalling::{peek, signal};
pub use target::target;
