//! What the steps of one connection share, the client as handlers of requests see it, and the lines of the access log.

pub(crate) mod access_log;
pub(crate) mod client;
pub(crate) mod context;
