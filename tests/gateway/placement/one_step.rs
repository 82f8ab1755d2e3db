//! One step (Stream Manager 2.0): the gateway asks for the node itself, once for each publisher.

use crate::harness::client::ACCEPT;
use crate::harness::{Frame, Gate, Link, Origin, Reply, Request, Town, eventually};

pub const PUBLISH: &str = "/as/v1/proxy/ws/publish/live/stream1?id=stream1&nodeGroup=ng1";
pub const SUBSCRIBE: &str = "/as/v1/proxy/ws/subscribe/live/stream1?id=subscriber-1b31&nodeGroup=ng1";

/// A town whose stream manager names these nodes, one at each question, the last one for ever.
pub fn town_that_names(nodes: &[u8]) -> Town {
    let town = Town::open();
    names(&town, nodes);
    town
}

pub fn names(town: &Town, nodes: &[u8]) {
    town.manager.answer_in_turn("", nodes.iter().map(|n| Reply::nodes(&[town.ip(*n)])));
}

/// This node takes the session, and the client hears of nothing but success.
#[track_caller]
pub fn taken_by(mut client: Link, origin: &Origin) {
    let mut node = origin.accept();
    node.agree();
    let response = client.read_response();
    assert_eq!(response.status(), 101, "{response:?}");
    node.say(Frame::text("here"));
    assert_eq!(client.hear(), Frame::text("here"));
}

#[track_caller]
pub fn ask(town: &Town, target: &str) -> Link {
    let mut client = town.client();
    client.ask(&Request::upgrade(target));
    client
}

