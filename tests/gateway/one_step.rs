//! One step (Stream Manager 2.0): the gateway asks for the node itself, and a node that fails is the gateway's problem.

use crate::town::client::ACCEPT;
use crate::town::origin::Deaf;
use crate::town::{Frame, Gate, HttpPeer, Link, Origin, Reply, Request, Response, Town, eventually};
use std::time::{Duration, Instant};

pub const PUBLISH: &str = "/as/v1/proxy/ws/publish/live/stream1?id=stream1&nodeGroup=ng1";
pub const SUBSCRIBE: &str = "/as/v1/proxy/ws/subscribe/live/stream1?id=subscriber-1b31&nodeGroup=ng1";

/// Pages give a handshake up after 5.5 s.
const PATIENCE: Duration = Duration::from_millis(5500);

/// A town whose stream manager names these nodes, one at each question, the last one for ever.
fn town_that_names(nodes: &[u8]) -> Town {
    let town = Town::open();
    names(&town, nodes);
    town
}

pub fn names(town: &Town, nodes: &[u8]) {
    town.manager.answer_in_turn("", nodes.iter().map(|n| Reply::nodes(&[town.ip(*n)])));
}

/// This node takes the session, and the client hears of nothing but success.
#[track_caller]
fn taken_by(mut client: Link, origin: &Origin) {
    let mut node = origin.accept();
    node.agree();
    let response = client.read_response();
    assert_eq!(response.status(), 101, "{response:?}");
    node.say(Frame::text("here"));
    assert_eq!(client.hear(), Frame::text("here"));
}

#[track_caller]
fn ask(town: &Town, target: &str) -> Link {
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
    let foreign = Request::upgrade(PUBLISH).from_page("https://evil.example");
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
            let response = town.refused(&Request::upgrade(&target).from_page("https://app.example"));
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
