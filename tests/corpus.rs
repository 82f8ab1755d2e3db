//! Replays the committed fuzzing corpora through their oracles, on stable and without a fuzzer.
//!
//! Whatever a fuzzer once found stays found: its input is put into the corpus together with the repair.

#![allow(clippy::unwrap_used)] // a helper of tests is a test too

use std::path::Path;

use tidegate::oracles;

#[cfg(feature = "gateway")]
#[path = "../fuzz/parties.rs"]
mod parties;

/// Most files of a corpus, and bytes in each: seeds are read by people, and replayed with every test run.
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
        assert!(bytes.len() <= SIZE_MAX, "a seed is small");
        oracle(&bytes);
        count += 1;
    }
    assert!((1..=FILES_MAX).contains(&count), "{} has {count} files", folder.display());
}

/// One test for each target, so that a failure names it.
macro_rules! replays {
    ($($(#[$only:meta])? $target:ident: $oracle:expr,)*) => {
        $($(#[$only])? #[test] fn $target() { replay(stringify!($target), $oracle); })*

        /// The targets that are replayed here.
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
    proxy_protocol: oracles::proxy_protocol,
    relay: oracles::relay::relay,
    target: oracles::target,
    #[cfg(feature = "gateway")] tls_records: parties::records,
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
            "{name}"
        );
    }
}
