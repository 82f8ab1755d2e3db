//! Signalling messages: their kind and the stream that a subscriber asks for, compared with a reader of JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::signal(bytes));
