//! Questions to the stream manager: flights, the circuit breaker, the HTTP client, names resolved again.

pub mod breaker;
pub mod client;
pub mod dns;
pub mod flights;
