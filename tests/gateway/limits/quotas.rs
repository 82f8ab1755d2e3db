//! How much is too much, and that the gateway says so in time and recovers.

use crate::harness::whip::{ANSWER, post};
use crate::harness::{DEADLINE, Frame, Gate, Link, Origin, Reply, Request, Town, eventually};
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};

/// A session from a given address.
#[track_caller]
fn relay_from(town: &Town, origin: &Origin, home: Ipv4Addr) -> (Link, Link) {
    let mut client = town.door().from(home).enter();
    let node = town.upgrade(&mut client, origin);
    (client, node)
}

/// One request from a given address.
#[track_caller]
fn status_from(town: &Town, home: Ipv4Addr) -> crate::harness::Response {
    let mut client = town.door().from(home).enter();
    client.ask(&Request::upgrade(&town.socket_target(1)));
    client.read_response()
}

#[track_caller]
fn assert_retry_after(response: &crate::harness::Response) {
    let seconds = response.field("retry-after").expect("Retry-After").parse::<u32>().unwrap();
    assert!((1..=3600).contains(&seconds));
}

#[test]
fn sessions_over_the_limit_are_turned_away_until_there_is_room() {
    let town = Town::with(|config, _| config.set("limits.sessions", 4));
    let origin = town.node(1);
    let mut sessions: Vec<_> = (1..=4).map(|n| relay_from(&town, &origin, town.place.home(n))).collect();
    for n in 5..10 {
        let response = status_from(&town, town.place.home(n));
        response.assert_refusal(503, "overloaded");
        assert_retry_after(&response);
    }
    assert_eq!(origin.dials(), 4);
    for (client, node) in &mut sessions {
        client.say(Frame::text("here"));
        assert_eq!(node.hear(), Frame::text("here"), "those inside do not suffer");
    }
    sessions.pop();
    town.gateway.wait_for_metric("tidegate_sessions_active", &[("route", "two_step")], 3.0);
    relay_from(&town, &origin, town.place.home(9));
}

#[test]
fn sessions_of_one_address_are_counted_over_all_workers() {
    let town = Town::with(|config, _| config.set("limits.sessions_per_ip", 3));
    let origin = town.node(1);
    let home = town.place.home(1);
    let mut sessions: Vec<_> = (0..3).map(|_| relay_from(&town, &origin, home)).collect();
    for _ in 0..5 {
        let response = status_from(&town, home);
        response.assert_refusal(429, "too_many");
        assert_retry_after(&response);
    }
    relay_from(&town, &origin, town.place.home(2));
    sessions.pop();
    eventually("there is room again", || {
        let mut client = town.door().from(home).enter();
        client.ask(&Request::upgrade(&town.socket_target(1)));
        if client.hears_something_within(std::time::Duration::from_millis(100)) {
            client.read_response().assert_refusal(429, "too_many");
            return false;
        }
        origin.accept().agree();
        client.read_response().status() == 101
    });
}

#[test]
fn one_address_may_not_come_too_often() {
    let town = Town::with(|config, _| config.set("limits.new_per_ip", "3/m"));
    let home = town.place.home(1);
    let from = |home| {
        let mut client = town.door().from(home).enter();
        client.get("/nowhere")
    };
    let mut turned_away = 0;
    for _ in 0..8 {
        let response = from(home);
        if response.status() == 429 {
            response.assert_refusal(429, "too_many");
            assert_retry_after(&response);
            turned_away += 1;
        }
    }
    assert_eq!(turned_away, 5);
    assert_eq!(from(town.place.home(2)).status(), 404);
}