#[test]
fn the_gateway_finds_the_node_by_itself() {
    let town = Town::open();
    let origin = town.node(1);
    let object =
        Reply::json(200, format!(r#"{{"streamGuid":"live/stream1","serverAddress":"{}"}}"#, origin.ip()));
    for (target, question, upstream) in [
        (PUBLISH, "/as/v1/streams/stream/ng1/publish/live/stream1", "/live/?id=stream1"),
        (SUBSCRIBE, "/as/v1/streams/stream/ng1/subscribe/live/stream1", "/live/?id=subscriber-1b31"),
        (
            "/as/v1/proxy/ws/publish/live/room1/sub/s?id=s&nodeGroup=ng1",
            "/as/v1/streams/stream/ng1/publish/live/room1/sub/s",
            "/live/room1/sub/?id=s",
        ),
    ] {
        for answer in [object.clone(), Reply::nodes(&[origin.ip()]), Reply::nodes(&[origin.ip(), town.ip(9)])]
        {
            // an answer of before must not stand in for this one
            let target = format!("{target}&fresh={}", town.manager.count());
            town.manager.answer(question, answer);
            let (mut client, mut node, head) = town.asked(&origin, &Request::upgrade(&target));
            let (_, fresh) = target.split_once("&fresh").unwrap();
            assert_eq!(head.target(), format!("{upstream}&fresh{fresh}"));
            assert_eq!(town.manager.questions()[0].line.split(' ').next(), Some("GET"));
            node.agree_to(&head, "");
            let response = client.read_response();
            assert_eq!(response.status(), 101, "{response:?}");
            assert_eq!(response.field("sec-websocket-accept"), Some(ACCEPT));
            assert!(response.field("x-tidegate-session").is_some());
            client.say(Frame::text("offer"));
            assert_eq!(node.hear(), Frame::text("offer"));
            node.say(Frame::text("answer"));
            assert_eq!(client.hear(), Frame::text("answer"));
        }
        assert!(town.manager.lines().contains(&format!("GET {question}")), "{:?}", town.manager.lines());
    }
}

#[test]
fn sessions_are_counted_as_one_step() {
    let town = town_that_names(&[1]);
    let origin = town.node(1);
    let mut client = ask(&town, PUBLISH);
    let mut node = origin.accept();
    node.agree();
    assert_eq!(client.read_response().status(), 101);
    let labels = [("route", "one_step")];
    town.gateway.wait_for_metric("tidegate_sessions_active", &labels, 1.0);
    assert_eq!(town.gateway.metric("tidegate_sessions_total", &labels), 1.0);
    client.say(Frame::close(1000, ""));
    assert_eq!(node.hear_close().0, Some(1000));
    node.say(Frame::close(1000, ""));
    assert_eq!(client.hear_close().0, Some(1000));
    town.gateway.wait_for_metric("tidegate_sessions_active", &labels, 0.0);
}

#[test]
fn placement_is_for_the_manager_and_the_rest_for_the_node_byte_for_byte() {
    let town = town_that_names(&[1]);
    let origin = town.node(1);
    let target = "/as/v1/proxy/ws/publish/live/s%201?id=a%2Bb&region=us,eu&nodeGroup=ng1&token=x%3Ay%3D&subGroup=c\
                  &strict=true&transcode=true&flag&e=&q=%E3%82%AB+%f0";
    let (_client, _node, head) = town.asked(&origin, &Request::upgrade(target));
    assert_eq!(head.target(), "/live/?id=a%2Bb&token=x%3Ay%3D&flag&e=&q=%E3%82%AB+%f0");
    assert_eq!(
        town.manager.lines(),
        [
            "GET /as/v1/streams/stream/ng1/publish/live/s%201?region=us,eu&subGroup=c&strict=true&transcode=true"
        ]
    );
}

#[test]
fn the_second_question_mark_of_the_sdk_is_an_ampersand() {
    let town = town_that_names(&[1]);
    let origin = town.node(1);
    let target = "/as/v1/proxy/ws/subscribe/live/stream1?nodeGroup=x?id=subscriber-ab&region=us-east";
    let (_client, _node, head) = town.asked(&origin, &Request::upgrade(target));
    assert_eq!(head.target(), "/live/?id=subscriber-ab");
    assert_eq!(town.manager.lines(), ["GET /as/v1/streams/stream/x/subscribe/live/stream1?region=us-east"]);
}

#[test]
fn what_is_wrong_is_refused_before_anybody_is_asked() {
    let town = town_that_names(&[1]);
    let origin = town.node(1);
    let (ip, stranger) = (town.ip(1), town.ip(10));
    for (rest, status, code) in [
        ("live/stream1?id=s&nodeGroup=undefined", 400, "script_leftover"),
        ("live/stream1?id=s&nodeGroup=", 400, "script_leftover"),
        ("live/stream1?id=s", 400, "bad_params"),
        ("live/stream1?id=s&nodeGroup=default", 400, "bad_params"),
        ("live/stream1?id=s&nodeGroup=a&nodeGroup=b", 400, "duplicate_param"),
        ("live/stream1?id=s&nodeGroup=a&NodeGroup=b", 400, "duplicate_param"),
        ("live/stream1?id=s&nodeGroup=..", 400, "bad_params"),
        ("live/stream1?id=s&nodeGroup=a%2Fb", 400, "bad_params"),
        ("live/stream1?id=s&host=169.254.169.254&nodeGroup=ng1", 403, "origin_not_admitted"),
        (&format!("live/stream1?id=s&host={stranger}&nodeGroup=ng1"), 403, "origin_not_admitted"),
        (&format!("live/stream1?id=s&host={ip}&host={ip}&nodeGroup=ng1"), 400, "duplicate_param"),
        (&format!("live/stream1?id=s&nodeGroup=ng1&host={ip}:22"), 400, "bad_host"),
        ("live/stream1?id=s&nodeGroup=ng1&accessToken=x", 403, "admin_parameter"),
        ("live/stream1?id=s&nodeGroup=ng1&username=cluster-restreamer", 403, "reserved_account"),
        ("stream1?id=s&nodeGroup=ng1", 400, "bad_target"),
        ("live/../admin/s?id=s&nodeGroup=ng1", 400, "bad_target"),
        ("live/a%2Fb?id=s&nodeGroup=ng1", 400, "bad_target"),
        ("live//s?id=s&nodeGroup=ng1", 400, "bad_target"),
        ("secret/stream1?id=s&nodeGroup=ng1", 403, "app_not_allowed"),
        ("live/a/b/c/d/s?id=s&nodeGroup=ng1", 400, "bad_app"),
    ] {
        for action in ["publish", "subscribe"] {
            let response = town.refused(&Request::upgrade(&format!("/as/v1/proxy/ws/{action}/{rest}")));
            assert_eq!(response.status(), status, "{action}/{rest}: {response:?}");
            response.assert_refusal(status, code);
        }
    }
    assert_eq!((town.manager.dials(), origin.dials()), (0, 0));
}

#[test]
fn only_a_websocket_is_one() {
    let town = town_that_names(&[1]);
    let plain = town.get(PUBLISH);
    plain.assert_refusal(426, "upgrade_required");
    assert_eq!(plain.field("upgrade"), Some("websocket"));
    town.refused(&Request::new("POST", PUBLISH).body("application/sdp", "v=0"))
        .assert_refusal(405, "method_not_allowed");
    let old = Request::upgrade(PUBLISH).instead("Sec-WebSocket-Version", "8");
    town.refused(&old).assert_refusal(426, "websocket_version");
    let foreign = Request::upgrade(PUBLISH).by_page("https://evil.example");
    town.refused(&foreign).assert_refusal(403, "cross_site");
    for target in ["/as/v1/proxy/ws/watch/live/s?nodeGroup=a", "/as/v2/proxy/ws/publish/live/s?nodeGroup=a"] {
        town.refused(&Request::upgrade(target)).assert_refusal(404, "no_such_route");
    }
    assert_eq!(town.manager.dials(), 0);
}

#[test]
fn the_group_of_those_who_name_none_is_the_configured_one() {
    let town = Town::with(|config, _| config.set("stream_manager.node_group", "ng7"));
    names(&town, &[1]);
    let origin = town.node(1);
    for rest in ["id=s", "id=s&nodeGroup=default", "id=s&nodeGroup=ng1"] {
        let target = format!("/as/v1/proxy/ws/publish/live/stream1?{rest}");
        let (_client, _node, head) = town.asked(&origin, &Request::upgrade(&target));
        assert_eq!(head.target(), "/live/?id=s");
    }
    let question = |group| format!("GET /as/v1/streams/stream/{group}/publish/live/stream1");
    assert_eq!(town.manager.lines(), [question("ng7"), question("ng7"), question("ng1")]);
}

#[test]
fn a_node_that_the_client_names_is_the_only_one_tried() {
    let town = town_that_names(&[2]);
    let (origin, other) = (town.node(1), town.node(2));
    for group in ["", "&nodeGroup=ng1"] {
        let target = format!("/as/v1/proxy/ws/publish/live/stream1?id=s&host={}{group}", town.ip(1));
        let (mut client, mut node, head) = town.asked(&origin, &Request::upgrade(&target));
        assert_eq!(head.target(), "/live/?id=s");
        node.agree_to(&head, "");
        assert_eq!(client.read_response().status(), 101);
    }
    let nobody = format!("/as/v1/proxy/ws/subscribe/live/stream1?id=s&host={}&nodeGroup=ng1", town.ip(3));
    town.refused(&Request::upgrade(&nobody)).assert_refusal(502, "origin_refused");
    assert_eq!((town.manager.dials(), other.dials()), (0, 0));
}

#[test]
fn the_other_node_of_an_answer_is_as_good() {
    let town = Town::open();
    town.manager.answer("", Reply::nodes(&[town.ip(1), town.ip(2)]));
    let origin = town.node(2);
    taken_by(ask(&town, SUBSCRIBE), &origin);
}

#[test]
fn the_first_node_of_an_answer_is_the_one_to_use() {
    let town = Town::open();
    town.manager.answer("", Reply::nodes(&[town.ip(1), town.ip(2)]));
    let (first, second) = (town.node(1), town.node(2));
    for target in [PUBLISH, SUBSCRIBE, PUBLISH] {
        taken_by(ask(&town, target), &first);
    }
    assert_eq!(second.dials(), 0);
}

#[test]
fn each_publisher_is_a_decision_and_subscribers_share_one() {
    let town = Town::with(|config, _| config.set("answers.subscribe_ttl", "60s"));
    names(&town, &[1]);
    let origin = town.node(1);
    for n in 1..=3 {
        taken_by(ask(&town, PUBLISH), &origin);
        assert_eq!(town.manager.count(), n);
    }
    for _ in 0..3 {
        taken_by(ask(&town, SUBSCRIBE), &origin);
        assert_eq!(town.manager.count(), 4);
    }
}

#[test]
fn publishers_at_the_same_moment_share_nothing() {
    let town = Town::open();
    let gate = Gate::default();
    town.manager.answer("", Reply::nodes(&[town.ip(1)]).held(&gate));
    let origin = town.node(1);
    let clients: Vec<Link> = (0..4).map(|_| ask(&town, PUBLISH)).collect();
    town.manager.wait_for_questions(4);
    gate.open();
    let mut nodes: Vec<Link> = clients.iter().map(|_| origin.accept()).collect();
    nodes.iter_mut().for_each(|node| drop(node.agree()));
    for mut client in clients {
        assert_eq!(client.read_response().status(), 101);
    }
}

#[test]
fn frames_that_came_with_the_request_reach_the_node_that_takes_it() {
    let town = town_that_names(&[1, 2]);
    let origin = town.node(2);
    let mut client = town.client();
    let eager = [Request::upgrade(SUBSCRIBE).bytes(), client.encode(&Frame::text("eager"))].concat();
    client.send(&eager);
    let mut node = origin.accept();
    node.agree();
    assert_eq!(client.read_response().status(), 101);
    assert_eq!(node.hear(), Frame::text("eager"));
}

#[test]
fn a_client_that_leaves_is_not_served_any_further() {
    let town = town_that_names(&[1, 2]);
    let (first, second) = (town.node(1), town.node(2));
    let client = ask(&town, SUBSCRIBE);
    let mut node = first.accept();
    node.read_head();
    client.abort();
    node.ended();
    eventually("the session is over", || {
        town.gateway.metric("tidegate_sessions_active", &[("route", "one_step")]) == 0.0
    });
    assert_eq!((second.dials(), town.manager.count()), (0, 1));
}

#[test]
fn every_node_is_asked_with_a_key_of_its_own() {
    let town = town_that_names(&[1, 2]);
    let (bad, good) = (town.node(1), town.node(2));
    let mut client = ask(&town, SUBSCRIBE);
    let mut node = bad.accept();
    let first = node.read_head();
    node.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let mut node = good.accept();
    let second = node.agree();
    assert_ne!(first.field("sec-websocket-key"), second.field("sec-websocket-key"));
    assert_eq!(second.field("host"), Some(format!("{}:5080", town.ip(2)).as_str()));
    assert_eq!(client.read_response().field("sec-websocket-accept"), Some(ACCEPT));
}
