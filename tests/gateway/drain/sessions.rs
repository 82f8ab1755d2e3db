//! Shutdown in order: what clients and nodes receive, when, and that the program then exits.

use crate::harness::connection::End;
use crate::harness::node::upgrade_response;
use crate::harness::whip::{ANSWER, post};
use crate::harness::{Connection, Frame, Gate, Reply, Request, TestBed, eventually};

/// Terminates the gateway and waits until every worker drains.
#[track_caller]
fn begin_drain(bed: &TestBed) {
    bed.gateway.terminate();
    eventually("not ready any more", || bed.gateway.ready() == Some(503));
    // logged once the workers were told; what they answer later, they answer as draining workers
    eventually("the workers were told", || bed.gateway.stderr().contains("draining for at most"));
    assert_eq!(bed.gateway.admin_get("/api/sessions").status(), 200);
}

#[track_caller]
fn expect_drain_close(connection: &mut Connection, code: u16) {
    let reason = connection.expect_close(code);
    assert!(reason.starts_with("draining"), "{reason:?}");
}

#[test]
fn a_gateway_without_sessions_exits_at_once() {
    let mut bed = TestBed::start();
    bed.get("/nowhere");
    bed.gateway.terminate();
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn open_sessions_are_closed_and_then_the_program_exits() {
    let mut bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    bed.gateway.terminate();
    expect_drain_close(&mut client, 1001);
    expect_drain_close(&mut node, 1001);
    client.answer_close(1001);
    assert_eq!(node.expect_end(), End::Clean);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn the_close_code_is_the_configured_one() {
    let bed = TestBed::with(|config, _| config.set("gateway.drain_close_code", 4321));
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    bed.gateway.terminate();
    expect_drain_close(&mut client, 4321);
    expect_drain_close(&mut node, 4321);
}

#[test]
fn a_frame_to_the_client_is_finished_before_the_close() {
    let mut bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node, rest) = bed.relay_mid_frame(&listener);
    begin_drain(&bed);
    node.send(&rest);
    assert_eq!(client.read_bytes(rest.len()), rest);
    expect_drain_close(&mut client, 1001);
    expect_drain_close(&mut node, 1001);
    client.answer_close(1001);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn a_frame_to_the_node_is_finished_before_the_close() {
    let mut bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let frame = client.encode(&Frame::text("one half and the other"));
    client.send(&frame[..10]);
    assert_eq!(node.read_bytes(10), &frame[..10]);
    begin_drain(&bed);
    client.send(&frame[10..]);
    assert_eq!(node.read_bytes(frame.len() - 10), &frame[10..]);
    expect_drain_close(&mut node, 1001);
    expect_drain_close(&mut client, 1001);
    client.answer_close(1001);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn many_sessions_are_all_closed() {
    // the test answers them one after the other, and not in the order in which they are closed
    let mut bed = TestBed::with(|config, _| config.set("websocket.close_timeout", "4s"));
    let listener = bed.node(1);
    let mut sessions: Vec<_> = (0..50).map(|_| bed.relay(&listener)).collect();
    bed.gateway.terminate();
    for (client, node) in &mut sessions {
        expect_drain_close(client, 1001);
        expect_drain_close(node, 1001);
        client.answer_close(1001);
    }
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn new_clients_are_refused_during_a_drain() {
    let bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let listener = bed.node(1);
    let mut kept = bed.client();
    assert_eq!(kept.get("/nowhere").status(), 404);
    let (_client, _node, _rest) = bed.relay_mid_frame(&listener);
    begin_drain(&bed);
    assert_eq!(bed.gateway.admin_get("/livez").status(), 200, "a draining gateway is still alive");
    // an address that is closed already is as good an answer as a 503
    if let Ok(tcp) = std::net::TcpStream::connect(bed.workspace.gateway()) {
        drop(tcp);
        if let Some(mut client) = bed.client_builder().try_connect_tls() {
            client.try_send(&Request::upgrade(&bed.websocket_target(1)).bytes()).ok();
            if let Some(head) = client.next_head() {
                assert!(head.line.contains(" 503 "), "{head:?}");
                assert!(head.field("retry-after").is_some());
            }
        }
    }
    // a client that is connected already gets no new session either
    kept.send_request(&Request::upgrade(&bed.websocket_target(1)));
    let refused = kept.read_response();
    refused.assert_refusal(503, "draining");
    assert_eq!(refused.field("connection"), Some("close"));
    assert_eq!(listener.dials(), 1);
}

#[test]
fn a_question_under_way_is_answered() {
    let mut bed = TestBed::start();
    let gate = Gate::default();
    bed.manager.answer("", Reply::json(200, "[]").held(&gate));
    let mut client = bed.client();
    client.send_request(&Request::get("/streammanager/api/4.0/event/live/stream1?action=subscribe"));
    bed.manager.wait_for_requests(1);
    begin_drain(&bed);
    gate.open();
    let response = client.read_response();
    assert_eq!((response.status(), response.text()), (200, "[]".to_owned()));
    assert_eq!(client.expect_end(), End::Clean);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn a_session_that_is_being_opened_is_refused_instead_of_left_hanging() {
    let mut bed = TestBed::start();
    let listener = bed.node(1);
    let mut client = bed.client();
    client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    let mut node = listener.accept();
    let head = node.read_head();
    begin_drain(&bed);
    node.try_send(format!("{}\r\n", upgrade_response(&head)).as_bytes()).ok();
    // the client retries a refused handshake elsewhere; a session that is closed at once would be lost
    client.read_response().assert_refusal(503, "draining");
    expect_drain_close(&mut node, 1001);
    assert_eq!((client.expect_end(), node.expect_end()), (End::Clean, End::Clean));
    drop((client, node));
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn a_drain_ends_after_the_configured_time() {
    let mut bed = TestBed::with(|config, _| config.set("gateway.drain", "500ms"));
    let listener = bed.node(1);
    let (mut client, mut node, _rest) = bed.relay_mid_frame(&listener);
    bed.gateway.terminate();
    bed.gateway.wait_for_exit();
    client.read_to_end();
    node.read_to_end();
}

#[test]
fn a_second_signal_ends_the_drain_at_once() {
    let mut bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let listener = bed.node(1);
    let _session = bed.relay_mid_frame(&listener);
    begin_drain(&bed);
    bed.gateway.terminate();
    bed.gateway.wait_for_exit();
}

#[test]
fn connections_in_the_accept_queue_learn_of_the_drain_too() {
    let bed = TestBed::with(|config, _| {
        config.set("gateway.drain", "60s");
        config.set("tls.handshake_timeout", "60s");
        config.set("limits.head_timeout", "60s");
        config.set("limits.handshakes", "off");
        config.set("limits.sessions_per_ip", "off");
    });
    let listener = bed.node(1);
    let _held = bed.relay_mid_frame(&listener);
    // more than the gateway accepts in one go, so that some still wait in the queue when the drain begins
    bed.gateway.pause();
    let waiting: Vec<_> = (0..1000).map(|_| bed.client_builder().connect_tcp()).collect();
    bed.gateway.terminate();
    bed.gateway.resume();
    eventually("not ready any more", || bed.gateway.ready() == Some(503));
    for tcp in waiting.into_iter().rev().take(300) {
        let mut client = bed.client_builder().handshake_on(tcp);
        // they are told one batch after the other: by `Connection: close` in an answer, or by the end of an idle
        // connection
        eventually("a queued connection learns of the drain", || {
            let sent = client.try_send(&Request::new("HEAD", "/nowhere").bytes());
            sent.is_err() || client.next_head().is_none_or(|head| head.field("connection") == Some("close"))
        });
    }
}

#[test]
fn an_idle_connection_is_closed_in_order() {
    let bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let mut kept = bed.client();
    assert_eq!(kept.get("/nowhere").status(), 404);
    bed.gateway.terminate();
    assert_eq!(kept.expect_end(), End::Clean);
}

#[test]
fn a_request_answered_during_a_drain_is_the_last_of_its_connection() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    let mut client = bed.client();
    client.send_request(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"));
    node.wait_for_requests(1);
    // idle connections end once their worker drains
    let idle: Vec<Connection> = (0..8)
        .map(|_| {
            let mut client = bed.client();
            assert_eq!(client.get("/nowhere").status(), 404);
            client
        })
        .collect();
    begin_drain(&bed);
    idle.into_iter().for_each(|mut client| {
        client.expect_end();
    });
    gate.open();
    let response = client.read_response();
    assert_eq!((response.status(), response.field("connection")), (201, Some("close")), "{response:?}");
}

#[test]
fn an_abandoned_whip_session_is_deleted_before_the_exit() {
    let mut bed = TestBed::start();
    let node = bed.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/orphan", ANSWER).held(&gate));
    let mut client = bed.client();
    client.send_request(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"));
    node.wait_for_requests(1);
    begin_drain(&bed);
    client.reset();
    bed.gateway.wait_for_metric("tidegate_http_connections_active", &[], 0.0);
    for _ in 0..20 {
        assert_eq!(bed.gateway.ready(), Some(503), "the gateway still runs");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    gate.open();
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
    assert_eq!(node.lines()[1..], ["DELETE /live/whip/resource/orphan"]);
}
