//! WHIP and WHEP when something fails: a node, the manager, the gateway itself.

use crate::harness::node::Deaf;
use crate::harness::whip::{ANSWER, FORMS, Form, delete, empty_post, patch, post};
use crate::harness::{Gate, HttpPeer, Origin, Reply, Request, Town, eventually};

const WHIP: &str = "/as/v1/proxy/whip/live/stream1?nodeGroup=ng1";
const WHEP: &str = "/as/v1/proxy/whep/live/stream1?nodeGroup=ng1&requestId=r";

/// The manager names these nodes, one at each question.
fn names(town: &Town, nodes: &[u8]) {
    town.manager.answer_in_turn("/as/", nodes.iter().map(|n| Reply::nodes(&[town.ip(*n)])));
}

#[test]
fn a_dead_node_is_invisible_to_the_client() {
    for request in
        [post(WHIP), empty_post(WHEP), Request::new("OPTIONS", WHIP), Request::new("OPTIONS", WHEP)]
    {
        let town = Town::open();
        let node = town.whip_node(2);
        names(&town, &[1, 2]);
        let response = town.refused(&request);
        assert!(matches!(response.status(), 201 | 204), "{response:?}");
        assert_eq!((node.count(), town.manager.count()), (1, 2));
        assert_eq!(response.field("session-host"), Some(town.ip(2).to_string().as_str()));
        if let Some(location) = response.field("location") {
            assert_eq!(town.refused(&patch(location)).status(), 204);
        }
    }
}

#[test]
fn a_node_that_cannot_be_reached_in_time_is_invisible_too() {
    let town = Town::with(|config, _| config.set("origins.connect_timeout", "300ms"));
    let _deaf = Deaf::listen(town.place.node(1));
    let _node = town.whip_node(2);
    names(&town, &[1, 2]);
    town.created(&post(WHIP));
}

#[test]
fn nothing_is_said_twice_once_a_node_has_read_of_it() {
    for request in [post(WHIP), empty_post(WHEP)] {
        let town = Town::open();
        let [bad, good] = [1, 2].map(|n| town.whip_node(n));
        names(&town, &[1, 2]);
        bad.answer("POST ", Reply::gone());
        let response = town.refused(&request);
        assert_eq!(response.status(), 502, "{response:?}");
        assert_eq!((bad.count(), good.dials()), (1, 0));
        assert_eq!(town.manager.count(), 1);
    }
}

#[test]
fn the_word_of_a_node_is_final() {
    for status in [404, 409, 500, 503] {
        let town = Town::open();
        let [bad, good] = [1, 2].map(|n| town.whip_node(n));
        names(&town, &[1, 2]);
        bad.answer("POST ", Reply::typed(status, "text/plain", "no"));
        assert_eq!(town.refused(&post(WHIP)).status(), status);
        assert_eq!((bad.count(), good.dials()), (1, 0));
    }
}

#[test]
fn there_are_so_many_attempts_and_no_more() {
    let town = Town::with(|config, _| config.set("origins.attempts", 2));
    let node = town.whip_node(3);
    names(&town, &[1, 2, 3]);
    town.refused(&post(WHIP)).assert_refusal(502, "origin_refused");
    assert_eq!((town.manager.count(), node.dials()), (2, 0));
}

#[test]
fn a_node_that_the_client_named_is_not_replaced() {
    let town = Town::open();
    let node = town.whip_node(2);
    for target in [format!("{WHIP}&host={}", town.ip(1)), Form::Manager.endpoint("whip", "s", town.ip(1), "")]
    {
        town.refused(&post(&target)).assert_refusal(502, "origin_refused");
    }
    assert_eq!((town.manager.dials(), node.dials()), (0, 0));
}

#[test]
fn a_node_that_is_gone_is_said_so_to_those_it_had() {
    for form in FORMS {
        let town = Town::open();
        let node = town.whip_node(1);
        let other = town.whip_node(2);
        town.manager_names(1);
        let created = town.created(&post(&form.endpoint("whip", "s", town.ip(1), "")));
        drop(node);
        for request in [patch(created.location()), delete(created.location())] {
            let response = town.refused(&request);
            response.assert_refusal(502, "origin_refused");
            response.assert_names_no_node(town.ip(1));
        }
        assert_eq!(other.dials(), 0, "nobody else has the session");
        // it comes back, and so does the session
        let node = town.whip_node(1);
        assert_eq!(town.refused(&delete(created.location())).status(), 200);
        assert_eq!(node.count(), 1);
    }
}

#[test]
fn a_node_that_says_nothing_is_a_504() {
    let town = Town::with(|config, _| {
        config.set("origins.upgrade_timeout", "300ms");
        config.set("limits.body_timeout", "300ms");
    });
    let node = town.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    for form in FORMS {
        let response = town.refused(&post(&form.endpoint("whip", "s", town.ip(1), "")));
        response.assert_refusal(504, "origin_timeout");
    }
    gate.open();
}