/// Ended by the gateway, without a word or with an alert.
fn is_over(tcp: &mut TcpStream) -> bool {
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
    let town = Town::with(|config, _| {
        config.set("limits.handshakes", 4);
        config.set("tls.handshake_timeout", "60s");
    });
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let mut silent: Vec<TcpStream> = (0..12).map(|_| town.door().knock()).collect();
    eventually("what is too much is let go", || {
        silent.iter_mut().filter_map(|tcp| is_over(tcp).then_some(())).count() >= 8
    });
    client.say(Frame::text("here"));
    assert_eq!(node.hear(), Frame::text("here"), "those inside do not suffer");
    drop(silent);
    eventually("there is room again", || {
        town.door().try_enter().is_some_and(|mut client| {
            client.try_send(&Request::get("/nowhere").bytes()).is_ok()
                && client.next_head().is_some_and(|head| head.line.contains(" 404 "))
        })
    });
}

#[test]
fn a_connection_that_waits_for_its_next_request_is_no_unfinished_handshake() {
    let town = Town::with(|config, _| config.set("limits.handshakes", 4));
    let mut kept: Vec<Link> = (0..12)
        .map(|_| {
            let mut client = town.client();
            assert_eq!(client.get("/nowhere").status(), 404);
            client
        })
        .collect();
    for client in &mut kept {
        assert_eq!(client.get("/nowhere").status(), 404);
    }
}

#[test]
fn a_thousand_idle_sessions_are_cheap() {
    let town = Town::with(|config, _| config.set("websocket.ping_interval", "off"));
    let origin = town.node(1);
    let mut sessions: Vec<_> = (0..50).map(|_| town.relay(&origin)).collect();
    let before = town.gateway.memory();
    sessions.extend((0..950).map(|n| relay_from(&town, &origin, town.place.home(1 + n as u8 % 100))));
    let each = town.gateway.memory().saturating_sub(before) / 950;
    assert!(each < 32 << 10, "{each} bytes for an idle session");
    let started = std::time::Instant::now();
    for (client, node) in &mut sessions {
        client.say(Frame::text("here"));
        assert_eq!(node.hear(), Frame::text("here"));
    }
    assert!(started.elapsed() < DEADLINE);
}

#[test]
fn a_gateway_without_descriptors_does_not_blame_the_node() {
    let town = Town::open();
    let origin = town.node(1);
    let mut client = town.client();
    town.gateway.limit_files(3);
    client.ask(&Request::upgrade(&town.socket_target(1)));
    let response = client.read_response();
    response.assert_refusal(503, "overloaded");
    assert_retry_after(&response);
    town.gateway.limit_files(1000);
    town.gateway.wait_for_metric("tidegate_origin_dials_total", &[("outcome", "exhausted")], 1.0);
    assert_eq!(town.gateway.metric("tidegate_origin_dials_total", &[("outcome", "refused")]), 0.0);
    town.relay(&origin);
}

#[test]
fn who_is_turned_away_is_not_waited_for() {
    let town = Town::with(|config, _| {
        config.set("limits.sessions_per_ip", 1);
        config.set("limits.body_timeout", "60s");
    });
    let home = town.place.home(1);
    let _inside = {
        let mut client = town.door().from(home).enter();
        assert_eq!(client.get("/nowhere").status(), 404);
        client
    };
    let endless = Request::new("POST", "/nowhere").with("Content-Length", "1000");
    for request in [endless.clone(), endless.with("Expect", "100-continue")] {
        let mut client = town.door().from(home).enter();
        client.ask(&request);
        client.read_response().assert_refusal(429, "too_many");
        client.ended();
    }
}

#[test]
fn who_leaves_keeps_its_place_until_its_request_is_over() {
    let town = Town::with(|config, _| config.set("limits.sessions_per_ip", 1));
    let node = town.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    let home = town.place.home(1);
    let mut client = town.door().from(home).enter();
    client.ask(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"));
    node.wait_for_questions(1);
    client.abort();
    town.gateway.wait_for_metric("tidegate_sessions_active", &[("route", "http")], 0.0);
    status_from(&town, home).assert_refusal(429, "too_many");
    gate.open();
    eventually("there is room again", || town.door().from(home).enter().get("/nowhere").status() == 404);
}
