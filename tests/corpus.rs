//! Replays the committed fuzzing corpora through their oracles, on stable and without a fuzzer.
//!
//! Whatever a fuzzer once found stays found: its input is put into the corpus together with the repair.

#![allow(clippy::unwrap_used)] // a helper of tests is a test too

use std::path::Path;

use tidegate::proto::check;

#[cfg(feature = "gateway")]
#[path = "../fuzz/parties.rs"]
mod parties;

/// Runs an oracle over all files of its target's corpus.
fn replay(target: &str, oracle: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        oracle(&std::fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn connection_params() {
    replay("connection_params", check::params);
}

#[test]
fn head() {
    replay("head", check::head);
}

#[test]
fn target() {
    replay("target", check::target);
}

#[test]
fn answer() {
    replay("answer", check::answer);
}

#[test]
fn one_step() {
    replay("one_step", check::one_step);
}

#[test]
fn whip() {
    replay("whip", check::whip);
}

#[test]
fn body() {
    replay("body", check::body);
}

#[test]
fn node_answer() {
    replay("node_answer", check::node_answer);
}

#[test]
fn frame() {
    replay("frame", check::frame::scanner);
}

#[test]
fn relay() {
    replay("relay", check::relay::relay);
}

#[test]
fn proxy_protocol() {
    replay("proxy_protocol", check::proxy_protocol);
}

#[cfg(feature = "gateway")]
#[test]
fn tls_records() {
    replay("tls_records", parties::records);
}
