//! The record of a session: what happened in it and when, in a few hundred bytes.
//!
//! A record is a list of [`Event`]s as bytes, each with its time since the connection was accepted. The session appends to it;
//! `tidegate why`, the lists of sessions and the access log read it. A connection that carries many HTTP requests keeps the
//! newest of them. When a session has ended, its record goes to an [`Archive`](archive::Archive), which keeps tens of thousands of them.

pub mod archive;
mod event;
mod growing;
mod summary;

pub use event::{Event, Traced};
pub use growing::Record;
pub use summary::{Cause, NO_CODE, Summary};

#[cfg(test)]
mod tests;
