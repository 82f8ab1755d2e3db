//! Replays the committed fuzzing corpora through their oracles, on stable Rust and without a fuzzer.
//!
//! An input with which a fuzzer found a fault is added to the corpus together with the repair, so that the fault is found
//! again if it comes back.

#![allow(clippy::unwrap_used)] // a failed unwrap in a helper fails the test

use std::path::Path;

use tidegate::oracles;

#[cfg(feature = "gateway")]
#[path = "../fuzz/tls_fixture.rs"]
mod tls_fixture;

/// The largest number of files in a corpus, and of bytes in each file. The limits keep the seeds readable and the test run
/// short.
const FILES_MAX: usize = 64;
const SIZE_MAX: usize = 4096;

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

/// Runs an oracle over all files of its target's corpus.
fn replay(target: &str, oracle: fn(&[u8])) {
    let folder = fuzz().join("corpus").join(target);
    let mut count = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        println!("{}", path.display());
        let bytes = std::fs::read(path).unwrap();
        assert!(bytes.len() <= SIZE_MAX, "expected at most {SIZE_MAX} bytes, found {}", bytes.len());
        oracle(&bytes);
        count += 1;
    }
    assert!(
        (1..=FILES_MAX).contains(&count),
        "expected 1 to {FILES_MAX} files in {}, found {count}",
        folder.display()
    );
}

/// Writes one test for each fuzz target, so that a failure names the target.
macro_rules! replays {
    ($($(#[$only:meta])? $target:ident: $oracle:expr,)*) => {
        $($(#[$only])? #[test] fn $target() { replay(stringify!($target), $oracle); })*

        /// The targets that this file replays.
        const REPLAYED: &[&str] = &[$($(#[$only])? stringify!($target)),*];
    };
}

replays! {
    answer: oracles::answer,
    body: oracles::body,
    connection_params: oracles::params,
    frame: oracles::frame::scanner,
    head: oracles::head,
    node_answer: oracles::node_answer,
    one_step: oracles::one_step,
    peek: oracles::peek,
    proxy_protocol: oracles::proxy_protocol,
    relay: oracles::relay::relay,
    signal: oracles::signal,
    target: oracles::target,
    #[cfg(feature = "gateway")] tls_records: tls_fixture::records,
    whip: oracles::whip,
}

#[test]
fn every_target_has_a_corpus_and_is_replayed() {
    let manifest: toml::Table = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap().parse().unwrap();
    for bin in manifest["bin"].as_array().unwrap() {
        let name = bin["name"].as_str().unwrap();
        let compiled = cfg!(feature = "gateway") || bin.get("required-features").is_none();
        assert!(!compiled || REPLAYED.contains(&name), "{name} is not replayed");
        assert!(fuzz().join("corpus").join(name).is_dir(), "{name} has no corpus");
    }
    for folder in std::fs::read_dir(fuzz().join("corpus")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        assert!(
            manifest["bin"].as_array().unwrap().iter().any(|bin| bin["name"].as_str() == Some(&name)),
            "fuzz/Cargo.toml has no target for the corpus {name}"
        );
    }
}
