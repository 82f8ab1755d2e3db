//! Frames that are looked at before they are relayed, compared with those that the scanner counts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::peek(bytes));
