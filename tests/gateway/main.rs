//! Integration tests: the gateway's behaviour as clients, nodes, the stream manager and the operator see it.
//!
//! Each test starts the real program on loopback addresses of its own and talks to it from outside. No test may know how
//! the gateway is built. `harness` plays the peers. Every other folder holds the gateway to one part of its promises;
//! its `mod.rs` says which.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should fail right there")]
#![allow(unreachable_pub, reason = "this crate has no public API")]

mod abuse;
mod acme;
mod admin;
mod drain;
mod drill;
mod harness;
mod http;
mod limits;
mod liveness;
mod logs;
mod managers;
mod migration;
mod placement;
mod process;
mod proxy_protocol;
mod questions;
mod records;
mod reload;
mod secrets;
mod ssrf;
mod tls;
mod tracing;
mod upgrade;
mod websocket;
mod whip;
