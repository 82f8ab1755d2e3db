//! WebSocket (RFC 6455): the frames of both sides, the state of a relay, the handshake on both legs.

pub mod close;
pub mod frame;
pub mod peek;
pub mod relay;
mod side;
pub mod upgrade;
