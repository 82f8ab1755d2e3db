//! Routes against a slow second look.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::target(bytes));
