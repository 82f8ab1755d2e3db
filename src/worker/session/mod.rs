//! What the steps of one connection share, the client as handlers of requests see it, how slowly it may read, and the
//! lines of the access log.

pub(crate) mod access_log;
pub(crate) mod answer;
pub(crate) mod asked;
pub(crate) mod client;
mod combined;
pub(crate) mod context;
pub(crate) mod current;
pub(crate) mod recording;
pub(crate) mod refusal_line;
pub(crate) mod remedy;
pub(crate) mod request_trace;
mod slow_reader;
pub(crate) mod trace;
pub(crate) mod whip_end;
