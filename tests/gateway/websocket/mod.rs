//! WebSocket sessions: the opening handshake, frames both ways, backpressure, violations and the end.

mod backpressure;
mod close_semantics;
mod frames;
mod handshake;
mod soak;
mod violations;
