//! PROXY protocol headers, compared with a simple reference. Input: one byte that chooses the accepted versions, then the
//! bytes that arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::proxy_protocol(bytes));
