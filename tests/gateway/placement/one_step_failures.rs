//! One step when something fails: another node is tried in time, and only where that can do no harm.

use crate::harness::node::Deaf;
use crate::harness::{Gate, HttpPeer, Link, Origin, Reply, Request, Response, Town};
use crate::placement::one_step::{PUBLISH, SUBSCRIBE, ask, names, taken_by, town_that_names};
use std::time::{Duration, Instant};

/// Pages give a handshake up after 5.5 s.
const PATIENCE: Duration = Duration::from_millis(5500);

#[test]
fn a_dead_node_is_invisible_to_the_client() {
    for target in [PUBLISH, SUBSCRIBE] {
        let town = town_that_names(&[1, 2]);
        let origin = town.node(2);
        taken_by(ask(&town, target), &origin);
        assert_eq!(town.manager.count(), 2, "asked again");
    }
}

#[test]
fn a_node_that_cannot_be_reached_in_time_is_invisible_too() {
    for target in [PUBLISH, SUBSCRIBE] {
        let town = Town::with(|config, _| config.set("origins.connect_timeout", "300ms"));
        names(&town, &[1, 2]);
        let _deaf = Deaf::listen(town.place.node(1));
        let origin = town.node(2);
        taken_by(ask(&town, target), &origin);
    }
}

