//! Connection parameters against the plain reference: the path's suffix, a line end, the query.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::params(bytes));
