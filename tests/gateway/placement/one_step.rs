//! One step (Stream Manager 2.0): the gateway asks for the node itself, once for each publisher.

use crate::harness::client::ACCEPT;
use crate::harness::{Connection, Frame, Gate, NodeListener, Reply, Request, TestBed, eventually};

pub const PUBLISH: &str = "/as/v1/proxy/ws/publish/live/stream1?id=stream1&nodeGroup=ng1";
pub const SUBSCRIBE: &str = "/as/v1/proxy/ws/subscribe/live/stream1?id=subscriber-1b31&nodeGroup=ng1";

/// A test bed whose stream manager names these nodes, one in each answer, the last one repeatedly.
pub fn bed_that_names(nodes: &[u8]) -> TestBed {
    let bed = TestBed::start();
    name_nodes(&bed, nodes);
    bed
}

pub fn name_nodes(bed: &TestBed, nodes: &[u8]) {
    bed.manager.answer_in_turn("", nodes.iter().map(|n| Reply::nodes(&[bed.ip(*n)])));
}

/// Checks that this node gets the session and that the client sees only success.
#[track_caller]
pub fn assert_taken_by(mut client: Connection, listener: &NodeListener) {
    let mut node = listener.accept();
    node.accept_upgrade();
    let response = client.read_response();
    assert_eq!(response.status(), 101, "{response:?}");
    node.send_frame(Frame::text("here"));
    assert_eq!(client.read_frame(), Frame::text("here"));
}

#[track_caller]
pub fn open_request(bed: &TestBed, target: &str) -> Connection {
    let mut client = bed.client();
    client.send_request(&Request::upgrade(target));
    client
}

#[test]
fn the_gateway_finds_the_node_by_itself() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let object =
        Reply::json(200, format!(r#"{{"streamGuid":"live/stream1","serverAddress":"{}"}}"#, listener.ip()));
    for (target, question, upstream) in [
        (PUBLISH, "/as/v1/streams/stream/ng1/publish/live/stream1", "/live/?id=stream1"),
        (SUBSCRIBE, "/as/v1/streams/stream/ng1/subscribe/live/stream1", "/live/?id=subscriber-1b31"),
        (
            "/as/v1/proxy/ws/publish/live/room1/sub/s?id=s&nodeGroup=ng1",
            "/as/v1/streams/stream/ng1/publish/live/room1/sub/s",
            "/live/room1/sub/?id=s",
        ),
    ] {
        for answer in
            [object.clone(), Reply::nodes(&[listener.ip()]), Reply::nodes(&[listener.ip(), bed.ip(9)])]
        {
            // an earlier answer must not be used for this request
            let target = format!("{target}&fresh={}", bed.manager.count());
            bed.manager.answer(question, answer);
            let (mut client, mut node, head) = bed.pending_upgrade(&listener, &Request::upgrade(&target));
            let (_, fresh) = target.split_once("&fresh").unwrap();
            assert_eq!(head.target(), format!("{upstream}&fresh{fresh}"));
            assert_eq!(bed.manager.received_heads()[0].line.split(' ').next(), Some("GET"));
            node.answer_upgrade(&head, "");
            let response = client.read_response();
            assert_eq!(response.status(), 101, "{response:?}");
            assert_eq!(response.field("sec-websocket-accept"), Some(ACCEPT));
            assert!(response.field("x-tidegate-session").is_some());
            client.send_frame(Frame::text("offer"));
            assert_eq!(node.read_frame(), Frame::text("offer"));
            node.send_frame(Frame::text("answer"));
            assert_eq!(client.read_frame(), Frame::text("answer"));
        }
        assert!(bed.manager.lines().contains(&format!("GET {question}")), "{:?}", bed.manager.lines());
    }
}

#[test]
fn sessions_are_counted_as_one_step() {
    let bed = bed_that_names(&[1]);
    let listener = bed.node(1);
    let mut client = open_request(&bed, PUBLISH);
    let mut node = listener.accept();
    node.accept_upgrade();
    assert_eq!(client.read_response().status(), 101);
    let labels = [("route", "one_step")];
    bed.gateway.wait_for_metric("tidegate_sessions_active", &labels, 1.0);
    assert_eq!(bed.gateway.metric("tidegate_sessions_total", &labels), 1.0);
    client.send_frame(Frame::close(1000, ""));
    assert_eq!(node.read_close().0, Some(1000));
    node.send_frame(Frame::close(1000, ""));
    assert_eq!(client.read_close().0, Some(1000));
    bed.gateway.wait_for_metric("tidegate_sessions_active", &labels, 0.0);
}

#[test]
fn placement_parameters_go_to_the_manager_and_all_others_to_the_node_byte_for_byte() {
    let bed = bed_that_names(&[1]);
    let listener = bed.node(1);
    let target = "/as/v1/proxy/ws/publish/live/s%201?id=a%2Bb&region=us,eu&nodeGroup=ng1&token=x%3Ay%3D&subGroup=c\
                  &strict=true&transcode=true&flag&e=&q=%E3%82%AB+%f0";
    let (_client, _node, head) = bed.pending_upgrade(&listener, &Request::upgrade(target));
    assert_eq!(head.target(), "/live/?id=a%2Bb&token=x%3Ay%3D&flag&e=&q=%E3%82%AB+%f0");
    assert_eq!(
        bed.manager.lines(),
        [
            "GET /as/v1/streams/stream/ng1/publish/live/s%201?region=us,eu&subGroup=c&strict=true&transcode=true"
        ]
    );
}

#[test]
fn the_second_question_mark_of_the_sdk_is_an_ampersand() {
    let bed = bed_that_names(&[1]);
    let listener = bed.node(1);
    let target = "/as/v1/proxy/ws/subscribe/live/stream1?nodeGroup=x?id=subscriber-ab&region=us-east";
    let (_client, _node, head) = bed.pending_upgrade(&listener, &Request::upgrade(target));
    assert_eq!(head.target(), "/live/?id=subscriber-ab");
    assert_eq!(bed.manager.lines(), ["GET /as/v1/streams/stream/x/subscribe/live/stream1?region=us-east"]);
}

#[test]
fn invalid_requests_are_refused_before_the_manager_is_asked() {
    let bed = bed_that_names(&[1]);
    let listener = bed.node(1);
    let (ip, stranger) = (bed.ip(1), bed.ip(10));
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
            let response = bed.exchange(&Request::upgrade(&format!("/as/v1/proxy/ws/{action}/{rest}")));
            assert_eq!(response.status(), status, "{action}/{rest}: {response:?}");
            response.assert_refusal(status, code);
        }
    }
    assert_eq!((bed.manager.dials(), listener.dials()), (0, 0));
}

