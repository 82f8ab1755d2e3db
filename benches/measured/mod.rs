//! What benches of time and of instructions share: the same inputs, the same set-ups, so that their figures belong together.
//!
//! Nothing here measures. The clock is divan's (`benches/proto.rs`, `benches/gateway.rs`), the counter callgrind's
//! (`benches/counts`).

#![allow(dead_code, unreachable_pub)] // two programs share this, and each uses its part

pub mod memory;
pub mod records;
pub mod sample;
