//! Quotas: sessions, connection rate, unfinished handshakes and descriptors. Refusals come in time, and slots become free
//! again.

use crate::harness::whip::{ANSWER, post};
use crate::harness::{Connection, DEADLINE, Frame, Gate, NodeListener, Reply, Request, TestBed, eventually};
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};

/// A session from a given address.
#[track_caller]
fn relay_from(bed: &TestBed, listener: &NodeListener, client_ip: Ipv4Addr) -> (Connection, Connection) {
    let mut client = bed.client_builder().from(client_ip).connect_tls();
    let node = bed.open_websocket(&mut client, listener);
    (client, node)
}

/// The answer to one request from a given address.
#[track_caller]
fn status_from(bed: &TestBed, client_ip: Ipv4Addr) -> crate::harness::Response {
    let mut client = bed.client_builder().from(client_ip).connect_tls();
    client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    client.read_response()
}

#[track_caller]
fn assert_retry_after(response: &crate::harness::Response) {
    let seconds = response.field("retry-after").expect("Retry-After").parse::<u32>().unwrap();
    assert!((1..=3600).contains(&seconds));
}

#[test]
fn sessions_over_the_limit_are_refused_until_a_slot_is_free() {
    let bed = TestBed::with(|config, _| config.set("limits.sessions", 4));
    let listener = bed.node(1);
    let mut sessions: Vec<_> =
        (1..=4).map(|n| relay_from(&bed, &listener, bed.workspace.client_ip(n))).collect();
    for n in 5..10 {
        let response = status_from(&bed, bed.workspace.client_ip(n));
        response.assert_refusal(503, "overloaded");
        assert_retry_after(&response);
    }
    assert_eq!(listener.dials(), 4);
    for (client, node) in &mut sessions {
        client.send_frame(Frame::text("here"));
        assert_eq!(node.read_frame(), Frame::text("here"), "open sessions do not suffer");
    }
    sessions.pop();
    bed.gateway.wait_for_metric("tidegate_sessions_active", &[("route", "two_step")], 3.0);
    relay_from(&bed, &listener, bed.workspace.client_ip(9));
}

#[test]
fn sessions_of_one_address_are_counted_over_all_workers() {
    let bed = TestBed::with(|config, _| config.set("limits.sessions_per_ip", 3));
    let listener = bed.node(1);
    let client_ip = bed.workspace.client_ip(1);
    let mut sessions: Vec<_> = (0..3).map(|_| relay_from(&bed, &listener, client_ip)).collect();
    for _ in 0..5 {
        let response = status_from(&bed, client_ip);
        response.assert_refusal(429, "too_many");
        assert_retry_after(&response);
    }
    relay_from(&bed, &listener, bed.workspace.client_ip(2));
    sessions.pop();
    eventually("a slot is free again", || {
        let mut client = bed.client_builder().from(client_ip).connect_tls();
        client.send_request(&Request::upgrade(&bed.websocket_target(1)));
        if client.receives_within(std::time::Duration::from_millis(100)) {
            client.read_response().assert_refusal(429, "too_many");
            return false;
        }
        listener.accept().accept_upgrade();
        client.read_response().status() == 101
    });
}

#[test]
fn one_address_may_not_connect_too_often() {
    let bed = TestBed::with(|config, _| config.set("limits.new_per_ip", "3/m"));
    let client_ip = bed.workspace.client_ip(1);
    let from = |client_ip| {
        let mut client = bed.client_builder().from(client_ip).connect_tls();
        client.get("/nowhere")
    };
    let mut turned_away = 0;
    for _ in 0..8 {
        let response = from(client_ip);
        if response.status() == 429 {
            response.assert_refusal(429, "too_many");
            assert_retry_after(&response);
            turned_away += 1;
        }
    }
    assert_eq!(turned_away, 5);
    assert_eq!(from(bed.workspace.client_ip(2)).status(), 404);
}