#[test]
fn only_websocket_requests_are_served_on_one_step_routes() {
    let bed = bed_that_names(&[1]);
    let plain = bed.get(PUBLISH);
    plain.assert_refusal(426, "upgrade_required");
    assert_eq!(plain.field("upgrade"), Some("websocket"));
    bed.exchange(&Request::new("POST", PUBLISH).body("application/sdp", "v=0"))
        .assert_refusal(405, "method_not_allowed");
    let old = Request::upgrade(PUBLISH).instead("Sec-WebSocket-Version", "8");
    bed.exchange(&old).assert_refusal(426, "websocket_version");
    let foreign = Request::upgrade(PUBLISH).by_page("https://evil.example");
    bed.exchange(&foreign).assert_refusal(403, "cross_site");
    for target in ["/as/v1/proxy/ws/watch/live/s?nodeGroup=a", "/as/v2/proxy/ws/publish/live/s?nodeGroup=a"] {
        bed.exchange(&Request::upgrade(target)).assert_refusal(404, "no_such_route");
    }
    assert_eq!(bed.manager.dials(), 0);
}

#[test]
fn a_client_without_a_node_group_gets_the_configured_one() {
    let bed = TestBed::with(|config, _| config.set("stream_manager.node_group", "ng7"));
    name_nodes(&bed, &[1]);
    let listener = bed.node(1);
    for rest in ["id=s", "id=s&nodeGroup=default", "id=s&nodeGroup=ng1"] {
        let target = format!("/as/v1/proxy/ws/publish/live/stream1?{rest}");
        let (_client, _node, head) = bed.pending_upgrade(&listener, &Request::upgrade(&target));
        assert_eq!(head.target(), "/live/?id=s");
    }
    let question = |group| format!("GET /as/v1/streams/stream/{group}/publish/live/stream1");
    assert_eq!(bed.manager.lines(), [question("ng7"), question("ng7"), question("ng1")]);
}

