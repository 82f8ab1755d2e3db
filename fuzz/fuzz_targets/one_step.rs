//! One-step request targets, compared with a simple reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::one_step(bytes));
