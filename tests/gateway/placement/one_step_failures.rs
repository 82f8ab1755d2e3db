//! One step when something fails: another node is tried in time, and only where a second attempt does no harm.

use crate::harness::node::FullBacklog;
use crate::harness::{Connection, Frame, Gate, HttpPeer, NodeListener, Reply, Request, Response, TestBed};
use crate::placement::one_step::{
    PUBLISH, SUBSCRIBE, assert_taken_by, bed_that_names, name_nodes, open_request,
};
use std::time::{Duration, Instant};

/// Pages give up a handshake after 5.5 s.
const PAGE_TIMEOUT: Duration = Duration::from_millis(5500);

#[test]
fn a_dead_node_is_invisible_to_the_client() {
    for target in [PUBLISH, SUBSCRIBE] {
        let bed = bed_that_names(&[1, 2]);
        let listener = bed.node(2);
        assert_taken_by(open_request(&bed, target), &listener);
        assert_eq!(bed.manager.count(), 2, "the manager is asked again");
    }
}

#[test]
fn a_node_that_cannot_be_reached_in_time_is_invisible_too() {
    for target in [PUBLISH, SUBSCRIBE] {
        let bed = TestBed::with(|config, _| config.set("origins.connect_timeout", "300ms"));
        name_nodes(&bed, &[1, 2]);
        let _unresponsive = FullBacklog::listen(bed.workspace.node(1));
        let listener = bed.node(2);
        assert_taken_by(open_request(&bed, target), &listener);
    }
}

/// What a node may do after it has read an upgrade, other than accepting it.
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

