//! Heads of nodes' answers, and what of them passes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proto::check;

fuzz_target!(|bytes: &[u8]| check::node_answer(bytes));
