//! Protocols and rules: bytes in, decisions out. No sockets, no clock, no threads.
//!
//! Readers take `&[u8]` and give an error, "not complete yet", or a value and the number of bytes that it took. A reader
//! consumes nothing until it can finish. Two readers work cut-through instead, because what they read may be of any length:
//! the frame scanner ([`websocket::frame`]) and the reader of bodies ([`http::body`]).

pub mod admission;
pub mod http;
pub mod millis;
pub mod proxy_protocol;
pub mod red5;
pub mod refusal;
pub mod websocket;
