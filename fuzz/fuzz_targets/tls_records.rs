//! Runs a TLS connection between a client and the gateway in memory. Input: a byte that chooses the client, a byte that
//! says where the byte stream is cut, then a script of what happens to the records on the way.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../tls_fixture.rs"]
mod tls_fixture;

fuzz_target!(|bytes: &[u8]| tls_fixture::records(bytes));
