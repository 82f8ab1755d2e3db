//! Quarantine: a node that refused or timed out is forgotten at once and avoided for a while, as long as there is another.

use crate::harness::node::{Deaf, Echo};
use crate::harness::{Config, Link, Origin, Place, Reply, Request, Response, Town, eventually};
use crate::placement::one_step::names;

/// Answers that never get old by themselves, and a quarantine that outlasts the test.
fn lasting(config: &mut Config, _: &Place) {
    for key in ["answers.subscribe_ttl", "answers.broadcast_ttl", "origins.quarantine"] {
        config.set(key, "60s");
    }
    config.set("answers.subscribe_uses", 100_000);
}

/// The same with a quarantine of another length.
fn town_with_quarantine(quarantine: &str) -> Town {
    Town::with(|config, place| {
        lasting(config, place);
        config.set("origins.quarantine", quarantine);
    })
}

fn event(stream: &str, action: &str) -> String {
    format!("/streammanager/api/4.0/event/live/{stream}?action={action}")
}

fn subscribe(stream: &str) -> String {
    format!("/as/v1/proxy/ws/subscribe/live/{stream}?id=s&nodeGroup=ng1")
}

/// The client names the n-th node, which takes nothing: how its quarantine begins.
#[track_caller]
fn is_down(town: &Town, n: u8) {
    let response = town.refused(&Request::upgrade(&town.socket_target(n)));
    assert!(matches!(response.status(), 502 | 504), "{response:?}");
}

/// Another node is known: this one.
#[track_caller]
fn is_known(town: &Town, n: u8) {
    town.manager.answer("/known?", Reply::node(town.ip(n)));
    assert_eq!(named_by(&town.get(&event("known", "broadcast"))), town.ip(n).to_string());
}

#[track_caller]
fn named_by(response: &Response) -> String {
    assert_eq!(response.status(), 200, "{response:?}");
    response.json()["serverAddress"].as_str().expect("a node").to_owned()
}

/// A one-step subscriber, and that this node gets it.
#[track_caller]
fn goes_to(town: &Town, stream: &str, origin: &Origin) {
    let (mut client, mut node, head) = town.asked(origin, &Request::upgrade(&subscribe(stream)));
    node.agree_to(&head, "");
    let response = client.read_response();
    assert_eq!(response.status(), 101, "{response:?}");
}

#[test]
fn every_answer_that_names_a_dead_node_is_forgotten_at_once_by_all_workers() {
    let town = Town::with(lasting);
    let streams = ["a", "b", "c", "d", "e", "f"];
    let targets = streams.map(|stream| event(stream, if stream < "d" { "subscribe" } else { "broadcast" }));
    town.manager.answer("", Reply::node(town.ip(1)));
    town.manager.answer("/other?", Reply::node(town.ip(2)));
    for target in &targets {
        assert_eq!(named_by(&town.get(target)), town.ip(1).to_string());
    }
    town.get(&event("other", "subscribe"));
    assert_eq!(town.manager.count(), 7);
    is_down(&town, 1);
    town.manager.answer("", Reply::node(town.ip(2)));
    for target in &targets {
        // on many connections, so that every worker is asked
        for _ in 0..4 {
            assert_eq!(named_by(&town.get(target)), town.ip(2).to_string(), "{target}");
        }
    }
    assert_eq!(town.manager.count(), 13, "one new question for each, and they are kept again");
    town.get(&event("other", "subscribe"));
    assert_eq!(town.manager.count(), 13, "answers of other nodes stay");
    assert!(town.gateway.metric("tidegate_answers_total", &[("outcome", "invalidated")]) >= 6.0);
}

#[test]
fn a_node_that_is_silent_is_treated_like_one_that_refuses() {
    for deaf in [true, false] {
        let town = Town::with(|config, place| {
            lasting(config, place);
            config.set("origins.connect_timeout", "300ms");
            config.set("origins.upgrade_timeout", "300ms");
        });
        town.manager.answer("", Reply::node(town.ip(1)));
        town.get(&event("s", "subscribe"));
        let silent = (deaf.then(|| Deaf::listen(town.place.node(1))), (!deaf).then(|| town.node(1)));
        is_down(&town, 1);
        town.manager.answer("", Reply::node(town.ip(2)));
        assert_eq!(named_by(&town.get(&event("s", "subscribe"))), town.ip(2).to_string());
        drop(silent);
    }
}

#[test]
fn a_node_that_answers_is_not_put_away_for_one_no() {
    let town = Town::with(lasting);
    town.manager.answer("", Reply::node(town.ip(1)));
    town.get(&event("s", "subscribe"));
    let origin = town.node(1);
    let (mut client, mut node, _) = town.asked(&origin, &Request::upgrade(&town.socket_target(1)));
    node.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    client.read_response().assert_refusal(502, "origin_bad_handshake");
    town.get(&event("s", "subscribe"));
    assert_eq!(town.manager.count(), 1);
}

#[test]
fn the_next_question_of_a_two_step_client_gets_another_node() {
    for action in ["subscribe", "broadcast"] {
        let town = Town::with(lasting);
        is_known(&town, 2);
        // the manager does not know yet, and names the dead one a second time
        let replies = [1, 1, 2].map(|n| Reply::node(town.ip(n)));
        town.manager.answer_in_turn("/stream1?", replies);
        assert_eq!(named_by(&town.get(&event("stream1", action))), town.ip(1).to_string());
        is_down(&town, 1);
        assert_eq!(named_by(&town.get(&event("stream1", action))), town.ip(2).to_string(), "{action}");
    }
}

