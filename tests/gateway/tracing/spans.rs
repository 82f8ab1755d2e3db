//! The spans of questions and WebSockets: which there are, what they hang from, and what they tell.

use super::collector::{assert_attributes, events, hex, parent_of, traced, value};
use super::{PARENT, RECORDED, TRACE};
use crate::harness::{Frame, Reply, Request};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

const QUESTION: &str = "/streammanager/api/4.0/event/live/stream1?action=broadcast";
const ONE_STEP: &str = "/as/v1/proxy/ws/publish/live/stream1?id=stream1&nodeGroup=ng1&token=hunter2";

/// Checks that a span is a child of the client's span.
#[track_caller]
fn assert_child_of_client(span: &Span) {
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.into(), PARENT.into()), "{span:?}");
    assert_eq!(span.kind(), SpanKind::Server);
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    let within = span.start_time_unix_nano..=span.end_time_unix_nano;
    assert!(span.events.iter().all(|event| within.contains(&event.time_unix_nano)), "{span:?}");
}

#[test]
fn two_step_is_a_span_for_the_question_and_one_for_the_websocket() {
    let (bed, collector) = traced(|config, _| config.set("tracing.service_name", "edge 1"));
    bed.manager.answer("/streammanager/", Reply::node(bed.ip(1)));
    let traced = |request: Request| request.with("traceparent", RECORDED).with("tracestate", "a=b");
    assert_eq!(bed.exchange(&traced(Request::get(QUESTION))).status(), 200);
    let listener = bed.node(1);
    let target = format!("{}&token=hunter2", bed.websocket_target(1));
    let upgrade = traced(Request::upgrade(&target)).with("User-Agent", "test/1").by_page("https://a.example");
    let upgrade = upgrade.instead("Origin", "https://gate.example:8443").without("Origin");
    let (mut client, mut node, head) = bed.pending_upgrade(&listener, &upgrade);
    node.answer_upgrade(&head, "");
    let id = client.read_response().field("x-tidegate-session").unwrap().to_owned();
    client.send_frame(Frame::text("offer"));
    node.read_frame();
    let question = collector.wait_for_one();
    client.send_frame(Frame::close(1000, ""));
    node.expect_close(1000);
    node.answer_close(1000);
    client.expect_close(1000);
    let [first, websocket] = &collector.wait_for(2)[..] else { panic!("two spans") };
    assert_eq!(first, &question, "the question was exported before the WebSocket ended");
    for span in [&question, websocket] {
        assert_child_of_client(span);
        assert_eq!((span.trace_state.as_str(), span.flags), ("a=b", 0x301));
        assert!(span.status.is_none(), "{span:?}");
    }
    assert_ne!(question.span_id, websocket.span_id);
    assert_eq!(bed.manager.last().field("traceparent"), Some(&*parent_of(&question, "01")));
    assert_eq!(head.field("traceparent"), Some(&*parent_of(websocket, "01")));
    assert_eq!(head.field("tracestate"), Some("a=b"));

    assert_eq!((question.name.as_str(), websocket.name.as_str()), ("GET event", "GET two_step"));
    let path = "/streammanager/api/4.0/event/live/stream1";
    assert_attributes(
        &question,
        &[("url.path", path), ("http.response.status_code", "200"), ("tidegate.cache", "miss")],
    );
    assert_eq!(events(&question), ["tidegate.requested", "tidegate.manager.asked", "tidegate.answered"]);
    let client = client.tcp().local_addr().unwrap();
    assert_attributes(
        websocket,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "101"),
            ("url.scheme", "https"),
            ("url.path", "/streammanager/"),
            ("client.address", &client.ip().to_string()),
            ("client.port", &client.port().to_string()),
            ("user_agent.original", "test/1"),
            ("tls.protocol.version", "1.3"),
            ("tidegate.session.id", &id),
            ("tidegate.route", "two_step"),
            ("tidegate.role", "publisher"),
            ("tidegate.app", "live"),
            ("tidegate.stream", "stream1"),
            ("tidegate.node.address", &listener.ip().to_string()),
            ("tidegate.node.port", "5080"),
            ("tidegate.end.by", "client"),
            ("tidegate.end.how", "close"),
            ("tidegate.client.close_code", "1000"),
            ("tidegate.client.frames", "2"),
        ],
    );
    let happened = events(websocket);
    for name in ["tidegate.node.tried", "tidegate.answered", "tidegate.first_frame", "tidegate.closed"] {
        assert!(happened.contains(&name), "{name}: {happened:?}");
    }
    assert_eq!(happened.last(), Some(&"tidegate.ended"));
    let resource = collector.requests()[0].resource_spans[0].resource.clone().expect("a resource");
    assert_eq!(value(&resource.attributes, "service.name").as_deref(), Some("edge 1"));
    assert!(!format!("{:?}", collector.spans()).contains("hunter2"));
}

