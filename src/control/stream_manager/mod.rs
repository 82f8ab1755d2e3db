//! The stream manager: flights of questions, the HTTP client that asks them, the circuit breaker, and names that are resolved
//! again and again.

pub mod breaker;
pub mod client;
pub mod dns;
pub(crate) mod fault;
pub mod flights;
pub(crate) mod health;
mod shares;