#[test]
fn a_node_that_the_client_names_is_the_only_one_tried() {
    let bed = bed_that_names(&[2]);
    let (listener, other) = (bed.node(1), bed.node(2));
    for group in ["", "&nodeGroup=ng1"] {
        let target = format!("/as/v1/proxy/ws/publish/live/stream1?id=s&host={}{group}", bed.ip(1));
        let (mut client, mut node, head) = bed.pending_upgrade(&listener, &Request::upgrade(&target));
        assert_eq!(head.target(), "/live/?id=s");
        node.answer_upgrade(&head, "");
        assert_eq!(client.read_response().status(), 101);
    }
    let unreachable = format!("/as/v1/proxy/ws/subscribe/live/stream1?id=s&host={}&nodeGroup=ng1", bed.ip(3));
    bed.exchange(&Request::upgrade(&unreachable)).assert_refusal(502, "origin_refused");
    assert_eq!((bed.manager.dials(), other.dials()), (0, 0));
}

#[test]
fn the_second_node_of_an_answer_is_used_if_the_first_fails() {
    let bed = TestBed::start();
    bed.manager.answer("", Reply::nodes(&[bed.ip(1), bed.ip(2)]));
    let listener = bed.node(2);
    assert_taken_by(open_request(&bed, SUBSCRIBE), &listener);
}

#[test]
fn the_first_node_of_an_answer_is_preferred() {
    let bed = TestBed::start();
    bed.manager.answer("", Reply::nodes(&[bed.ip(1), bed.ip(2)]));
    let (first, second) = (bed.node(1), bed.node(2));
    for target in [PUBLISH, SUBSCRIBE, PUBLISH] {
        assert_taken_by(open_request(&bed, target), &first);
    }
    assert_eq!(second.dials(), 0);
}

#[test]
fn each_publisher_gets_its_own_answer_and_subscribers_share_one() {
    let bed = TestBed::with(|config, _| config.set("answers.subscribe_ttl", "60s"));
    name_nodes(&bed, &[1]);
    let listener = bed.node(1);
    for n in 1..=3 {
        assert_taken_by(open_request(&bed, PUBLISH), &listener);
        assert_eq!(bed.manager.count(), n);
    }
    for _ in 0..3 {
        assert_taken_by(open_request(&bed, SUBSCRIBE), &listener);
        assert_eq!(bed.manager.count(), 4);
    }
}

#[test]
fn concurrent_publishers_share_no_question() {
    let bed = TestBed::start();
    let gate = Gate::default();
    bed.manager.answer("", Reply::nodes(&[bed.ip(1)]).held(&gate));
    let listener = bed.node(1);
    let clients: Vec<Connection> = (0..4).map(|_| open_request(&bed, PUBLISH)).collect();
    bed.manager.wait_for_requests(4);
    gate.open();
    let mut nodes: Vec<Connection> = clients.iter().map(|_| listener.accept()).collect();
    nodes.iter_mut().for_each(|node| drop(node.accept_upgrade()));
    for mut client in clients {
        assert_eq!(client.read_response().status(), 101);
    }
}

#[test]
fn frames_sent_with_the_request_reach_the_node_that_accepts_it() {
    let bed = bed_that_names(&[1, 2]);
    let listener = bed.node(2);
    let mut client = bed.client();
    let eager = [Request::upgrade(SUBSCRIBE).bytes(), client.encode(&Frame::text("eager"))].concat();
    client.send(&eager);
    let mut node = listener.accept();
    node.accept_upgrade();
    assert_eq!(client.read_response().status(), 101);
    assert_eq!(node.read_frame(), Frame::text("eager"));
}

#[test]
fn a_client_that_leaves_ends_the_search_for_a_node() {
    let bed = bed_that_names(&[1, 2]);
    let (first, second) = (bed.node(1), bed.node(2));
    let client = open_request(&bed, SUBSCRIBE);
    let mut node = first.accept();
    node.read_head();
    client.reset();
    node.expect_end();
    eventually("the session is over", || {
        bed.gateway.metric("tidegate_sessions_active", &[("route", "one_step")]) == 0.0
    });
    assert_eq!((second.dials(), bed.manager.count()), (0, 1));
}

#[test]
fn every_node_gets_a_websocket_key_of_its_own() {
    let bed = bed_that_names(&[1, 2]);
    let (bad, good) = (bed.node(1), bed.node(2));
    let mut client = open_request(&bed, SUBSCRIBE);
    let mut node = bad.accept();
    let first = node.read_head();
    node.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let mut node = good.accept();
    let second = node.accept_upgrade();
    assert_ne!(first.field("sec-websocket-key"), second.field("sec-websocket-key"));
    assert_eq!(second.field("host"), Some(format!("{}:5080", bed.ip(2)).as_str()));
    assert_eq!(client.read_response().field("sec-websocket-accept"), Some(ACCEPT));
}
