//! What one client may take of what all share: pending handshakes, idle connections, questions and requests. When all of it is
//! taken, the clients that have most, or need it least, make room for others.

use crate::harness::flood::has_ended;
use crate::harness::{Connection, DEADLINE, Frame, Request, TestBed, eventually};
use crate::questions::stream_manager::silent_manager;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Connections of the n-th client on which nothing is sent.
fn silent(bed: &TestBed, n: u8, count: usize) -> Vec<TcpStream> {
    let builder = bed.client_builder().from(bed.workspace.client_ip(n));
    let connections: Vec<_> = (0..count).map(|_| builder.connect_tcp()).collect();
    connections.iter().for_each(|tcp| tcp.set_nonblocking(true).unwrap());
    connections
}

fn without_timeouts(handshakes: i64) -> TestBed {
    TestBed::with(|config, _| {
        config.set("limits.handshakes", handshakes);
        config.set("tls.handshake_timeout", "60s");
    })
}

/// A client from the n-th address.
fn client(bed: &TestBed, n: u8) -> Connection {
    bed.client_builder().from(bed.workspace.client_ip(n)).connect_tls()
}

fn refusals(bed: &TestBed, code: &str) -> f64 {
    bed.gateway.metric("tidegate_refusals_total", &[("code", code)])
}

#[test]
fn silent_connections_of_two_addresses_keep_no_client_out() {
    let bed = without_timeouts(64);
    let silent: Vec<_> = (1..=2).flat_map(|n| silent(&bed, n, 64)).collect();
    // a sixteenth of 64 each
    eventually("all but the shares are ended", || ended(&silent) == 120);
    bed.gateway.wait_for_metric("tidegate_refusals_total", &[("code", "too_many")], 120.0);
    for _ in 0..10 {
        assert_eq!(client(&bed, 3).get("/nowhere").status(), 404);
    }
    assert_eq!(refusals(&bed, "overloaded"), 0.0);
}

#[test]
fn the_oldest_handshake_of_the_address_with_most_makes_room() {
    let bed = without_timeouts(32);
    // accepted one after the other, so that it is known which of them is the oldest
    let connect = |n: u8, pending: f64| {
        let tcp = silent(&bed, n, 1);
        bed.gateway.wait_for_metric("tidegate_connections_active", &[], pending);
        tcp
    };
    let others: Vec<_> = (1..=30).flat_map(|n| connect(10 + n, f64::from(n))).collect();
    let most = (31..=32).flat_map(|pending| connect(1, f64::from(pending))).collect::<Vec<_>>();
    assert_eq!(client(&bed, 50).get("/nowhere").status(), 404);
    eventually("the address with most makes room", || ended(&most) == 1);
    assert!(has_ended(&most[0]), "the older one ends");
    assert_eq!(ended(&others), 0, "no other connection is ended");
    bed.gateway.wait_for_metric("tidegate_refusals_total", &[("code", "overloaded")], 1.0);
    // all addresses have one now: the oldest of all makes room
    let more: Vec<_> = (51..=52).flat_map(|n| silent(&bed, n, 1)).collect();
    eventually("another handshake makes room", || has_ended(&others[0]));
    assert_eq!((ended(&others), ended(&more)), (1, 0));
}

/// How many of these connections the gateway has ended.
fn ended(connections: &[TcpStream]) -> usize {
    connections.iter().filter(|tcp| has_ended(tcp)).count()
}

#[test]
fn full_handshakes_are_taken_over_by_clients_that_go_on() {
    let bed = without_timeouts(32);
    let silent: Vec<_> = (1..=40).flat_map(|n| silent(&bed, n, 2)).collect();
    // those that still wait to be accepted would take a slot over while a client shakes hands
    eventually("all but 32 made room", || ended(&silent) == 80 - 32);
    for n in 50..60 {
        assert_eq!(client(&bed, n).get("/nowhere").status(), 404);
    }
}

#[test]
fn addresses_have_no_share_where_they_are_not_counted() {
    let bed = TestBed::with(|config, _| {
        config.set("limits.handshakes", 32);
        config.set("limits.sessions_per_ip", "off");
        config.set("tls.handshake_timeout", "60s");
    });
    let silent = silent(&bed, 1, 32);
    bed.gateway.wait_for_metric("tidegate_connections_active", &[], 32.0);
    assert_eq!(ended(&silent), 0);
    assert_eq!(client(&bed, 1).get("/nowhere").status(), 404);
    eventually("one makes room", || ended(&silent) == 1);
}

/// The request of a player on an existing WHEP session, which may use the slots that are reserved for publishers.
fn of_high_priority() -> Request {
    Request::new("DELETE", "/as/v1/proxy/whep/live/stream1?requestId=none")
}

/// 40 connections that are idle after one request each: all of `limits.sessions`. With one worker they are idle in their order.
fn forty_idle(workers: i64) -> (TestBed, Vec<Connection>) {
    let bed = TestBed::with(|config, _| {
        config.set("gateway.workers", workers);
        config.set("limits.sessions", 40);
    });
    let idle = (0..40).map(|n| {
        let mut client = client(&bed, 1);
        let request = if n < 38 { Request::get("/nowhere") } else { of_high_priority() };
        assert_eq!(client.exchange(&request).status(), 404);
        client
    });
    let idle = idle.collect();
    (bed, idle)
}

