//! The rules once more, slowly and straight from their text: what an oracle compares a reader with.

mod address;
mod dial;
pub mod http;
pub mod json;
mod params;
mod routes_v2;

pub use address::is_denied;
pub use dial::dials;
pub use params::{may_be_kept, path_segments, read, unescape_loosely};
pub use routes_v2::{chunked, one_step, streams_may_be_kept};
