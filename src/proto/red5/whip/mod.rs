//! Requests of WHIP and WHEP: the stream, the node, and the target at the node.
//!
//! A request is read from its route and its query; bodies and sockets are not read here. A PATCH or DELETE has to reach the
//! node that took the POST. Three things lead there, best first: the [`Handle`] that the gateway put into the path of its
//! `Location`; the `host` that newer SDKs repeat from `Session-Host`, which has to be admitted like any other; and the
//! [`AffinityKey`], which is all that there is of a client that does not follow `Location`.

mod affinity;
mod handle;
mod method;
mod request;
#[cfg(test)]
mod tests;

pub use affinity::AffinityKey;
pub use handle::Handle;
pub use method::{Method, allowed, check_body};
pub use request::{Api, Request};
