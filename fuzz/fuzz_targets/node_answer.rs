//! Heads of a node's answers, and which of their fields are forwarded to the client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::node_answer(bytes));
