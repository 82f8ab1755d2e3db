//! Going down without breaking anything: what is told to whom, when, and that the program then ends.

use crate::harness::connection::End;
use crate::harness::node::agreement;
use crate::harness::whip::{ANSWER, post};
use crate::harness::{Frame, Gate, Link, Reply, Request, Town, eventually};

/// The gateway is told to go, and says so; every worker has heard it.
#[track_caller]
fn begin(town: &Town) {
    town.gateway.terminate();
    eventually("not ready any more", || town.gateway.ready() == Some(503));
    // said when the workers were told; what they are asked after that they answer after that
    eventually("told the workers", || town.gateway.stderr().contains("draining for at most"));
    assert_eq!(town.gateway.admin("/api/sessions").status(), 200);
}

#[track_caller]
fn hears_drain(link: &mut Link, code: u16) {
    let reason = link.told(code);
    assert!(reason.starts_with("draining"), "{reason:?}");
}

#[test]
fn a_gateway_with_nothing_to_do_ends_at_once() {
    let mut town = Town::open();
    town.get("/nowhere");
    town.gateway.terminate();
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn open_sessions_are_told_and_then_the_program_ends() {
    let mut town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    town.gateway.terminate();
    hears_drain(&mut client, 1001);
    hears_drain(&mut node, 1001);
    client.part(1001);
    assert_eq!(node.ended(), End::Clean);
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn the_code_is_the_configured_one() {
    let town = Town::with(|config, _| config.set("gateway.drain_close_code", 4321));
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    town.gateway.terminate();
    hears_drain(&mut client, 4321);
    hears_drain(&mut node, 4321);
}

#[test]
fn a_frame_to_the_client_is_finished_first() {
    let mut town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node, rest) = town.held_back(&origin);
    begin(&town);
    node.send(&rest);
    assert_eq!(client.take(rest.len()), rest);
    hears_drain(&mut client, 1001);
    hears_drain(&mut node, 1001);
    client.part(1001);
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn a_frame_to_the_node_is_finished_first() {
    let mut town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let frame = client.encode(&Frame::text("one half and the other"));
    client.send(&frame[..10]);
    assert_eq!(node.take(10), &frame[..10]);
    begin(&town);
    client.send(&frame[10..]);
    assert_eq!(node.take(frame.len() - 10), &frame[10..]);
    hears_drain(&mut node, 1001);
    hears_drain(&mut client, 1001);
    client.part(1001);
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn many_sessions_are_all_told() {
    // we answer them one after the other, and not in the order in which they are told
    let mut town = Town::with(|config, _| config.set("websocket.close_timeout", "4s"));
    let origin = town.node(1);
    let mut sessions: Vec<_> = (0..50).map(|_| town.relay(&origin)).collect();
    town.gateway.terminate();
    for (client, node) in &mut sessions {
        hears_drain(client, 1001);
        hears_drain(node, 1001);
        client.part(1001);
    }
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn newcomers_are_turned_away() {
    let town = Town::with(|config, _| config.set("gateway.drain", "60s"));
    let origin = town.node(1);
    let mut kept = town.client();
    assert_eq!(kept.get("/nowhere").status(), 404);
    let (_client, _node, _rest) = town.held_back(&origin);
    begin(&town);
    assert_eq!(town.gateway.admin("/livez").status(), 200, "going down is not being dead");
    // An address that is closed already is as good an answer as a 503.
    if let Ok(tcp) = std::net::TcpStream::connect(town.place.gateway()) {
        drop(tcp);
        if let Some(mut client) = town.door().try_enter() {
            client.try_send(&Request::upgrade(&town.socket_target(1)).bytes()).ok();
            if let Some(head) = client.next_head() {
                assert!(head.line.contains(" 503 "), "{head:?}");
                assert!(head.field("retry-after").is_some());
            }
        }
    }
    // Who is inside already gets no new session either.
    kept.ask(&Request::upgrade(&town.socket_target(1)));
    let refused = kept.read_response();
    refused.assert_refusal(503, "draining");
    assert_eq!(refused.field("connection"), Some("close"));
    assert_eq!(origin.dials(), 1);
}

#[test]
fn a_question_under_way_is_answered() {
    let mut town = Town::open();
    let gate = Gate::default();
    town.manager.answer("", Reply::json(200, "[]").held(&gate));
    let mut client = town.client();
    client.ask(&Request::get("/streammanager/api/4.0/event/live/stream1?action=subscribe"));
    town.manager.wait_for_questions(1);
    begin(&town);
    gate.open();
    let response = client.read_response();
    assert_eq!((response.status(), response.text()), (200, "[]".to_owned()));
    assert_eq!(client.ended(), End::Clean);
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn a_session_that_is_just_being_opened_is_not_left_hanging() {
    let mut town = Town::open();
    let origin = town.node(1);
    let mut client = town.client();
    client.ask(&Request::upgrade(&town.socket_target(1)));
    let mut node = origin.accept();
    let head = node.read_head();
    begin(&town);
    node.try_send(format!("{}\r\n", agreement(&head)).as_bytes()).ok();
    // a refused handshake is tried elsewhere; a session that is closed at once would be lost
    client.read_response().assert_refusal(503, "draining");
    hears_drain(&mut node, 1001);
    assert_eq!((client.ended(), node.ended()), (End::Clean, End::Clean));
    drop((client, node));
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    let mut town = Town::with(|config, _| config.set("gateway.drain", "500ms"));
    let origin = town.node(1);
    let (mut client, mut node, _rest) = town.held_back(&origin);
    town.gateway.terminate();
    town.gateway.wait_for_exit();
    client.rest();
    node.rest();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut town = Town::with(|config, _| config.set("gateway.drain", "60s"));
    let origin = town.node(1);
    let _session = town.held_back(&origin);
    begin(&town);
    town.gateway.terminate();
    town.gateway.wait_for_exit();
}

#[test]
fn who_waited_at_the_door_when_the_drain_began_hears_of_it_too() {
    let town = Town::with(|config, _| {
        config.set("gateway.drain", "60s");
        config.set("tls.handshake_timeout", "60s");
        config.set("limits.head_timeout", "60s");
        config.set("limits.handshakes", "off");
        config.set("limits.sessions_per_ip", "off");
    });
    let origin = town.node(1);
    let _held = town.held_back(&origin);
    // more than the gateway takes in one go, so that some are still at the door when it is told
    town.gateway.stand_still();
    let waiting: Vec<_> = (0..1000).map(|_| town.door().knock()).collect();
    town.gateway.terminate();
    town.gateway.go_on();
    eventually("not ready any more", || town.gateway.ready() == Some(503));
    for tcp in waiting.into_iter().rev().take(300) {
        let mut client = town.door().enter_on(tcp);
        // they are told one batch after the other: an answer that says so, or the end of an idle connection
        eventually("a newcomer hears of the drain", || {
            let sent = client.try_send(&Request::new("HEAD", "/nowhere").bytes());
            sent.is_err() || client.next_head().is_none_or(|head| head.field("connection") == Some("close"))
        });
    }
}

#[test]
fn who_is_let_go_while_idle_is_let_go_in_order() {
    let town = Town::with(|config, _| config.set("gateway.drain", "60s"));
    let mut kept = town.client();
    assert_eq!(kept.get("/nowhere").status(), 404);
    town.gateway.terminate();
    assert_eq!(kept.ended(), End::Clean);
}

#[test]
fn a_request_that_is_answered_during_a_drain_is_the_last_of_its_connection() {
    let town = Town::open();
    let node = town.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    let mut client = town.client();
    client.ask(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"));
    node.wait_for_questions(1);
    // connections that wait for nothing end once their worker knows
    let idle: Vec<Link> = (0..8)
        .map(|_| {
            let mut client = town.client();
            assert_eq!(client.get("/nowhere").status(), 404);
            client
        })
        .collect();
    begin(&town);
    idle.into_iter().for_each(|mut client| {
        client.ended();
    });
    gate.open();
    let response = client.read_response();
    assert_eq!((response.status(), response.field("connection")), (201, Some("close")), "{response:?}");
}

#[test]
fn a_session_that_nobody_waited_for_is_deleted_before_the_end() {
    let mut town = Town::open();
    let node = town.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/orphan", ANSWER).held(&gate));
    let mut client = town.client();
    client.ask(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"));
    node.wait_for_questions(1);
    begin(&town);
    client.abort();
    town.gateway.wait_for_metric("tidegate_sessions_active", &[("route", "http")], 0.0);
    for _ in 0..20 {
        assert_eq!(town.gateway.ready(), Some(503), "still there");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    gate.open();
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
    assert_eq!(node.lines()[1..], ["DELETE /live/whip/resource/orphan"]);
}
