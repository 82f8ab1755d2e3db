//! The spans of WHIP and WHEP: one for each request, and one for the session from its POST to its end.

use super::collector::{Collector, assert_attributes, events, hex, parent_of, trace, traced};
use super::{PARENT, RECORDED, TRACE};
use crate::harness::takeover::Takeover;
use crate::harness::whip::{Form, delete, patch, post};
use crate::harness::{Request, TestBed};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

fn endpoint(bed: &TestBed) -> String {
    Form::Proxy.endpoint("whip", "stream1", bed.ip(1), "&token=hunter2")
}

#[track_caller]
fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let names = || spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>();
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name} among {:?}", names()))
}

#[test]
fn a_session_is_a_child_of_its_post_and_parent_of_later_requests() {
    let (bed, collector) = traced(|_, _| {});
    let node = bed.whip_node(1);
    let created = bed.created(&post(&endpoint(&bed)).with("traceparent", RECORDED));
    let location = created.location().to_owned();
    let at_node = |count: usize| node.received()[count].field("traceparent").map(str::to_owned);
    assert_eq!(bed.exchange(&patch(&location)).status(), 204);
    assert_eq!(bed.exchange(&delete(&location)).status(), 200);
    let spans = collector.wait_for(4);
    let [post, session, patch, delete] =
        ["POST whip", "whip session", "PATCH whip", "DELETE whip"].map(|name| named(&spans, name));
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    assert_eq!(hex(&post.parent_span_id), PARENT);
    assert_eq!(session.parent_span_id, post.span_id);
    assert_eq!((&patch.parent_span_id, &delete.parent_span_id), (&session.span_id, &session.span_id));
    for (count, span) in [post, patch, delete].into_iter().enumerate() {
        assert_eq!(span.kind(), SpanKind::Server);
        assert_eq!(at_node(count), Some(parent_of(span, "01")));
    }
    assert_eq!(bed.manager.last().field("traceparent"), Some(&*parent_of(post, "01")));
    assert_eq!(session.kind(), SpanKind::Internal);
    // each span has the clock of its end
    let apart = session.start_time_unix_nano.abs_diff(post.start_time_unix_nano);
    assert!(apart < 50_000_000, "both begin with the POST: {apart} ns");
    assert!(session.end_time_unix_nano >= patch.end_time_unix_nano);
    let id = created.field("x-tidegate-session").unwrap();
    assert_attributes(
        session,
        &[("tidegate.session.id", id), ("tidegate.end.how", "deleted"), ("tidegate.stream", "stream1")],
    );
    assert_eq!(events(session).last(), Some(&"tidegate.ended"));
    assert_attributes(patch, &[("http.response.status_code", "204")]);
    // its holder can end the session
    let handle = location.split('?').next().unwrap().rsplit('/').next().unwrap();
    let handle = &handle[handle.len() - 32..];
    let exported = format!("{spans:?}");
    assert!(!exported.contains(handle) && !exported.contains("hunter2"), "{exported}");
}

#[test]
fn a_later_request_with_a_parent_of_its_own_keeps_it() {
    let (bed, collector) = traced(|_, _| {});
    let _node = bed.whip_node(1);
    let location = bed.created(&post(&endpoint(&bed))).location().to_owned();
    let other = RECORDED.replacen("0af7", "1bf7", 1);
    assert_eq!(bed.exchange(&patch(&location).with("traceparent", &other)).status(), 204);
    let spans = collector.wait_for(2);
    let (post, patch) = (named(&spans, "POST whip"), named(&spans, "PATCH whip"));
    assert_eq!(
        (hex(&patch.trace_id), hex(&patch.parent_span_id)),
        (TRACE.replacen("0af7", "1bf7", 1), PARENT.into())
    );
    assert_ne!(post.trace_id, patch.trace_id);
}

#[test]
fn a_kicked_session_ends_its_span_and_its_node_learns_of_the_trace() {
    let (bed, collector) = traced(|_, _| {});
    let node = bed.whip_node(1);
    let created = bed.created(&post(&endpoint(&bed)).with("traceparent", RECORDED));
    let id = created.field("x-tidegate-session").unwrap();
    let target = format!("/api/sessions/{id}");
    let kicked = bed.gateway.send_admin(&bed.gateway.admin_request("DELETE", &target));
    assert!((200..300).contains(&kicked.status()), "{kicked:?}");
    let spans = collector.wait_for(2);
    let session = named(&spans, "whip session");
    assert_attributes(session, &[("tidegate.end.by", "gateway"), ("tidegate.end.how", "kicked")]);
    assert_eq!(node.last().line().split(' ').next(), Some("DELETE"));
    assert_eq!(node.last().field("traceparent"), Some(&*parent_of(session, "01")));
}

#[test]
fn a_session_that_no_client_uses_is_undone_in_the_trace_of_its_post() {
    let (bed, collector) = traced(|_, _| {});
    let node = bed.whip_node(1);
    // a Location that is no path of the node
    node.answer("POST ", crate::harness::Reply::created("//elsewhere.example/x", "v=0"));
    let request: Request = post(&endpoint(&bed)).with("traceparent", RECORDED);
    assert_eq!(bed.exchange(&request).status(), 502);
    let spans = collector.wait_for(2);
    let (post, session) = (named(&spans, "POST whip"), named(&spans, "whip session"));
    assert_eq!((&session.parent_span_id, hex(&post.parent_span_id)), (&post.span_id, PARENT.into()));
    assert_attributes(session, &[("tidegate.end.how", "undone")]);
}

#[test]
fn a_successor_goes_on_with_the_span_of_a_session() {
    let mut collector = None;
    let takeover = Takeover::start(|config, workspace| {
        collector = Some(Collector::start(workspace));
        trace(config, workspace);
    });
    let (bed, collector) = (&takeover.bed, collector.expect("it was started"));
    let _node = bed.whip_node(1);
    let created = bed.created(&post(&endpoint(bed)).with("traceparent", RECORDED));
    takeover.upgrade();
    assert_eq!(bed.exchange(&delete(created.location())).status(), 200);
    let spans = collector.wait_for(3);
    let [post, session, delete] =
        ["POST whip", "whip session", "DELETE whip"].map(|name| named(&spans, name));
    assert_eq!((&session.parent_span_id, hex(&session.trace_id)), (&post.span_id, TRACE.into()));
    assert_eq!(delete.parent_span_id, session.span_id);
    assert_attributes(session, &[("tidegate.session.id", created.field("x-tidegate-session").unwrap())]);
}
