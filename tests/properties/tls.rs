//! Scripts of TLS in which nobody does anything wrong: the oracle then asks for a whole session.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{holds, parties};

/// One harmless step, as the oracle reads it: words, renewals of keys, deliveries either way, cuts, fragments, closes.
fn step() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => any::<u8>().prop_map(|size| vec![0, size]),
        4 => any::<u8>().prop_map(|size| vec![1, size]),
        2 => Just(vec![2]),
        2 => Just(vec![3]),
        2 => Just(vec![4]),
        4 => Just(vec![5]),
        1 => (6..8_u8).prop_map(|close| vec![close]),
        2 => any::<u8>().prop_map(|size| vec![8, size]),
        2 => any::<(u8, u8)>().prop_map(|(record, at)| vec![9, record, at]),
    ]
}

#[test]
fn undisturbed_both_sides_hear_everything_whatever_the_cuts() {
    // twice each: in the cuts that the script says, and as it comes
    holds(60, (0..8_u8, any::<u8>(), vec(step(), 0..24)), |(client, cut, steps)| {
        parties::records(&[vec![8 | client, cut], steps.concat()].concat());
        Ok(())
    });
}
