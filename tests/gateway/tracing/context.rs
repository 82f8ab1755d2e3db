//! `traceparent` and `tracestate` from the request to the node and the stream manager, with and without a collector.

use super::collector::traced;
use super::{PARENT, RECORDED, TRACE, UNRECORDED};
use crate::harness::http_message::Head;
use crate::harness::whip::{Form, post};
use crate::harness::{Config, Request, TestBed, Workspace, eventually};

const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
const QUESTION: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";
const SUBSCRIBE: &str = "/as/v1/proxy/ws/subscribe/live/stream1?id=subscriber-1b31&nodeGroup=ng1";

fn with_trace(request: Request, parent: &str) -> Request {
    request.with("traceparent", parent).with("tracestate", STATE)
}

#[track_caller]
fn assert_trace(head: &Head, parent: Option<&str>, state: Option<&str>) {
    assert_eq!((head.field("traceparent"), head.field("tracestate")), (parent, state), "{head:?}");
}

fn log_of_accesses(config: &mut Config, _: &Workspace) {
    config.set("log.access", "stderr");
}

#[test]
fn without_a_collector_both_fields_go_on_unchanged() {
    let bed = TestBed::with(log_of_accesses);
    let node = bed.whip_node(2);
    bed.manager_names(2);
    for parent in [RECORDED, UNRECORDED] {
        let fresh = bed.manager.count();
        bed.exchange(&with_trace(Request::new("GET", &format!("{QUESTION}&fresh={fresh}")), parent));
        assert_trace(&bed.manager.last().head, Some(parent), Some(STATE));
        let endpoint = Form::Proxy.endpoint("whip", &format!("stream{fresh}"), bed.ip(2), "");
        bed.created(&with_trace(post(&endpoint), parent));
        assert_trace(&node.last().head, Some(parent), Some(STATE));
        assert_trace(&bed.manager.last().head, Some(parent), Some(STATE));
    }
    drop(node);
    let listener = bed.node(2);
    let two_step = Request::upgrade(&bed.websocket_target(2));
    let (_client, _node, head) = bed.pending_upgrade(&listener, &with_trace(two_step, RECORDED));
    assert_trace(&head, Some(RECORDED), Some(STATE));
    let one_step = Request::upgrade(SUBSCRIBE);
    let (_client, _node, head) = bed.pending_upgrade(&listener, &with_trace(one_step, UNRECORDED));
    assert_trace(&head, Some(UNRECORDED), Some(STATE));
    assert_trace(&bed.manager.last().head, Some(UNRECORDED), Some(STATE));
}

#[test]
fn a_request_without_the_fields_gets_none() {
    let bed = TestBed::start();
    bed.get(QUESTION);
    assert_trace(&bed.manager.last().head, None, None);
    let listener = bed.node(1);
    let upgrade = Request::upgrade(&bed.websocket_target(1));
    let (_client, _node, head) = bed.pending_upgrade(&listener, &upgrade);
    assert_trace(&head, None, None);
}

#[test]
fn fields_that_break_a_rule_are_ignored_and_no_reason_to_refuse() {
    let bed = TestBed::start();
    let asked = |request: Request| {
        let before = bed.manager.count();
        let answer = bed.exchange(&request);
        assert_eq!((answer.status(), bed.manager.count()), (404, before + 1), "{answer:?}");
        bed.manager.last().head
    };
    let question = |n: usize| Request::new("GET", &format!("{QUESTION}&fresh={n}"));
    for (n, wrong) in [&RECORDED[..54], &RECORDED.to_uppercase(), &RECORDED.replacen("00", "ff", 1), ""]
        .into_iter()
        .enumerate()
    {
        assert_trace(&asked(with_trace(question(n), wrong)), None, None);
    }
    let twice = question(10).with("traceparent", RECORDED).with("traceparent", RECORDED);
    assert_trace(&asked(twice), None, None);
    assert_trace(&asked(question(11).with("tracestate", STATE)), None, None);
    for (n, wrong) in ["a", "A=1", "a=b=c", "a=\u{e9}"].into_iter().enumerate() {
        let request = question(20 + n).with("traceparent", RECORDED).with("tracestate", wrong);
        assert_trace(&asked(request), Some(RECORDED), None);
    }
    let lines =
        question(30).with("traceparent", RECORDED).with("tracestate", "a=1").with("tracestate", "b=2");
    assert_trace(&asked(lines), Some(RECORDED), Some("a=1, b=2"));
    let later = question(31).with("traceparent", &format!("cc{}-more", &RECORDED[2..]));
    assert_trace(&asked(later), Some(RECORDED), None);
}

