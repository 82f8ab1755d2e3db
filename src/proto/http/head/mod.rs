//! Reading HTTP/1.1 heads, strictly: one way to read every framing, and a fault for everything that has two.
//!
//! httparse splits the lines; every rule on top of it is here. This file knows no route, no limit of its own making, and
//! nothing about what a field is used for. It consumes nothing until a head is complete.

mod common;
mod end;
mod fault;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod value;

pub use common::{BodyLength, FIELDS_MAX, HeadLimits};
pub use fault::HeadFault;
pub use request::{Request, request};
pub use response::{Response, response};
pub(crate) use value::{is_authority, target_byte, visible};