/// Reads the upgrade and fails at it. Returns the connection if the node stays silent.
#[track_caller]
fn fail_at(listener: &NodeListener, answer: Option<&str>) -> Option<Connection> {
    let mut node = listener.accept();
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
fn a_subscriber_gets_another_node_after_any_failure_of_the_first() {
    for (how, answer) in FAILURES {
        let bed = TestBed::with(|config, _| config.set("origins.upgrade_timeout", "300ms"));
        name_nodes(&bed, &[1, 2]);
        let (bad, good) = (bed.node(1), bed.node(2));
        let client = open_request(&bed, SUBSCRIBE);
        let _silent = fail_at(&bad, answer);
        assert_taken_by(client, &good);
        assert_eq!(bed.manager.count(), 2, "{how}");
        assert_eq!(bad.dials(), 1, "{how}");
    }
}

#[test]
fn a_publish_is_never_repeated_once_a_node_has_read_it() {
    for (how, answer) in FAILURES {
        let bed = TestBed::with(|config, _| config.set("origins.upgrade_timeout", "300ms"));
        name_nodes(&bed, &[1, 2]);
        let (bad, good) = (bed.node(1), bed.node(2));
        let mut client = open_request(&bed, PUBLISH);
        let _silent = fail_at(&bad, answer);
        let response = client.read_response();
        match how {
            "is silent" => response.assert_refusal(504, "origin_timeout"),
            "hangs up" => assert_eq!(response.status(), 502, "{response:?}"),
            _ => response.assert_refusal(502, "origin_bad_handshake"),
        }
        assert_eq!((bad.dials(), good.dials()), (1, 0), "{how}");
        assert_eq!(bed.manager.count(), 1, "{how}: a publisher must not be placed twice");
    }
}

#[test]
fn no_more_nodes_are_tried_than_configured() {
    for attempts in [1, 2, 3] {
        let bed = TestBed::with(|config, _| config.set("origins.attempts", attempts));
        name_nodes(&bed, &[1, 2, 3, 4]);
        let listeners = [1, 2, 3, 4].map(|n| bed.node(n));
        let mut client = open_request(&bed, SUBSCRIBE);
        for listener in &listeners[..attempts as usize] {
            fail_at(listener, Some("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
        }
        client.read_response().assert_refusal(502, "origin_bad_handshake");
        let dials = listeners.each_ref().map(NodeListener::dials);
        assert_eq!(dials.iter().sum::<usize>(), attempts as usize, "{dials:?}");
    }
}

#[test]
fn an_error_of_the_manager_is_passed_to_the_client() {
    let bed = TestBed::with(|config, _| config.set("cors.allow_origins", vec!["https://app.example"]));
    let listener = bed.node(1);
    for (status, body) in [
        (409, r#"{"error":"stream is live"}"#),
        (404, r#"{"error":"no node","timestamp":1}"#),
        (400, r#"{"errorMessage":"bad"}"#),
        (401, ""),
        (500, r#"{"error":"oops"}"#),
    ] {
        bed.manager.answer("", Reply::json(status, body));
        for target in [PUBLISH, SUBSCRIBE] {
            // each status has its own stream, so that no stored 404 answers
            let target = target.replace("stream1?", &format!("s{status}?"));
            let response = bed.exchange(&Request::upgrade(&target).by_page("https://app.example"));
            assert_eq!((response.status(), response.text().as_str()), (status, body), "{response:?}");
            assert_eq!(response.field("access-control-allow-origin"), Some("https://app.example"));
            assert_eq!(response.field("cache-control"), Some("no-store"));
        }
    }
    assert_eq!(listener.dials(), 0);
}

#[test]
fn a_failing_manager_is_answered_with_502_or_504() {
    let mut bed = TestBed::with(|config, _| config.set("stream_manager.timeout", "300ms"));
    let listener = bed.node(1);
    let hello = bed.ip(1);
    for reply in [
        Reply::hang_up(),
        Reply::json(200, "[]"),
        Reply::json(200, "{"),
        Reply::json(200, format!(r#"[{{"serverAddress":"{hello}"}}"#)).truncated(),
        Reply::json(200, format!(r#"[{{"serverAddress":"{hello}"}}]"#)).content_type("text/html"),
        Reply::json(200, r#"[{"serverAddress":"somewhere.example"}]"#),
    ] {
        bed.manager.answer("", reply);
        for target in [PUBLISH, SUBSCRIBE] {
            bed.exchange(&Request::upgrade(target)).assert_refusal(502, "manager_failed");
        }
    }
    let gate = Gate::default();
    bed.manager.answer("", Reply::nodes(&[hello]).held(&gate));
    bed.exchange(&Request::upgrade(PUBLISH)).assert_refusal(504, "manager_timeout");
    gate.open();
    assert_eq!(listener.dials(), 0);
    bed.manager = HttpPeer::start((bed.workspace.ip(3), 5080).into());
    bed.exchange(&Request::upgrade(PUBLISH)).assert_refusal(502, "manager_failed");
}

#[test]
fn a_manager_cannot_make_the_gateway_dial_denied_addresses() {
    let bed = TestBed::start();
    for ip in ["169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1", "::1", "::ffff:169.254.169.254"] {
        bed.manager.answer("", Reply::nodes(&[ip.parse().unwrap()]));
        let response = bed.exchange(&Request::upgrade(PUBLISH));
        assert!(matches!(response.status(), 403 | 502), "{ip}: {response:?}");
        assert!(!response.text().contains(ip), "{response:?}");
    }
    let stranger = NodeListener::listen(bed.workspace.node(10));
    bed.manager.answer("", Reply::nodes(&[stranger.ip()]));
    assert!(matches!(bed.exchange(&Request::upgrade(PUBLISH)).status(), 403 | 502));
    assert_eq!(stranger.dials(), 0);
}

/// A refusal, which must arrive before a page gives up.
#[track_caller]
fn refused_in_time(bed: &TestBed, target: &str) -> Response {
    let mut client = bed.client();
    let started = Instant::now();
    client.send_request(&Request::upgrade(target));
    let response = client.read_response();
    assert!(started.elapsed() < PAGE_TIMEOUT, "{:?}", started.elapsed());
    response
}

#[test]
fn if_every_node_hangs_the_refusal_arrives_before_pages_give_up() {
    let bed = bed_that_names(&[1, 2, 3]);
    let _unresponsive = FullBacklog::listen(bed.workspace.node(1));
    let _silent = [2, 3].map(|n| bed.node(n));
    refused_in_time(&bed, SUBSCRIBE).assert_refusal(504, "origin_timeout");
}

#[test]
fn if_the_manager_hangs_the_refusal_arrives_before_pages_give_up() {
    let bed = TestBed::with(|config, _| config.set("stream_manager.timeout", "30s"));
    let gate = Gate::default();
    bed.manager.answer("", Reply::nodes(&[bed.ip(1)]).held(&gate));
    refused_in_time(&bed, PUBLISH).assert_refusal(504, "manager_timeout");
    gate.open();
}

#[test]
fn a_slow_manager_leaves_less_time_for_slow_nodes() {
    let bed = TestBed::with(|config, _| config.set("origins.upgrade_timeout", "20s"));
    let gate = Gate::default();
    bed.manager.answer("", Reply::nodes(&[bed.ip(1)]).held(&gate));
    let listener = bed.node(1);
    let mut client = bed.client();
    let started = Instant::now();
    client.send_request(&Request::upgrade(PUBLISH));
    bed.manager.wait_for_requests(1);
    std::thread::sleep(Duration::from_secs(2));
    gate.open();
    let _node = listener.accept();
    client.read_response().assert_refusal(504, "origin_timeout");
    assert!(started.elapsed() < PAGE_TIMEOUT, "{:?}", started.elapsed());
}

/// A test bed with the default for the 101 of a node, whose stream manager names these nodes in turn.
fn bed_of_patience(nodes: &[u8]) -> TestBed {
    let bed = TestBed::with(|config, _| {
        config.unset("origins.connect_timeout");
        config.unset("origins.upgrade_timeout");
    });
    name_nodes(&bed, nodes);
    bed
}

/// What a cold node needs for its 101.
const COLD: Duration = Duration::from_secs(3);

#[test]
fn a_node_that_needs_three_seconds_serves_its_client() {
    let bed = bed_of_patience(&[1]);
    let listener = bed.node(1);
    for (before, target) in [PUBLISH, SUBSCRIBE, &bed.websocket_target(1)].into_iter().enumerate() {
        let mut client = open_request(&bed, target);
        let mut node = listener.accept();
        let head = node.read_head();
        std::thread::sleep(COLD);
        node.answer_upgrade(&head, "");
        let response = client.read_response();
        assert_eq!(response.status(), 101, "{target}: {response:?}");
        assert_eq!(listener.dials(), before + 1, "{target}");
    }
}

#[test]
fn silent_nodes_leave_their_share_of_the_time_to_the_others() {
    let bed = bed_of_patience(&[1, 2, 3]);
    let _silent = [1, 2].map(|n| bed.node(n));
    let good = bed.node(3);
    let started = Instant::now();
    assert_taken_by(open_request(&bed, SUBSCRIBE), &good);
    assert!(started.elapsed() < PAGE_TIMEOUT, "{:?}", started.elapsed());
}

#[test]
fn of_nodes_that_are_all_slow_the_first_that_answers_serves() {
    let bed = bed_of_patience(&[1, 2, 3]);
    let nodes = [1, 2, 3].map(|n| bed.node(n));
    let mut client = open_request(&bed, SUBSCRIBE);
    let mut first = nodes[0].accept();
    let head = first.read_head();
    let mut second = nodes[1].accept();
    std::thread::sleep(Duration::from_millis(500));
    first.answer_upgrade(&head, "");
    let response = client.read_response();
    assert_eq!(response.status(), 101, "{response:?}");
    second.read_head();
    second.expect_end();
    first.send_frame(Frame::text("here"));
    assert_eq!(client.read_frame(), Frame::text("here"));
    bed.gateway.wait_for_metric("tidegate_origin_dials_total", &[("outcome", "cancelled")], 1.0);
}

#[test]
fn a_publisher_waits_for_the_node_that_has_read_its_request() {
    let bed = bed_of_patience(&[1, 2]);
    let (slow, other) = (bed.node(1), bed.node(2));
    let mut client = open_request(&bed, PUBLISH);
    let mut node = slow.accept();
    let head = node.read_head();
    std::thread::sleep(COLD);
    node.answer_upgrade(&head, "");
    assert_eq!(client.read_response().status(), 101);
    assert_eq!((other.dials(), bed.manager.count()), (0, 1));
}
