//! WHIP requests. Input: a method, a line end, a target, and optionally a line end and a node's `Location`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::whip(bytes));
