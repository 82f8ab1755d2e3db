//! TLS scripts without tampering: for these the oracle demands a complete session.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{holds, tls_fixture};

/// One step without tampering, in the encoding of the oracle: data from either side, key updates, deliveries in either
/// direction, cuts, fragments, closes.
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
fn without_tampering_both_sides_receive_everything_for_any_cuts() {
    // bit 3 of the first byte makes the oracle run each script twice: with the given cuts and without cuts
    holds(60, (0..8_u8, any::<u8>(), vec(step(), 0..24)), |(client, cut, steps)| {
        tls_fixture::records(&[vec![8 | client, cut], steps.concat()].concat());
        Ok(())
    });
}
