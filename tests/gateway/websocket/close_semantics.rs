//! The end of a session: a Close passes byte for byte, and the loss of one side is reported to the other.

use crate::harness::connection::End;
use crate::harness::{Frame, Request, TestBed};
use std::time::{Duration, Instant};

#[test]
fn a_close_passes_byte_for_byte_from_either_side() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let closes = [
        Frame::empty_close(),
        Frame::close(1000, ""),
        Frame::close(4711, "why not"),
        Frame::close(1011, "é"),
    ];
    for close in closes {
        for by_client in [true, false] {
            let (mut client, mut node) = bed.relay(&listener);
            let (first, second) = if by_client { (&mut client, &mut node) } else { (&mut node, &mut client) };
            let bytes = first.encode(&close);
            first.send(&bytes);
            assert_eq!(second.read_bytes(bytes.len()), bytes);
            second.send_frame(Frame::close(1000, "answer"));
            assert_eq!(first.read_frame(), Frame::close(1000, "answer"));
            node.shutdown_write();
            assert_eq!(client.expect_end(), End::Clean, "by client: {by_client}");
            assert_eq!(node.expect_end(), End::Clean, "by client: {by_client}");
        }
    }
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "close")], 8.0);
}

#[test]
fn a_close_that_the_other_side_answers_by_ending_its_connection_comes_back() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    for close in [Frame::empty_close(), Frame::close(1000, "bye"), Frame::close(4711, "é")] {
        for (by_client, reset) in [(true, false), (true, true), (false, false), (false, true)] {
            let (client, node) = bed.relay(&listener);
            let (mut first, mut second) = if by_client { (client, node) } else { (node, client) };
            first.send_frame(close.clone());
            assert_eq!(second.read_frame(), close);
            if reset {
                second.reset();
            } else {
                drop(second);
            }
            assert_eq!(first.read_frame(), close, "by client: {by_client}, reset: {reset}");
            assert_eq!(first.expect_end(), End::Clean, "by client: {by_client}, reset: {reset}");
        }
    }
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "close")], 12.0);
}

#[test]
fn an_illegal_close_that_the_other_side_answers_by_ending_its_connection_gets_1002() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let bad = [0, 999, 1004, 1005, 1006].map(|code| Frame::close(code, ""));
    let not_utf8 = Frame::new(Frame::CLOSE, [3, 0xe8, 0xff]);
    for close in bad.iter().chain([&not_utf8]) {
        for by_client in [true, false] {
            let (client, node) = bed.relay(&listener);
            let (mut first, mut second) = if by_client { (client, node) } else { (node, client) };
            first.send_frame(close.clone());
            assert_eq!(second.read_frame(), *close);
            drop(second);
            first.expect_close(1002);
            assert_eq!(first.expect_end(), End::Clean, "by client: {by_client}, {close:?}");
        }
    }
}

#[test]
fn the_last_frame_reaches_the_node_before_the_close() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    for _ in 0..20 {
        let (mut client, mut node) = bed.relay(&listener);
        let last = Frame::text(r#"{"switchChannel":"red5pro"}"#);
        let bytes = [client.encode(&last), client.encode(&Frame::empty_close())].concat();
        client.send(&bytes);
        client.shutdown_write();
        assert_eq!(node.read_frame(), last);
        assert_eq!(node.read_frame(), Frame::empty_close());
    }
}

#[test]
fn a_node_lost_between_frames_is_reported_as_1014() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    for reset in [false, true] {
        let (mut client, mut node) = bed.relay(&listener);
        node.send_frame(Frame::text("last words"));
        assert_eq!(client.read_frame(), Frame::text("last words"));
        if reset {
            node.reset()
        } else {
            drop(node)
        }
        let reason = client.expect_close(1014);
        assert!(reason.starts_with("origin lost"), "{reason:?}");
        client.answer_close(1014);
    }
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("by", "origin"), ("how", "lost")], 2.0);
}

#[test]
fn a_node_lost_inside_a_frame_cuts_the_clients_connection() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let frame = Frame::text("half a fra").bare();
    node.send(&frame[..7]);
    drop(node);
    let (rest, _) = client.read_to_end();
    assert!(frame.starts_with(&rest) && rest.len() < frame.len(), "{rest:?}: no byte may be invented");
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "torn")], 1.0);
}

#[test]
fn a_lost_client_is_reported_to_the_node_at_once() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    for reset in [false, true] {
        let (mut client, mut node) = bed.relay(&listener);
        client.send_frame(Frame::text("last words"));
        assert_eq!(node.read_frame(), Frame::text("last words"));
        if reset {
            client.reset();
        } else {
            client.shutdown_write();
        }
        node.expect_close(1001);
        assert_eq!(node.expect_end(), End::Clean);
    }
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("by", "client"), ("how", "lost")], 2.0);
    bed.gateway.wait_for_metric("tidegate_worker_sessions", &[], 0.0);
}

