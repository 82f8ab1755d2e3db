//! The oracles of signalling over random input.

use super::*;

#[test]
fn messages_are_told_apart_as_a_reader_of_json_does() {
    let starts = ["{\"requestOffer\":", "{\"publish\":", "{ \"isAvailable\" : ", "{\"data\":{", "{", "[", ""];
    let pieces = [
        "\"stream1\"",
        "\"",
        "\"a b\"",
        "\"\\u0061\"",
        "\"s\"",
        "}",
        "}",
        "}",
        ",",
        ":",
        "7",
        "null",
        "\"sdp\"",
        "{",
        " ",
        "\"requestOffer\"",
        "\"handleOffer\":\"x\"",
        "NetConnection.Connect.Success",
        "\u{17c}",
    ];
    let is_read = |input: &[u8]| serde_json::from_slice::<serde_json::Value>(input).is_ok();
    play(60_000, &starts, &pieces, 5, signal, is_read);
}

#[test]
fn frames_that_are_looked_at_are_those_that_the_scanner_counts() {
    let starts = ["\u{1}", "\0"];
    let pieces = [
        "\u{1}\u{2}hi",
        "\u{2}\u{0}",
        "\u{9}\u{1}x",
        "\u{1}\u{0}",
        "\u{0}\u{3}abc",
        "\u{1}\u{7e}\u{0}",
        "\u{8}\u{2}",
        "\u{1}\u{7f}\u{0}\u{0}",
        "\u{2}\u{5}hello",
        "\u{1}",
        "x",
        "\u{7f}",
    ];
    // the pieces are ASCII: the first bit of a frame stands for FIN, and of its second byte for a mask
    let oracle = |input: &[u8]| {
        let mut input = input.to_vec();
        let masked = input.first().is_some_and(|choice| choice & 1 == 0);
        for (at, byte) in input.iter_mut().enumerate().skip(1) {
            if at % 2 == 1 || masked {
                *byte |= if at % 3 == 0 { 0 } else { 0x80 };
            }
        }
        peek(&input);
    };
    let mut dice = Dice::new();
    for _ in 0..60_000 {
        let start = starts[dice.roll(starts.len())];
        oracle(&dice.input(start, &pieces, 6));
    }
}
