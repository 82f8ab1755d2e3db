//! References: the same decisions a second time, slow and plain, written from the text of the rules. Oracles compare the
//! readers with them.
//!
//! A reference never calls the reader that is compared with it. It follows the rules one after the other, in their order,
//! with as many copies of the data as make it easy to read.

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
