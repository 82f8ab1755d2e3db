//! How a session ends: a Close passes byte for byte, a loss is told to whoever is left.

use crate::harness::connection::End;
use crate::harness::{Frame, Request, Town};

#[test]
fn a_close_passes_byte_for_byte_from_either_side() {
    let town = Town::open();
    let origin = town.node(1);
    let closes = [
        Frame::empty_close(),
        Frame::close(1000, ""),
        Frame::close(4711, "why not"),
        Frame::close(1011, "é"),
    ];
    for close in closes {
        for by_client in [true, false] {
            let (mut client, mut node) = town.relay(&origin);
            let (first, second) = if by_client { (&mut client, &mut node) } else { (&mut node, &mut client) };
            let bytes = first.encode(&close);
            first.send(&bytes);
            assert_eq!(second.take(bytes.len()), bytes);
            second.say(Frame::close(1000, "answer"));
            assert_eq!(first.hear(), Frame::close(1000, "answer"));
            node.finish();
            assert_eq!(client.ended(), End::Clean, "by client: {by_client}");
            assert_eq!(node.ended(), End::Clean, "by client: {by_client}");
        }
    }
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "close")], 8.0);
}

#[test]
fn the_last_frame_reaches_the_node_before_the_close() {
    let town = Town::open();
    let origin = town.node(1);
    for _ in 0..20 {
        let (mut client, mut node) = town.relay(&origin);
        let last = Frame::text(r#"{"switchChannel":"red5pro"}"#);
        let bytes = [client.encode(&last), client.encode(&Frame::empty_close())].concat();
        client.send(&bytes);
        client.finish();
        assert_eq!(node.hear(), last);
        assert_eq!(node.hear(), Frame::empty_close());
    }
}

#[test]
fn a_node_that_vanishes_between_frames_is_told_as_1014() {
    let town = Town::open();
    let origin = town.node(1);
    for reset in [false, true] {
        let (mut client, mut node) = town.relay(&origin);
        node.say(Frame::text("last words"));
        assert_eq!(client.hear(), Frame::text("last words"));
        if reset {
            node.abort()
        } else {
            drop(node)
        }
        let reason = client.told(1014);
        assert!(reason.starts_with("origin lost"), "{reason:?}");
        client.part(1014);
    }
    town.gateway.wait_for_metric("tidegate_ends_total", &[("by", "origin"), ("how", "lost")], 2.0);
}

#[test]
fn a_node_that_vanishes_inside_a_frame_cuts_the_connection() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let frame = Frame::text("half a fra").bare();
    node.send(&frame[..7]);
    drop(node);
    let (rest, _) = client.rest();
    assert!(frame.starts_with(&rest) && rest.len() < frame.len(), "{rest:?}: nothing may be made up");
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "torn")], 1.0);
}

#[test]
fn a_client_that_vanishes_is_told_to_the_node_at_once() {
    let town = Town::open();
    let origin = town.node(1);
    for reset in [false, true] {
        let (mut client, mut node) = town.relay(&origin);
        client.say(Frame::text("last words"));
        assert_eq!(node.hear(), Frame::text("last words"));
        if reset {
            client.abort();
        } else {
            client.finish();
        }
        node.told(1001);
        assert_eq!(node.ended(), End::Clean);
    }
    town.gateway.wait_for_metric("tidegate_ends_total", &[("by", "client"), ("how", "lost")], 2.0);
    town.gateway.wait_for_metric("tidegate_sessions_active", &[], 0.0);
}

#[test]
fn a_client_that_vanishes_inside_a_frame_leaves_the_node_only_a_fin() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let frame = client.encode(&Frame::text("half a fra"));
    client.send(&frame[..9]);
    client.finish();
    let (rest, _) = node.rest();
    assert!(frame.starts_with(&rest) && rest.len() < frame.len(), "{rest:?}: nothing may be made up");
}

#[test]
fn after_its_close_a_client_may_shut_its_half_and_still_hears_the_rest() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    client.say(Frame::close(1000, "bye"));
    client.finish();
    assert_eq!(node.hear(), Frame::close(1000, "bye"));
    node.say(Frame::text("last words"));
    node.say(Frame::close(1000, "bye"));
    drop(node);
    assert_eq!(client.hear(), Frame::text("last words"));
    assert_eq!(client.hear(), Frame::close(1000, "bye"));
    assert_eq!(client.ended(), End::Clean);
}

#[test]
fn after_its_close_a_node_may_shut_its_half_and_still_hears_the_rest() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    node.say(Frame::close(1000, "bye"));
    node.finish();
    assert_eq!(client.hear(), Frame::close(1000, "bye"));
    client.say(Frame::text("last words"));
    client.say(Frame::close(1000, "bye"));
    assert_eq!(node.hear(), Frame::text("last words"));
    assert_eq!(node.hear(), Frame::close(1000, "bye"));
    assert_eq!(client.ended(), End::Clean);
}

#[test]
fn a_close_that_nobody_answers_ends_after_the_close_timeout() {
    let town = Town::with(|config, _| config.set("websocket.close_timeout", "200ms"));
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    client.say(Frame::empty_close());
    assert_eq!(node.hear(), Frame::empty_close());
    node.ended();
    client.ended();
}

#[test]
fn the_reason_of_a_close_we_make_names_the_session() {
    let town = Town::with(|config, _| config.set("websocket.lifetime", "200ms"));
    let origin = town.node(1);
    let mut client = town.client();
    client.ask(&Request::upgrade(&town.socket_target(1)));
    let mut node = origin.accept();
    node.agree();
    let id = client.read_response().field("x-tidegate-session").expect("an id").to_owned();
    let reason = client.told(1001);
    assert!(!id.is_empty() && reason.contains(&id), "{reason:?} without {id:?}");
}

#[test]
fn what_a_node_said_before_it_broke_off_arrives_though_it_takes_nothing_more() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    // a node that refuses a publisher: it says why, closes, and resets what the client still sends
    town.gateway.stand_still();
    client.say(Frame::text("a candidate"));
    node.say(Frame::text("why not"));
    node.say(Frame::close(4001, "why not"));
    node.abort();
    town.gateway.go_on();
    assert_eq!(client.hear(), Frame::text("why not"));
    assert_eq!(client.hear(), Frame::close(4001, "why not"));
    client.say(Frame::close(4001, ""));
    assert_eq!(client.ended(), End::Clean);
}

#[test]
fn what_a_client_said_before_it_broke_off_arrives_though_it_takes_nothing_more() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    // a client that does not read, until the gateway holds something back for it
    node.tcp().set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    while node.try_send(&Frame::binary([7; 60_000]).bare()).is_ok() {}
    town.gateway.stand_still();
    client.say(Frame::text("last words"));
    client.say(Frame::close(1000, "bye"));
    client.abort();
    town.gateway.go_on();
    assert_eq!(node.hear(), Frame::text("last words"));
    assert_eq!(node.hear(), Frame::close(1000, "bye"));
}
