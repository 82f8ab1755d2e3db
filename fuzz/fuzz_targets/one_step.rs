//! One-step targets against the plain reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proto::check;

fuzz_target!(|bytes: &[u8]| check::one_step(bytes));