#[test]
fn the_trace_is_in_the_access_log_in_lines_of_refusals_and_in_why() {
    let bed = TestBed::with(log_of_accesses);
    let refused = bed.exchange(&with_trace(Request::new("GET", "/nothing"), RECORDED));
    refused.assert_refusal(404, "no_such_route");
    let field = format!("trace={TRACE}");
    let lines = |word: &str| {
        let log = bed.gateway.stderr();
        log.lines().filter(|line| line.contains(word) && line.contains(&field)).count()
    };
    eventually("both lines", || (lines("refused: "), lines("status=404")) == (1, 2));
    let id = refused.field("x-tidegate-session").unwrap().to_owned();
    eventually("the connection is in the archive", || {
        bed.gateway.admin_get(&format!("/api/sessions/{id}")).status() == 200
    });
    let why = bed.gateway.admin_get(&format!("/api/sessions/{id}")).json();
    assert_eq!(why["session"]["trace"], TRACE, "{why}");
    let told = why["events"].as_array().unwrap().iter().any(|event| {
        event["text"].as_str().is_some_and(|text| text.contains(TRACE) && text.contains(PARENT))
    });
    assert!(told, "{why}");
    bed.get("/nothing");
    eventually("a line without a trace", || {
        let log = bed.gateway.stderr();
        log.lines().any(|line| line.contains("status=404") && !line.contains("trace="))
    });
}

#[test]
fn with_a_collector_a_trace_begins_where_the_client_sends_none() {
    for (share, flags) in [(1.0, "-03"), (0.0, "-02")] {
        let (bed, collector) = traced(|config, workspace| {
            config.set("tracing.sample", share);
            config.set("gateway.health_path", "/healthz");
            log_of_accesses(config, workspace);
        });
        bed.get("/healthz");
        bed.get(QUESTION);
        let head = bed.manager.last().head;
        let parent = head.field("traceparent").expect("a trace").to_owned();
        assert!(parent.starts_with("00-") && parent.ends_with(flags) && parent.len() == 55, "{parent}");
        eventually("the line", || bed.gateway.stderr().contains(&format!("trace={}", &parent[3..35])));
        if share > 0.0 {
            let span = collector.wait_for_one();
            assert_eq!(super::collector::parent_of(&span, "03"), parent);
            assert!(span.parent_span_id.is_empty(), "{span:?}");
        } else {
            // longer than the exporter waits
            std::thread::sleep(std::time::Duration::from_millis(600));
            assert_eq!(collector.spans(), []);
        }
    }
}

#[test]
fn an_unrecorded_parent_has_no_span_and_goes_on_unchanged() {
    let (bed, collector) = traced(|_, _| {});
    bed.exchange(&with_trace(Request::new("GET", QUESTION), UNRECORDED));
    assert_trace(&bed.manager.last().head, Some(UNRECORDED), Some(STATE));
    let listener = bed.node(1);
    let upgrade = with_trace(Request::upgrade(&bed.websocket_target(1)), UNRECORDED);
    let (mut client, node, head) = bed.pending_upgrade(&listener, &upgrade);
    assert_trace(&head, Some(UNRECORDED), Some(STATE));
    drop(node);
    client.read_response().assert_refusal(502, "origin_bad_handshake");
    bed.exchange(&with_trace(Request::new("GET", "/nothing"), RECORDED));
    let span = collector.wait_for_one();
    assert_eq!(span.name, "GET other");
}
