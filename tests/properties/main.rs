//! Property tests over valid inputs: an input that keeps the rules is accepted and read correctly.
//!
//! The fuzz targets test arbitrary bytes. Arbitrary bytes are seldom valid, so the fuzz targets would not notice a parser that
//! refuses too much. The inputs here are valid and complete: query parameters, heads, frames, bodies, answers, TLS scripts.
//! Each input also goes through the oracle of its fuzz target.
//!
//! All runs use the same inputs. `TIDEGATE_SEED` selects other inputs, `TIDEGATE_CASES` multiplies the number of cases. A
//! failure prints its smallest input. There is no regressions file: write a test with that input, or add it to the corpus.

#![allow(clippy::unwrap_used)] // a failed unwrap in a helper fails the test

mod answers;
mod bodies;
mod frames;
mod heads;
mod params;
mod routes;
#[cfg(feature = "gateway")]
mod tls;
#[cfg(feature = "gateway")]
#[path = "../../fuzz/tls_fixture.rs"]
mod tls_fixture;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Checks a property with `cases` generated inputs (times `TIDEGATE_CASES`). Panics with the smallest input that fails.
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
        Err(TestError::Abort(reason)) => panic!("no inputs were generated: {reason}"),
    }
}

/// The lengths of the pieces into which a stream is cut, 1 to 39 bytes each; [`pieces`] repeats them.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1..40_usize, 1..8)
}

/// Cuts a stream into pieces of the lengths `cuts`, which repeat until the end of the stream.
fn pieces<'b>(bytes: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for size in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, remaining) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = remaining;
    }
    pieces
}

/// Percent-encodes the bytes of a text for which `which`, repeated, is true.
fn escaped(text: &str, which: &[bool]) -> String {
    let escape = which.iter().cycle();
    text.bytes()
        .zip(escape)
        .enumerate()
        .map(|(index, (byte, escape))| match (escape, index % 2) {
            (false, _) => char::from(byte).to_string(),
            (true, 0) => format!("%{byte:02X}"),
            (true, _) => format!("%{byte:02x}"),
        })
        .collect()
}
