//! WebSocket frames that arrive in arbitrary pieces, compared with a slow reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::frame::scanner(bytes));