#[test]
fn one_step_is_one_span_and_parent_of_the_question_and_of_the_node() {
    let (bed, collector) = traced(|_, _| {});
    bed.manager_names(1);
    let listener = bed.node(1);
    let upgrade = Request::upgrade(ONE_STEP).with("traceparent", RECORDED);
    let (mut client, mut node, head) = bed.pending_upgrade(&listener, &upgrade);
    node.answer_upgrade(&head, "");
    assert_eq!(client.read_response().status(), 101);
    drop(client);
    node.expect_close(1001);
    let span = collector.wait_for_one();
    assert_child_of_client(&span);
    assert_eq!(span.name, "GET one_step");
    assert_eq!(bed.manager.last().field("traceparent"), Some(&*parent_of(&span, "01")));
    assert_eq!(head.field("traceparent"), Some(&*parent_of(&span, "01")));
    assert_eq!(events(&span)[..3], ["tidegate.requested", "tidegate.manager.asked", "tidegate.node.tried"]);
    let tried = &span.events[2].attributes;
    assert_eq!(value(tried, "server.address"), Some(listener.ip().to_string()));
    assert_eq!(value(tried, "tidegate.outcome").as_deref(), Some("connected"));
    assert_attributes(&span, &[("tidegate.end.by", "client"), ("tidegate.end.how", "lost")]);
}

#[test]
fn requests_of_one_connection_have_a_span_each() {
    let (bed, collector) = traced(|_, _| {});
    let mut client = bed.client();
    for n in 0..5 {
        assert_eq!(client.get(&format!("{QUESTION}&fresh={n}")).status(), 404);
    }
    let spans = collector.wait_for(5);
    for pair in spans.windows(2) {
        assert_ne!(pair[0].trace_id, pair[1].trace_id);
        assert!(pair[0].end_time_unix_nano <= pair[1].start_time_unix_nano, "{pair:?}");
    }
    for span in &spans {
        assert_attributes(span, &[("http.response.status_code", "404")]);
        assert!(span.status.is_none(), "a 404 of the stream manager is no failure of the gateway");
    }
}

#[test]
fn a_refused_request_is_an_error_with_its_code() {
    let (bed, collector) = traced(|_, _| {});
    let host = bed.workspace.ip(200);
    let target = format!("/streammanager/?id=stream1&host={host}&app=live");
    let refused = Request::upgrade(&target).with("traceparent", RECORDED);
    bed.exchange(&refused).assert_refusal(403, "origin_not_admitted");
    let span = collector.wait_for_one();
    assert_child_of_client(&span);
    let status = span.status.clone().expect("a status");
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "origin_not_admitted"));
    let code = "origin_not_admitted";
    assert_attributes(
        &span,
        &[("error.type", code), ("tidegate.code", code), ("http.response.status_code", "403")],
    );
    let odd = bed.exchange(&Request::new("BREW", "/live").with("traceparent", RECORDED));
    odd.assert_refusal(404, "no_such_route");
    let span = collector.wait_for(2).remove(1);
    assert_eq!(span.name, "HTTP other");
    assert_attributes(&span, &[("http.request.method", "_OTHER"), ("http.request.method_original", "BREW")]);
}

#[test]
fn a_node_that_dies_is_an_error() {
    let (bed, collector) = traced(|_, _| {});
    let listener = bed.node(1);
    let (mut client, node) = bed.relay(&listener);
    node.reset();
    client.expect_close(1014);
    client.answer_close(1014);
    let span = collector.wait_for_one();
    let status = span.status.clone().expect("a status");
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "node_lost"));
    assert_attributes(
        &span,
        &[
            ("error.type", "node_lost"),
            ("tidegate.end.by", "origin"),
            ("tidegate.sent_close_code", "1014"),
            ("http.response.status_code", "101"),
        ],
    );
    drop(listener);
    bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(502, "origin_refused");
    let span = collector.wait_for(2).remove(1);
    assert_attributes(&span, &[("error.type", "origin_refused"), ("tidegate.tries", "1")]);
    let tried = span.events.iter().find(|event| event.name == "tidegate.node.tried").expect("a try");
    assert_eq!(value(&tried.attributes, "tidegate.outcome").as_deref(), Some("refused"));
}

#[test]
fn a_client_that_leaves_before_its_answer_has_a_span() {
    let (bed, collector) = traced(|_, _| {});
    let listener = bed.node(1);
    let upgrade = Request::upgrade(&bed.websocket_target(1)).with("traceparent", RECORDED);
    let (client, _node, _) = bed.pending_upgrade(&listener, &upgrade);
    client.reset();
    let span = collector.wait_for_one();
    assert_child_of_client(&span);
    assert_attributes(&span, &[("tidegate.end.by", "client"), ("tidegate.end.how", "left")]);
    assert_eq!(value(&span.attributes, "http.response.status_code"), None);
    assert!(span.status.is_none());
}
