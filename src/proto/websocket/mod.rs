//! WebSocket (RFC 6455): the upgrade on both legs, frame boundaries, and the life of a relayed session.

pub mod frame;
pub mod relay;
pub mod upgrade;
