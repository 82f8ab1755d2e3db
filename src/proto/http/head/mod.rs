//! Reads HTTP/1.1 heads (RFC 9112), strictly: a head that two readers could understand differently is a fault.
//!
//! httparse splits the lines; every rule beyond that is here. Nothing here knows a route or what a field is used for; limits
//! are the caller's. No byte is consumed until a head is complete.

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
