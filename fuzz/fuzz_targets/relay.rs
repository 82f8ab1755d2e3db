//! Whole sessions: what two sides and the gateway may do to one another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::relay::relay(bytes));
