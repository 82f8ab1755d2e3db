//! Heads of nodes' answers, and what of them passes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::node_answer(bytes));