/// What a node may do once it has read an upgrade, other than agree.
const FAILURES: [(&str, Option<&str>); 6] = [
    ("hangs up", Some("")),
    ("is silent", None),
    ("500", Some("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")),
    ("404", Some("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")),
    ("200", Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")),
    (
        "wrong accept",
        Some(
            "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        ),
    ),
];

/// Takes the upgrade and fails at it; the link lives on if the node only keeps silent.
#[track_caller]
fn fail_at(origin: &Origin, answer: Option<&str>) -> Option<Link> {
    let mut node = origin.accept();
    node.read_head();
    match answer {
        None => Some(node),
        Some(answer) => {
            node.send(answer.as_bytes());
            None
        }
    }
}

#[test]
fn a_subscriber_gets_another_node_whatever_the_first_one_does() {
    for (how, answer) in FAILURES {
        let town = Town::with(|config, _| config.set("origins.upgrade_timeout", "300ms"));
        names(&town, &[1, 2]);
        let (bad, good) = (town.node(1), town.node(2));
        let client = ask(&town, SUBSCRIBE);
        let _silent = fail_at(&bad, answer);
        taken_by(client, &good);
        assert_eq!(town.manager.count(), 2, "{how}");
        assert_eq!(bad.dials(), 1, "{how}");
    }
}

#[test]
fn a_publish_is_never_repeated_once_a_node_has_read_of_it() {
    for (how, answer) in FAILURES {
        let town = Town::with(|config, _| config.set("origins.upgrade_timeout", "300ms"));
        names(&town, &[1, 2]);
        let (bad, good) = (town.node(1), town.node(2));
        let mut client = ask(&town, PUBLISH);
        let _silent = fail_at(&bad, answer);
        let response = client.read_response();
        match how {
            "is silent" => response.assert_refusal(504, "origin_timeout"),
            "hangs up" => assert_eq!(response.status(), 502, "{response:?}"),
            _ => response.assert_refusal(502, "origin_bad_handshake"),
        }
        assert_eq!((bad.dials(), good.dials()), (1, 0), "{how}");
        assert_eq!(town.manager.count(), 1, "{how}: a second question is a second decision");
    }
}

#[test]
fn there_are_so_many_attempts_and_no_more() {
    for attempts in [1, 2, 3] {
        let town = Town::with(|config, _| config.set("origins.attempts", attempts));
        names(&town, &[1, 2, 3, 4]);
        let origins = [1, 2, 3, 4].map(|n| town.node(n));
        let mut client = ask(&town, SUBSCRIBE);
        for origin in &origins[..attempts as usize] {
            fail_at(origin, Some("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
        }
        client.read_response().assert_refusal(502, "origin_bad_handshake");
        let dials = origins.each_ref().map(Origin::dials);
        assert_eq!(dials.iter().sum::<usize>(), attempts as usize, "{dials:?}");
    }
}

#[test]
fn the_no_of_the_manager_is_the_no_of_the_gateway() {
    let town = Town::with(|config, _| config.set("cors.allow_origins", vec!["https://app.example"]));
    let origin = town.node(1);
    for (status, body) in [
        (409, r#"{"error":"stream is live"}"#),
        (404, r#"{"error":"no node","timestamp":1}"#),
        (400, r#"{"errorMessage":"bad"}"#),
        (401, ""),
        (500, r#"{"error":"oops"}"#),
    ] {
        town.manager.answer("", Reply::json(status, body));
        for target in [PUBLISH, SUBSCRIBE] {
            // a name of its own, so that no stored 404 answers
            let target = target.replace("stream1?", &format!("s{status}?"));
            let response = town.refused(&Request::upgrade(&target).by_page("https://app.example"));
            assert_eq!((response.status(), response.text().as_str()), (status, body), "{response:?}");
            assert_eq!(response.field("access-control-allow-origin"), Some("https://app.example"));
            assert_eq!(response.field("cache-control"), Some("no-store"));
        }
    }
    assert_eq!(origin.dials(), 0);
}

#[test]
fn a_manager_that_fails_is_said_so() {
    let mut town = Town::with(|config, _| config.set("stream_manager.timeout", "300ms"));
    let origin = town.node(1);
    let hello = town.ip(1);
    for reply in [
        Reply::gone(),
        Reply::json(200, "[]"),
        Reply::json(200, "{"),
        Reply::json(200, format!(r#"[{{"serverAddress":"{hello}"}}"#)).torn(),
        Reply::json(200, format!(r#"[{{"serverAddress":"{hello}"}}]"#)).content_type("text/html"),
        Reply::json(200, r#"[{"serverAddress":"somewhere.example"}]"#),
    ] {
        town.manager.answer("", reply);
        for target in [PUBLISH, SUBSCRIBE] {
            town.refused(&Request::upgrade(target)).assert_refusal(502, "manager_failed");
        }
    }
    let gate = Gate::default();
    town.manager.answer("", Reply::nodes(&[hello]).held(&gate));
    town.refused(&Request::upgrade(PUBLISH)).assert_refusal(504, "manager_timeout");
    gate.open();
    assert_eq!(origin.dials(), 0);
    town.manager = HttpPeer::start((town.place.ip(3), 5080).into());
    town.refused(&Request::upgrade(PUBLISH)).assert_refusal(502, "manager_failed");
}

#[test]
fn a_manager_cannot_send_the_gateway_anywhere() {
    let town = Town::open();
    for ip in ["169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1", "::1", "::ffff:169.254.169.254"] {
        town.manager.answer("", Reply::nodes(&[ip.parse().unwrap()]));
        let response = town.refused(&Request::upgrade(PUBLISH));
        assert!(matches!(response.status(), 403 | 502), "{ip}: {response:?}");
        assert!(!response.text().contains(ip), "{response:?}");
    }
    let stranger = Origin::listen(town.place.node(10));
    town.manager.answer("", Reply::nodes(&[stranger.ip()]));
    assert!(matches!(town.refused(&Request::upgrade(PUBLISH)).status(), 403 | 502));
    assert_eq!(stranger.dials(), 0);
}

/// How long the no takes, which must be within a page's patience.
#[track_caller]
fn refused_in_time(town: &Town, target: &str) -> Response {
    let mut client = town.client();
    let started = Instant::now();
    client.ask(&Request::upgrade(target));
    let response = client.read_response();
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    response
}

#[test]
fn when_every_node_hangs_the_no_comes_within_a_pages_patience() {
    let town = town_that_names(&[1, 2, 3]);
    let _deaf = Deaf::listen(town.place.node(1));
    let _silent = [2, 3].map(|n| town.node(n));
    refused_in_time(&town, SUBSCRIBE).assert_refusal(504, "origin_timeout");
}

#[test]
fn when_everybody_hangs_the_no_comes_within_a_pages_patience() {
    let town = Town::with(|config, _| config.set("stream_manager.timeout", "30s"));
    let gate = Gate::default();
    town.manager.answer("", Reply::nodes(&[town.ip(1)]).held(&gate));
    refused_in_time(&town, PUBLISH).assert_refusal(504, "manager_timeout");
    gate.open();
}

#[test]
fn a_slow_manager_leaves_less_time_for_slow_nodes() {
    let town = Town::with(|config, _| config.set("origins.upgrade_timeout", "20s"));
    let gate = Gate::default();
    town.manager.answer("", Reply::nodes(&[town.ip(1)]).held(&gate));
    let origin = town.node(1);
    let mut client = town.client();
    let started = Instant::now();
    client.ask(&Request::upgrade(PUBLISH));
    town.manager.wait_for_questions(1);
    std::thread::sleep(Duration::from_secs(2));
    gate.open();
    let _node = origin.accept();
    client.read_response().assert_refusal(504, "origin_timeout");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}