#[test]
fn a_node_in_quarantine_is_avoided_while_another_is_known() {
    let town = Town::with(lasting);
    is_known(&town, 2);
    is_down(&town, 1);
    let (back, healthy) = (town.node(1), town.node(2));
    town.manager.answer_in_turn("/one", [Reply::nodes(&[town.ip(1)]), Reply::nodes(&[town.ip(2)])]);
    goes_to(&town, "one", &healthy);
    town.manager.answer("/two", Reply::nodes(&[town.ip(1), town.ip(2)]));
    goes_to(&town, "two", &healthy);
    goes_to(&town, "two", &healthy);
    assert_eq!(back.dials(), 0);
}

#[test]
fn a_publisher_avoids_it_too() {
    let town = Town::with(lasting);
    is_known(&town, 2);
    is_down(&town, 1);
    let (back, healthy) = (town.node(1), town.node(2));
    names(&town, &[1, 2]);
    let target = "/as/v1/proxy/ws/publish/live/stream1?id=s&nodeGroup=ng1";
    let (_client, _node, _) = town.asked(&healthy, &Request::upgrade(target));
    assert_eq!(back.dials(), 0);
}

#[test]
fn the_only_node_is_used_although_it_failed() {
    let town = Town::with(lasting);
    names(&town, &[1]);
    is_down(&town, 1);
    let back = town.node(1);
    goes_to(&town, "one", &back);
    // also by those who ask themselves
    town.manager.answer("/event/", Reply::node(town.ip(1)));
    assert_eq!(named_by(&town.get(&event("stream1", "subscribe"))), town.ip(1).to_string());
}

#[test]
fn when_all_failed_all_are_used() {
    let town = Town::with(lasting);
    is_known(&town, 2);
    is_down(&town, 1);
    is_down(&town, 2);
    names(&town, &[1]);
    let back = town.node(1);
    goes_to(&town, "one", &back);
}

#[test]
fn a_node_that_the_manager_insists_on_is_better_than_none() {
    let town = Town::with(lasting);
    is_known(&town, 2);
    is_down(&town, 1);
    names(&town, &[1]);
    let back = town.node(1);
    goes_to(&town, "one", &back);
}

#[test]
fn a_quarantine_ends() {
    let town = town_with_quarantine("1s");
    is_known(&town, 2);
    is_down(&town, 1);
    let (back, healthy) = (town.node(1), town.node(2));
    town.manager.answer("", Reply::nodes(&[town.ip(1), town.ip(2)]));
    goes_to(&town, "s", &healthy);
    let mut n = 0;
    eventually("the first node is used again", || {
        n += 1;
        let mut client = town.client();
        client.ask(&Request::upgrade(&subscribe(&format!("s{n}"))));
        let mut node = [&back, &healthy].into_iter().cycle().find_map(Origin::try_accept).expect("a node");
        let first = node.tcp().local_addr().unwrap().ip() == town.ip(1);
        node.agree();
        assert_eq!(client.read_response().status(), 101);
        first
    });
}

#[test]
fn without_quarantine_a_dead_node_is_forgotten_but_not_avoided() {
    let town = town_with_quarantine("off");
    is_known(&town, 2);
    town.manager.answer("/stream1?", Reply::node(town.ip(1)));
    town.get(&event("stream1", "subscribe"));
    is_down(&town, 1);
    let asked = town.manager.count();
    town.get(&event("stream1", "subscribe"));
    assert_eq!(town.manager.count(), asked + 1, "the answer that named it is gone");
    let (back, _healthy) = (town.node(1), town.node(2));
    town.manager.answer("/as/", Reply::nodes(&[town.ip(1), town.ip(2)]));
    goes_to(&town, "one", &back);
}

#[test]
fn a_client_may_name_a_node_that_failed() {
    let town = Town::with(lasting);
    is_known(&town, 2);
    is_down(&town, 1);
    let back = town.node(1);
    town.relay(&back);
}

#[test]
fn a_crowd_moves_on_to_the_next_node() {
    let town = Town::with(lasting);
    town.manager.answer("", Reply::nodes(&[town.ip(1)]));
    let question = "/as/v1/streams/stream/ng1/subscribe/live/stream1";
    assert_eq!(town.get(question).status(), 200, "an answer to be kept");
    town.manager.answer("", Reply::nodes(&[town.ip(2)]));
    let _echo = Echo::listen(town.place.node(2));
    let mut clients: Vec<Link> = (0..40).map(|_| town.client()).collect();
    for client in &mut clients {
        client.ask(&Request::upgrade(&subscribe("stream1")));
    }
    for client in &mut clients {
        let response = client.read_response();
        assert_eq!(response.status(), 101, "{response:?}");
    }
    assert!(town.manager.count() < 10, "{} questions for one crowd", town.manager.count());
}

#[test]
fn a_client_that_says_more_than_a_node_reads_makes_no_node_look_dead() {
    let town = Town::with(|config, place| {
        lasting(config, place);
        config.set("origins.extensions", "forward");
    });
    let node = town.node(1);
    town.manager.answer("", Reply::node(town.ip(1)));
    assert_eq!(named_by(&town.get(&event("s", "broadcast"))), town.ip(1).to_string());
    let long = "x".repeat(4000);
    let request = Request::new("OPTIONS", &format!("/live/whip/endpoint/s?host={}", town.ip(1)))
        .with("Accept", &long)
        .with("If-Match", &long)
        .with("If-None-Match", &long);
    let socket = Request::upgrade(&town.socket_target(1));
    for request in [request, socket.with("Sec-WebSocket-Extensions", &format!("{long}{long}{long}"))] {
        town.refused(&request).assert_refusal(431, "head_too_large");
    }
    assert_eq!(node.dials(), 0);
    town.get(&event("s", "broadcast"));
    assert_eq!(town.manager.count(), 1, "the answer that names the node is kept");
}
