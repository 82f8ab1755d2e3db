//! HTTP on a client connection: one request after the other, each planned without waiting and then answered.

pub(crate) mod event_api;
pub(crate) mod exchange;
pub(crate) mod response;
pub(crate) mod websocket;
pub(crate) mod whip;