#[test]
fn a_client_lost_inside_a_frame_ends_the_nodes_connection_without_a_close() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let frame = client.encode(&Frame::text("half a fra"));
    client.send(&frame[..9]);
    client.shutdown_write();
    let (rest, _) = node.read_to_end();
    assert!(frame.starts_with(&rest) && rest.len() < frame.len(), "{rest:?}: no byte may be invented");
}

#[test]
fn after_its_close_a_client_may_shut_its_sending_half_and_still_receives_the_rest() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    client.send_frame(Frame::close(1000, "bye"));
    client.shutdown_write();
    assert_eq!(node.read_frame(), Frame::close(1000, "bye"));
    node.send_frame(Frame::text("last words"));
    node.send_frame(Frame::close(1000, "bye"));
    drop(node);
    assert_eq!(client.read_frame(), Frame::text("last words"));
    assert_eq!(client.read_frame(), Frame::close(1000, "bye"));
    assert_eq!(client.expect_end(), End::Clean);
}

#[test]
fn after_its_close_a_node_may_shut_its_sending_half_and_still_receives_the_rest() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    node.send_frame(Frame::close(1000, "bye"));
    node.shutdown_write();
    assert_eq!(client.read_frame(), Frame::close(1000, "bye"));
    client.send_frame(Frame::text("last words"));
    client.send_frame(Frame::close(1000, "bye"));
    assert_eq!(node.read_frame(), Frame::text("last words"));
    assert_eq!(node.read_frame(), Frame::close(1000, "bye"));
    assert_eq!(client.expect_end(), End::Clean);
}

#[test]
fn an_unanswered_close_ends_the_session_after_the_close_timeout() {
    let bed = TestBed::with(|config, _| config.set("websocket.close_timeout", "200ms"));
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    client.send_frame(Frame::empty_close());
    assert_eq!(node.read_frame(), Frame::empty_close());
    node.expect_end();
    assert_eq!(client.read_frame(), Frame::empty_close(), "the client closed in good order");
    assert_eq!(client.expect_end(), End::Clean);
}

#[test]
fn the_reason_of_a_close_by_the_gateway_names_the_session() {
    let bed = TestBed::with(|config, _| config.set("websocket.lifetime", "200ms"));
    let listener = bed.node(1);
    let mut client = bed.client();
    client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    let mut node = listener.accept();
    node.accept_upgrade();
    let id = client.read_response().field("x-tidegate-session").expect("an id").to_owned();
    let reason = client.expect_close(1001);
    assert!(!id.is_empty() && reason.contains(&id), "{reason:?} without {id:?}");
}

#[test]
fn frames_sent_by_a_node_before_its_reset_reach_the_client() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    // a node that refuses a publisher: it sends the reason, closes, and resets while the client still sends
    bed.gateway.pause();
    client.send_frame(Frame::text("a candidate"));
    node.send_frame(Frame::text("why not"));
    node.send_frame(Frame::close(4001, "why not"));
    node.reset();
    bed.gateway.resume();
    assert_eq!(client.read_frame(), Frame::text("why not"));
    assert_eq!(client.read_frame(), Frame::close(4001, "why not"));
    client.send_frame(Frame::close(4001, ""));
    assert_eq!(client.expect_end(), End::Clean);
}

#[test]
fn frames_sent_by_a_client_before_its_reset_reach_the_node() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    // a client that does not read, until the gateway holds bytes back for it
    node.tcp().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while node.try_send(&Frame::binary([7; 60_000]).bare()).is_ok() {}
    bed.gateway.pause();
    client.send_frame(Frame::text("last words"));
    client.send_frame(Frame::close(1000, "bye"));
    client.reset();
    bed.gateway.resume();
    assert_eq!(node.read_frame(), Frame::text("last words"));
    assert_eq!(node.read_frame(), Frame::close(1000, "bye"));
}

#[test]
fn the_node_ends_its_connection_first_after_both_closes() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    client.send_frame(Frame::close(1000, "bye"));
    assert_eq!(node.read_frame(), Frame::close(1000, "bye"));
    node.send_frame(Frame::close(1000, "bye"));
    assert_eq!(client.read_frame(), Frame::close(1000, "bye"));
    let closed = Instant::now();
    assert_eq!(client.expect_end(), End::Clean, "the client does not wait for the node");
    // a node that does not end its connection is not waited for long
    assert_eq!(node.expect_end(), End::Clean);
    let waited = closed.elapsed();
    assert!(waited >= Duration::from_millis(500), "the gateway ended the node's connection after {waited:?}");
}
