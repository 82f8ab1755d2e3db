//! Properties over valid inputs: what keeps the rules is accepted, and means what it says.
//!
//! The fuzz targets find what is wrong in anything; but bytes thrown together are seldom right, so that a reader that
//! refuses too much would please them. Here everything is built right, whole and with a structure: query parameters, heads,
//! frames, bodies, answers, TLS scripts; and every input goes through its fuzzing oracle as well.
//!
//! A run is the same each time. `TIDEGATE_SEED` is another run, `TIDEGATE_CASES` a longer one (times so many). A failure
//! prints its smallest input; there is no file of regressions, since that input belongs into a test of its own, or into
//! the corpus.

#![allow(clippy::unwrap_used)] // a helper of tests is a test too

mod answers;
mod bodies;
mod frames;
mod heads;
mod params;
#[cfg(feature = "gateway")]
#[path = "../../fuzz/parties.rs"]
mod parties;
mod routes;
#[cfg(feature = "gateway")]
mod tls;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Plays so many cases of a property.
fn holds<S: Strategy>(cases: u32, inputs: S, property: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: std::fmt::Debug,
{
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let seed: u64 = number("TIDEGATE_SEED").unwrap_or(0x7469_6465_6761_7465);
    let times = number("TIDEGATE_CASES").and_then(|times| u32::try_from(times).ok()).unwrap_or(1);
    println!("TIDEGATE_SEED={seed}");
    let config =
        Config { cases: cases.saturating_mul(times), failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    match runner.run(&inputs, property) {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => panic!("{reason}\nsmallest input: {input:#?}"),
        Err(TestError::Abort(reason)) => panic!("no inputs to be had: {reason}"),
    }
}

/// Numbers that say where a stream is cut: pieces of 1 to 40 bytes, over and over.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1..40_usize, 1..8)
}

/// The pieces of a stream that is cut so.
fn pieces<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for size in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// A text with some of its bytes escaped, as a client may write it.
fn escaped(text: &str, which: &[bool]) -> String {
    let escape = which.iter().cycle();
    text.bytes()
        .zip(escape)
        .enumerate()
        .map(|(place, (byte, escape))| match (escape, place % 2) {
            (false, _) => char::from(byte).to_string(),
            (true, 0) => format!("%{byte:02X}"),
            (true, _) => format!("%{byte:02x}"),
        })
        .collect()
}
