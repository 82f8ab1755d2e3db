//! PROXY protocol headers against the plain reference: one byte that says which versions are taken, then what is sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::proxy_protocol(bytes));