/// Whether the gateway ended the connection, with or without an alert.
fn has_ended(tcp: &mut TcpStream) -> bool {
    tcp.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
    let mut rest = [0; 64];
    loop {
        match tcp.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn unfinished_handshakes_are_limited() {
    let bed = TestBed::with(|config, _| {
        config.set("limits.handshakes", 4);
        config.set("tls.handshake_timeout", "60s");
    });
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let mut silent: Vec<TcpStream> = (0..12).map(|_| bed.client_builder().connect_tcp()).collect();
    eventually("connections over the limit are ended", || {
        silent.iter_mut().filter_map(|tcp| has_ended(tcp).then_some(())).count() >= 8
    });
    client.send_frame(Frame::text("here"));
    assert_eq!(node.read_frame(), Frame::text("here"), "open sessions do not suffer");
    drop(silent);
    eventually("a slot is free again", || {
        bed.client_builder().try_connect_tls().is_some_and(|mut client| {
            client.try_send(&Request::get("/nowhere").bytes()).is_ok()
                && client.next_head().is_some_and(|head| head.line.contains(" 404 "))
        })
    });
}

#[test]
fn an_idle_kept_connection_is_no_unfinished_handshake() {
    let bed = TestBed::with(|config, _| config.set("limits.handshakes", 4));
    let mut kept: Vec<Connection> = (0..12)
        .map(|_| {
            let mut client = bed.client();
            assert_eq!(client.get("/nowhere").status(), 404);
            client
        })
        .collect();
    for client in &mut kept {
        assert_eq!(client.get("/nowhere").status(), 404);
    }
}

#[test]
fn a_thousand_idle_sessions_use_little_memory() {
    let bed = TestBed::with(|config, _| config.set("websocket.ping_interval", "off"));
    let listener = bed.node(1);
    let mut sessions: Vec<_> = (0..50).map(|_| bed.relay(&listener)).collect();
    let before = bed.gateway.memory();
    sessions
        .extend((0..950).map(|n| relay_from(&bed, &listener, bed.workspace.client_ip(1 + n as u8 % 100))));
    let each = bed.gateway.memory().saturating_sub(before) / 950;
    assert!(each < 32 << 10, "{each} bytes for an idle session");
    let started = std::time::Instant::now();
    for (client, node) in &mut sessions {
        client.send_frame(Frame::text("here"));
        assert_eq!(node.read_frame(), Frame::text("here"));
    }
    assert!(started.elapsed() < DEADLINE);
}

#[test]
fn a_gateway_without_descriptors_does_not_blame_the_node() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let mut client = bed.client();
    bed.gateway.limit_files(3);
    client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    let response = client.read_response();
    response.assert_refusal(503, "overloaded");
    assert_retry_after(&response);
    bed.gateway.limit_files(1000);
    bed.gateway.wait_for_metric("tidegate_origin_dials_total", &[("outcome", "exhausted")], 1.0);
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[("outcome", "refused")]), 0.0);
    bed.relay(&listener);
}

#[test]
fn a_refused_client_is_answered_before_its_body_is_read() {
    let bed = TestBed::with(|config, _| {
        config.set("limits.sessions_per_ip", 1);
        config.set("limits.body_timeout", "60s");
    });
    let client_ip = bed.workspace.client_ip(1);
    let _inside = {
        let mut client = bed.client_builder().from(client_ip).connect_tls();
        assert_eq!(client.get("/nowhere").status(), 404);
        client
    };
    let endless = Request::new("POST", "/nowhere").with("Content-Length", "1000");
    for request in [endless.clone(), endless.with("Expect", "100-continue")] {
        let mut client = bed.client_builder().from(client_ip).connect_tls();
        client.send_request(&request);
        client.read_response().assert_refusal(429, "too_many");
        client.expect_end();
    }
}

#[test]
fn a_client_that_left_keeps_its_slot_until_its_request_is_over() {
    let bed = TestBed::with(|config, _| config.set("limits.sessions_per_ip", 1));
    let node = bed.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    let client_ip = bed.workspace.client_ip(1);
    let mut client = bed.client_builder().from(client_ip).connect_tls();
    client.send_request(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"));
    node.wait_for_requests(1);
    client.reset();
    bed.gateway.wait_for_metric("tidegate_http_connections_active", &[], 0.0);
    status_from(&bed, client_ip).assert_refusal(429, "too_many");
    gate.open();
    eventually("a slot is free again", || {
        bed.client_builder().from(client_ip).connect_tls().get("/nowhere").status() == 404
    });
}
