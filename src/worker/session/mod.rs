//! What the phases of one connection share, and its lines of the access log.

pub(crate) mod access_log;
pub(crate) mod client;
pub(crate) mod context;
