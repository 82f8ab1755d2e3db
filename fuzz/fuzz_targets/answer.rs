//! Answers of a stream manager. Input: a Cache-Control value, a line end, the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::answer(bytes));
