//! Request bodies that arrive in arbitrary pieces, compared with a simple reference. Input: one byte that chooses the
//! framing, then the bytes of the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::body(bytes));
