//! An open session: frames pass unchanged, both ways, whole or in pieces.

use crate::harness::node::EchoNode;
use crate::harness::{Connection, Frame, Request, TestBed};

/// A message in three fragments with control frames between them, and other legal frames.
fn conversation() -> Vec<Frame> {
    vec![
        Frame::text(r#"{"isAvailable":"stream1","bundle":true}"#),
        Frame::binary((0..=255).collect::<Vec<u8>>()),
        Frame::text(""),
        Frame::text("one ").unfinished(),
        Frame::ping("PING!"),
        Frame::new(Frame::CONTINUATION, "two ").unfinished(),
        Frame::pong("PONG!"),
        Frame::new(Frame::CONTINUATION, "three"),
    ]
}

#[test]
fn frames_of_every_kind_pass_both_ways() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    for frame in conversation() {
        client.send_frame(frame.clone());
        assert_eq!(node.read_frame(), frame);
        node.send_frame(frame.clone());
        assert_eq!(client.read_frame(), frame);
    }
}

#[test]
fn bytes_pass_unchanged_including_their_mask() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    for key in [[0; 4], [0xff; 4], [1, 2, 3, 4]] {
        let bytes: Vec<u8> = conversation().iter().flat_map(|frame| frame.masked(key)).collect();
        client.send(&bytes);
        assert_eq!(node.read_bytes(bytes.len()), bytes);
    }
}

#[test]
fn frames_to_the_node_may_be_cut_anywhere() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let bytes: Vec<u8> = conversation().iter().flat_map(|frame| client.encode(frame)).collect();
    for cut in 1..bytes.len() {
        client.send(&bytes[..cut]);
        // the same worker carries this back, so it has seen the first piece before the second one arrives
        node.send_frame(Frame::text("go on"));
        assert_eq!(client.read_frame(), Frame::text("go on"));
        client.send(&bytes[cut..]);
        assert_eq!(node.read_bytes(bytes.len()), bytes, "cut at {cut}");
    }
    bytes.chunks(1).for_each(|byte| client.send(byte));
    assert_eq!(node.read_bytes(bytes.len()), bytes, "byte by byte");
}

#[test]
fn frames_to_the_client_may_be_cut_anywhere() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let bytes: Vec<u8> = conversation().iter().flat_map(Frame::bare).collect();
    for cut in 1..bytes.len() {
        node.send(&bytes[..cut]);
        client.send_frame(Frame::text("go on"));
        assert_eq!(node.read_frame(), Frame::text("go on"));
        node.send(&bytes[cut..]);
        assert_eq!(client.read_bytes(bytes.len()), bytes, "cut at {cut}");
    }
    bytes.chunks(1).for_each(|byte| node.send(byte));
    assert_eq!(client.read_bytes(bytes.len()), bytes, "byte by byte");
}

#[test]
fn a_message_of_exactly_the_limit_passes_whole_or_in_fragments() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let whole = Frame::binary(vec![5; 64 << 10]);
    client.send_frame(whole.clone());
    assert_eq!(node.read_frame(), whole);
    node.send_frame(whole.clone());
    assert_eq!(client.read_frame(), whole);
    let half = vec![6; 32 << 10];
    client.send_frame(Frame::binary(half.clone()).unfinished());
    client.send_frame(Frame::new(Frame::CONTINUATION, half.clone()));
    assert_eq!(node.read_frame().payload, half);
    assert_eq!(node.read_frame().payload, half);
}

#[test]
fn without_a_limit_a_megabyte_passes() {
    let bed = TestBed::with(|config, _| config.set("websocket.message_max", "off"));
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let big = Frame::binary(vec![3; 1 << 20]);
    std::thread::scope(|scope| {
        scope.spawn(|| client.send_frame(big.clone()));
        assert_eq!(node.read_frame(), big);
    });
}

#[test]
fn the_frames_of_many_sessions_do_not_mix() {
    let bed = TestBed::start();
    let _echo = EchoNode::listen(bed.workspace.node(1));
    let mut clients: Vec<Connection> = (0..40).map(|_| bed.client()).collect();
    for client in &mut clients {
        client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    }
    for client in &mut clients {
        assert_eq!(client.read_response().status(), 101);
    }
    for round in 0..20 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.send_frame(Frame::text(&format!("client {n}, round {round}")));
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.read_frame(), Frame::text(&format!("client {n}, round {round}")));
        }
    }
    assert_eq!(bed.gateway.metric("tidegate_sessions_active", &[("route", "two_step")]), 40.0);
    drop(clients);
    bed.gateway.wait_for_metric("tidegate_sessions_active", &[("route", "two_step")], 0.0);
}
