//! Inputs and set-ups that the benches of time and of instructions share, so that their figures can be compared.
//!
//! This module measures nothing. divan measures time (`benches/proto.rs`, `benches/gateway.rs`), callgrind counts
//! instructions (`benches/counts`).

#![allow(dead_code, unreachable_pub)] // two programs share this module, and neither uses all of it

pub mod memory;
pub mod records;
pub mod sample;
