//! HTTP on a client connection: a request is read, planned without a wait, and then answered.

mod about;
mod body;
mod event_api;
pub(crate) mod exchange;
mod plan;
pub(crate) mod response;
mod websocket;
pub(crate) mod whip;
