//! Illegal and oversized frames: each side gets its own Close, and no part of such a frame passes.

use crate::harness::connection::End;
use crate::harness::{Frame, TestBed};

/// Runs each violation in a session of its own: valid frames before it pass, then both sides are closed.
#[track_caller]
fn violations(cases: &[(&str, Vec<u8>)], by_client: bool) {
    let bed = TestBed::start();
    let listener = bed.node(1);
    for (name, bytes) in cases {
        eprintln!("violation: {name}");
        let (mut client, mut node) = bed.relay(&listener);
        let (wrong, other) = if by_client { (&mut client, &mut node) } else { (&mut node, &mut client) };
        wrong.send(&[wrong.encode(&Frame::text("fine")), bytes.clone()].concat());
        assert_eq!(other.read_frame(), Frame::text("fine"));
        client.expect_close(1002);
        node.expect_close(1001);
        client.answer_close(1002);
        drop(node);
    }
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "violation")], cases.len() as f64);
}

/// Frames that no side may send; `encode` masks or not.
fn illegal(encode: impl Fn(&Frame) -> Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    let mut cases: Vec<_> = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
        .map(|opcode| ("a reserved opcode", encode(&Frame::new(opcode, "x"))))
        .to_vec();
    for bit in [1, 2, 4] {
        cases.push(("a reserved bit", encode(&Frame { rsv: bit, ..Frame::text("x") })));
    }
    cases.extend([
        ("a ping of 126 bytes", encode(&Frame::new(Frame::PING, vec![0; 126]))),
        ("a ping in pieces", encode(&Frame::ping("x").unfinished())),
        ("a close of one byte", encode(&Frame::new(Frame::CLOSE, "x"))),
        ("a continuation of nothing", encode(&Frame::new(Frame::CONTINUATION, "x"))),
        (
            "a message inside a message",
            [encode(&Frame::text("x").unfinished()), encode(&Frame::text("y"))].concat(),
        ),
    ]);
    // the other violations of length: the minimal form is not used, or the top bit is set
    let mut short_as_16 = encode(&Frame::text("x"));
    short_as_16.splice(1..2, [short_as_16[1] & 0x80 | 126, 0, 1]);
    let mut short_as_64 = encode(&Frame::text("x"));
    short_as_64.splice(1..2, [short_as_64[1] & 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 1]);
    let mut negative = encode(&Frame::text("x"));
    negative.splice(1..2, [negative[1] & 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    cases.extend([("16 bits for 1", short_as_16), ("64 bits for 1", short_as_64), ("top bit", negative)]);
    cases
}

#[test]
fn illegal_frames_of_a_client_end_the_session_with_1002() {
    let mut cases = illegal(|frame| frame.masked([1, 2, 3, 4]));
    // the node keeps an unfinished message; that case has its own test
    cases.retain(|(name, _)| *name != "a message inside a message");
    cases.push(("no mask", Frame::text("x").bare()));
    violations(&cases, true);
}

#[test]
fn illegal_frames_of_a_node_end_the_session_with_1002() {
    let mut cases = illegal(Frame::bare);
    cases.retain(|(name, _)| *name != "a message inside a message");
    cases.push(("a mask", Frame::text("x").masked([1, 2, 3, 4])));
    violations(&cases, false);
}

#[test]
fn a_message_inside_a_message_ends_the_session_after_the_first_fragment() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    client.send_frame(Frame::text("begun").unfinished());
    client.send_frame(Frame::text("again"));
    assert_eq!(node.read_frame(), Frame::text("begun").unfinished());
    client.expect_close(1002);
    node.expect_close(1001);
}

#[test]
fn a_client_message_over_the_limit_ends_the_session_with_1009() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    client.send_frame(Frame::text("fine"));
    // the header is enough; the payload is never sent
    client.send(&client.encode(&Frame::binary(vec![0; (64 << 10) + 1]))[..14]);
    client.expect_close(1009);
    assert_eq!(node.read_frame(), Frame::text("fine"));
    node.expect_close(1001);
    assert_eq!(node.expect_end(), End::Clean);
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "too_big")], 1.0);
}

#[test]
fn fragments_of_a_message_count_together_against_the_limit() {
    let bed = TestBed::with(|config, _| config.set("websocket.message_max", "1KiB"));
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    client.send_frame(Frame::binary(vec![1; 1000]).unfinished());
    client.send_frame(Frame::ping(&"p".repeat(125)));
    client.send_frame(Frame::new(Frame::CONTINUATION, vec![1; 25]));
    client.expect_close(1009);
    assert_eq!(node.read_frame().payload.len(), 1000);
    assert_eq!(node.read_frame().opcode, Frame::PING, "control frames do not count as part of the message");
    node.expect_close(1001);
}

#[test]
fn a_node_message_over_the_limit_ends_the_session_with_1009() {
    let bed = TestBed::with(|config, _| config.set("websocket.message_max", "1KiB"));
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    node.send_frame(Frame::text("fine"));
    node.send(&Frame::binary(vec![0; 1025]).bare()[..4]);
    assert_eq!(client.read_frame(), Frame::text("fine"));
    client.expect_close(1009);
    node.expect_close(1001);
    client.answer_close(1009);
}
