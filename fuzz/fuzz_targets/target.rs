//! Request targets and their routes, compared with a slow reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::target(bytes));
