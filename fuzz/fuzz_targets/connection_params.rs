//! Connection parameters, compared with a simple reference. Input: the suffix of the path, a line end, the query.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::params(bytes));
