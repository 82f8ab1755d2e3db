//! The stream managers: flights of questions, the order in which they are asked, HTTP, circuit breakers, and names that are
//! resolved again and again.

pub mod breaker;
pub mod client;
pub mod dns;
pub(crate) mod fault;
pub mod flights;
pub(crate) mod health;
pub(crate) mod http;
mod manager;
mod race;
mod shares;
mod standing;
