//! W3C Trace Context, compared with a simple reference. Input: a `traceparent`, a line feed, and a `tracestate`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::oracles;

fuzz_target!(|bytes: &[u8]| oracles::trace_context(bytes));
