//! What bytes mean and what is allowed: no sockets, no clock, no threads.
//!
//! Convention of the readers: `&[u8]` in, **error | not yet | value and how much it used** out. A reader consumes nothing
//! until it can finish. The frame scanner is the one exception, because it works cut-through; see [`websocket::frame`].

pub mod admission;
pub mod http;
pub mod millis;
pub mod proxy_protocol;
pub mod red5;
pub mod refusal;
pub mod websocket;
