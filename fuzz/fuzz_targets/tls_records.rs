//! A client and the gateway talk TLS in memory: a byte that chooses the client, one that cuts, then what happens to the
//! records between them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../parties.rs"]
mod parties;

fuzz_target!(|bytes: &[u8]| parties::records(bytes));
