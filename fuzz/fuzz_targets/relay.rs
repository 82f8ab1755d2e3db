//! Whole relayed sessions: frames of client and node, and frames that the gateway inserts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::relay::relay(bytes));
