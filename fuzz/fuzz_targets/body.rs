//! Bodies cut anywhere, against the plain reference: one byte that says which kind, then what is sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::body(bytes));