#[test]
fn a_node_that_failed_is_forgotten_and_avoided_by_everybody() {
    let town = Town::with(|config, _| {
        for key in ["answers.subscribe_ttl", "answers.broadcast_ttl", "origins.quarantine"] {
            config.set(key, "60s");
        }
    });
    let node = town.whip_node(2);
    let event = "/streammanager/api/4.0/event/live/stream1?action=subscribe";
    town.manager.answer("", Reply::node(town.ip(1)));
    assert_eq!(town.get(event).json()["serverAddress"], town.ip(1).to_string());
    town.manager.answer("", Reply::node(town.ip(2)));
    town.manager.answer_in_turn("/as/", [1, 2].map(|n| Reply::nodes(&[town.ip(n)])));
    town.created(&post(WHIP));
    assert_eq!(town.get(event).json()["serverAddress"], town.ip(2).to_string());
    let back = town.http_node(1);
    names(&town, &[1, 2]);
    town.created(&empty_post(WHEP));
    assert_eq!((back.dials(), node.count()), (0, 2));
}

#[test]
fn the_no_of_the_manager_is_the_no_of_the_gateway() {
    let town = Town::with(|config, _| config.set("cors.allow_origins", vec!["https://app.example"]));
    let node = town.whip_node(1);
    for (status, body) in
        [(409, r#"{"error":"stream is live"}"#), (404, r#"{"errorMessage":"no"}"#), (500, "{}")]
    {
        town.manager.answer("", Reply::json(status, body));
        for form in [Form::Proxy, Form::Direct] {
            for kind in ["whip", "whep"] {
                let endpoint = form.endpoint(kind, &format!("s{status}"), town.ip(1), "");
                let response = town.refused(&post(&endpoint).by_page("https://app.example"));
                assert_eq!((response.status(), response.text().as_str()), (status, body), "{form:?} {kind}");
                assert_eq!(response.field("access-control-allow-origin"), Some("https://app.example"));
            }
        }
    }
    assert_eq!(node.dials(), 0);
}

#[test]
fn a_manager_that_fails_is_said_so() {
    let mut town = Town::with(|config, _| config.set("stream_manager.timeout", "300ms"));
    let node = town.whip_node(1);
    let gate = Gate::default();
    town.manager.answer("", Reply::nodes(&[town.ip(1)]).held(&gate));
    town.refused(&post(WHIP)).assert_refusal(504, "manager_timeout");
    gate.open();
    town.manager.answer("", Reply::json(200, "[]"));
    town.refused(&post(WHIP)).assert_refusal(502, "manager_failed");
    town.manager = HttpPeer::start((town.place.ip(3), 5080).into());
    town.refused(&post(WHIP)).assert_refusal(502, "manager_failed");
    assert_eq!(node.dials(), 0);
}

#[test]
fn each_publisher_is_a_decision_and_players_share_one() {
    let town = Town::with(|config, _| config.set("answers.subscribe_ttl", "60s"));
    let _node = town.whip_node(1);
    for n in 1..=3 {
        town.created(&post(WHIP));
        assert_eq!(town.manager.count(), n);
    }
    for n in 0..3 {
        town.created(&empty_post(&WHEP.replace("=r", &format!("=r{n}"))));
        assert_eq!(town.manager.count(), 4);
    }
}

#[test]
fn a_stranger_that_the_manager_names_is_not_dialled() {
    let town = Town::open();
    let _node = town.whip_node(1);
    let stranger = Origin::listen(town.place.node(10));
    town.manager.answer("", Reply::nodes(&[stranger.ip()]));
    for request in [post(WHIP), empty_post(WHEP), post("/live/whip/endpoint/s")] {
        let response = town.refused(&request);
        assert!(matches!(response.status(), 403 | 502), "{response:?}");
        response.assert_names_no_node(stranger.ip());
    }
    assert_eq!(stranger.dials(), 0);
}

#[test]
fn a_drain_lets_an_exchange_finish_and_takes_no_new_session() {
    let mut town = Town::open();
    let node = town.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    let mut idle = town.client();
    idle.get("/nowhere");
    let mut client = town.client();
    client.ask(&post(WHIP));
    node.wait_for_questions(1);
    town.gateway.terminate();
    eventually("the drain begins", || town.gateway.ready() != Some(200));
    gate.open();
    let created = client.read_response();
    assert_eq!((created.status(), created.text().as_str()), (201, ANSWER), "{created:?}");
    // a connection of before either ends or is told
    if idle.try_send(&post(WHIP).bytes()).is_ok()
        && let Some(head) = idle.next_head()
    {
        assert!(head.line.starts_with("HTTP/1.1 503"), "{head:?}");
    }
    drop((client, idle));
    assert!(town.gateway.wait_for_exit().success());
    assert_eq!(node.count(), 1);
}
