//! Timers of an open session: pings, the idle limit and the lifetime.

use crate::harness::{Frame, TestBed};
use std::time::Duration;

#[test]
fn a_silent_client_is_pinged_and_then_closed() {
    let bed = TestBed::with(|config, _| {
        config.set("websocket.ping_interval", "100ms");
        config.set("websocket.pong_timeout", "200ms");
    });
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    assert_eq!(client.read_frame().opcode, Frame::PING);
    client.expect_close(1001);
    node.expect_close(1001);
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "silent")], 1.0);
}

#[test]
fn a_client_that_answers_pings_stays() {
    let bed = TestBed::with(|config, _| {
        config.set("websocket.ping_interval", "100ms");
        config.set("websocket.pong_timeout", "2s");
    });
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    for _ in 0..5 {
        let ping = client.read_frame();
        assert_eq!(ping.opcode, Frame::PING);
        client.send_frame(Frame::new(Frame::PONG, ping.payload));
    }
    node.send_frame(Frame::text("still there"));
    while client.read_frame() != Frame::text("still there") {}
}

#[test]
fn a_ping_never_lands_inside_a_frame_of_the_node() {
    let bed = TestBed::with(|config, _| {
        config.set("websocket.ping_interval", "50ms");
        config.set("websocket.pong_timeout", "5s");
    });
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    assert_eq!(client.read_frame().opcode, Frame::PING);
    let frame = Frame::binary(vec![4; 1000]);
    let bytes = frame.bare();
    // slower than the pings, so that one of them is due in the middle
    for piece in bytes.chunks(250) {
        node.send(piece);
        client.receives_within(Duration::from_millis(100));
    }
    loop {
        let heard = client.read_frame();
        if heard.opcode != Frame::PING {
            assert_eq!(heard, frame);
            return;
        }
    }
}

#[test]
fn an_idle_session_ends_although_pings_are_answered() {
    let bed = TestBed::with(|config, _| {
        config.set("websocket.ping_interval", "100ms");
        config.set("websocket.idle", "500ms");
    });
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let code = loop {
        let frame = client.read_frame();
        match frame.as_close() {
            Some((code, _)) => break code,
            None => client.send_frame(Frame::new(Frame::PONG, frame.payload)),
        }
    };
    assert_eq!(code, Some(1001));
    loop {
        let frame = node.read_frame();
        if frame.opcode != Frame::PONG {
            assert_eq!(frame.as_close().unwrap().0, Some(1001));
            break;
        }
    }
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "idle")], 1.0);
}

#[test]
fn a_session_past_its_lifetime_ends_although_it_is_busy() {
    let bed = TestBed::with(|config, _| config.set("websocket.lifetime", "500ms"));
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let code = loop {
        node.try_send(&Frame::text("busy").bare()).ok();
        let frame = client.read_frame();
        if let Some((code, _)) = frame.as_close() {
            break code;
        }
    };
    assert_eq!(code, Some(1001));
    node.expect_close(1001);
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "lifetime")], 1.0);
}
