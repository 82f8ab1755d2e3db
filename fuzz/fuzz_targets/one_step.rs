//! One-step request targets, compared with a simple reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proto::check;

fuzz_target!(|bytes: &[u8]| check::one_step(bytes));