#[test]
fn a_publisher_is_served_beside_idle_connections() {
    // idle connections of both workers make room, no matter which of them accepts the publisher
    let (bed, idle) = forty_idle(2);
    let listener = bed.node(1);
    let mut relays = Vec::new();
    for n in 0..40 {
        let mut publisher = client(&bed, 2);
        let mut node = bed.open_websocket(&mut publisher, &listener);
        publisher.send_frame(Frame::text("here"));
        assert_eq!(node.read_frame(), Frame::text("here"));
        relays.push((publisher, node));
        bed.gateway.wait_for_metric("tidegate_idle_evictions_total", &[], n as f64 + 1.0);
    }
    for mut gone in idle {
        gone.expect_end();
    }
    client(&bed, 3).exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(503, "overloaded");
    for (publisher, node) in &mut relays {
        publisher.send_frame(Frame::text("still here"));
        assert_eq!(node.read_frame(), Frame::text("still here"), "relays make no room");
    }
}

#[test]
fn a_player_takes_no_reserved_slot_of_an_idle_connection() {
    let (bed, mut idle) = forty_idle(1);
    // 38 slots are for all, so three idle connections make room for the first
    assert_eq!(client(&bed, 2).get("/nowhere").status(), 404);
    bed.gateway.wait_for_metric("tidegate_idle_evictions_total", &[], 3.0);
    for gone in &mut idle[..3] {
        gone.expect_end();
    }
    for left in &mut idle[3..] {
        assert_eq!(left.get("/nowhere").status(), 404, "the others go on");
    }
}

#[test]
fn a_connection_that_was_used_lately_is_not_the_longest_idle() {
    let (bed, mut idle) = forty_idle(1);
    assert_eq!(idle[0].get("/nowhere").status(), 404);
    let listener = bed.node(1);
    let _relay = bed.relay(&listener);
    idle[1].expect_end();
    assert_eq!(idle[0].get("/nowhere").status(), 404);
}

#[test]
fn idle_connections_make_room_for_descriptors() {
    let bed = TestBed::start();
    let idle: Vec<_> = (0..40)
        .map(|_| {
            let mut client = bed.client();
            assert_eq!(client.get("/nowhere").status(), 404);
            client
        })
        .collect();
    let listener = bed.node(1);
    bed.gateway.limit_files(60);
    let started = Instant::now();
    bed.relay(&listener);
    assert!(started.elapsed() < DEADLINE);
    assert!(bed.gateway.metric("tidegate_idle_evictions_total", &[]) >= 1.0);
    drop(idle);
}

#[test]
fn an_idle_connection_ends_after_keep_alive() {
    let bed = TestBed::with(|config, _| config.set("gateway.keep_alive", "700ms"));
    let mut client = bed.client();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(client.get("/nowhere").status(), 404, "every request begins the time again");
    }
    let since = Instant::now();
    client.expect_end();
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(600) && took < DEADLINE, "{took:?}");
}

/// Sends this question from the n-th address.
fn ask(bed: &TestBed, n: u8, target: &str) -> Connection {
    let mut client = client(bed, n);
    client.send_request(&Request::get(target));
    client
}

fn question(stream: &str, action: &str) -> String {
    format!("/streammanager/api/4.0/event/live/{stream}?action={action}")
}

#[test]
fn an_address_has_its_share_of_the_questions_under_way_and_publishers_a_reserve() {
    let mut asked = None;
    let bed = TestBed::with(|config, workspace| {
        asked = Some(silent_manager(workspace));
        config.set("stream_manager.url", format!("http://{}:5080", workspace.ip(3)));
        config.set("stream_manager.timeout", "60s");
    });
    let asked = asked.expect("a stream manager");
    let mut held = Vec::new();
    let expect_asked = |held: &mut Vec<_>| {
        held.push(asked.recv_timeout(DEADLINE).expect("a question reaches the manager"));
    };
    // a sixteenth of 1024
    let of_one: Vec<_> = (0..64).map(|n| ask(&bed, 1, &question(&format!("a{n}"), "subscribe"))).collect();
    (0..64).for_each(|_| expect_asked(&mut held));
    let mut over = ask(&bed, 1, &question("b", "broadcast"));
    let response = over.read_response();
    response.assert_refusal(429, "too_many");
    assert!(response.field("retry-after").is_some());
    let others = (2..=14).flat_map(|n| (0..64).map(move |s| (n, format!("o{n}-{s}"))));
    let others: Vec<_> = others.map(|(n, stream)| ask(&bed, n, &question(&stream, "subscribe"))).collect();
    others.iter().for_each(|_| expect_asked(&mut held));
    ask(&bed, 15, &question("c", "subscribe")).read_response().assert_refusal(503, "overloaded");
    // to wait for a question that another client asked costs nothing
    let mut joined = ask(&bed, 15, &question("a0", "subscribe"));
    assert!(!joined.receives_within(Duration::from_millis(100)));
    let _publisher = ask(&bed, 16, &question("d", "broadcast"));
    expect_asked(&mut held);
    let _publisher = ask(&bed, 17, "/as/v1/streams/stream/default/publish/live/e");
    expect_asked(&mut held);
    drop(of_one);
}

#[test]
fn one_address_may_not_send_too_many_requests() {
    let bed = TestBed::with(|config, _| config.set("limits.requests_per_ip", "3/m"));
    let mut kept = client(&bed, 1);
    for _ in 0..3 {
        assert_eq!(kept.get("/nowhere").status(), 404);
    }
    let upgrade = Request::upgrade(&bed.websocket_target(1));
    for (mut client, request) in [(kept, Request::get("/nowhere")), (client(&bed, 1), upgrade)] {
        let response = client.exchange(&request);
        response.assert_refusal(429, "too_many");
        let seconds = response.field("retry-after").expect("Retry-After").parse::<u32>().unwrap();
        assert!((1..=3600).contains(&seconds));
    }
    assert_eq!(client(&bed, 2).get("/nowhere").status(), 404, "others do not suffer");
    assert_eq!(refusals(&bed, "too_many"), 2.0);
}
