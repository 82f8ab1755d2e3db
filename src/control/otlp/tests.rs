//! Tests of spans that records make.

use super::span::span;
use crate::metrics::RequestRoute;
use crate::proto::http::trace_context::{SpanId, TraceId};
use crate::proto::refusal::Refusal;
use crate::shared::record::{Event, Record, Traced};
use crate::shared::session_id::SessionId;
use crate::shared::spans::Finished;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const BEGAN: SystemTime = UNIX_EPOCH;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn finished(target: &str, own: Option<SpanId>, answered: Event<'_>) -> Finished {
    let mut record = Record::default();
    let client = "192.0.2.1:7".parse().expect("written here");
    record.note(
        millis(1),
        &Event::Accepted { client, through: Some("[::ffff:10.0.0.1]:9".parse().expect("written here")) },
    );
    record.begin_request();
    let (route, method) = (RequestRoute::Whip, "PATCH");
    record.note(millis(20), &Event::Requested { route, role: None, method, target, app: "", stream: "" });
    let traced = Traced { trace: TraceId([1; 16]), parent: None, span: own, flags: 1, state: "" };
    record.note(millis(20), &Event::Traced(traced));
    record.note(millis(25), &answered);
    Finished { id: SessionId(1), began: BEGAN, whip_session: false, record }
}

fn text<'s>(span: &'s Span, key: &str) -> Option<&'s str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

const ANSWERED: Event<'_> = Event::Answered { status: 204, refusal: None, bytes: 0 };

#[test]
fn the_span_of_a_request_lasts_from_its_head_to_its_answer() {
    let one = span(&finished("/live/whip/resource/s", Some(SpanId([2; 8])), ANSWERED)).expect("a span");
    assert_eq!((one.start_time_unix_nano, one.end_time_unix_nano), (20_000_000, 25_000_000));
    assert_eq!(
        one.events.iter().map(|event| event.time_unix_nano).collect::<Vec<_>>(),
        [20_000_000, 25_000_000]
    );
    assert_eq!(
        (text(&one, "client.address"), text(&one, "network.peer.address")),
        (Some("192.0.2.1"), Some("10.0.0.1"))
    );
    assert!(one.parent_span_id.is_empty() && one.status.is_none());
    assert_eq!(one.flags, 1);
    assert_eq!(span(&finished("/", None, ANSWERED)), None, "a trace that is not recorded");
}

#[test]
fn no_path_holds_parameters_or_the_handle_of_a_session() {
    let handle = "0123456789abcdef0123456789abcdef";
    for target in [
        format!("/live/whip/resource/s~{handle}?token=x"),
        format!("/live/whip/resource/s~{handle}/more"),
        format!("/live/whip/resource/s%7E{handle}"),
    ] {
        let span = span(&finished(&target, Some(SpanId([2; 8])), ANSWERED)).expect("a span");
        let path = text(&span, "url.path").expect("a path");
        assert!(
            path.starts_with("/live/whip/resource/s") && !path.contains(handle) && !path.contains("token"),
            "{path}"
        );
    }
}

#[test]
fn refusals_and_failures_of_servers_are_errors() {
    let message = |event| {
        let span = span(&finished("/", Some(SpanId([2; 8])), event)).expect("a span");
        span.status.map(|status| status.message)
    };
    let refusal = Some(Refusal::TooMany);
    assert_eq!(message(Event::Answered { status: 429, refusal, bytes: 0 }).as_deref(), Some("too_many"));
    assert_eq!(message(Event::Answered { status: 500, refusal: None, bytes: 0 }).as_deref(), Some("500"));
    assert_eq!(message(Event::Answered { status: 404, refusal: None, bytes: 0 }), None);
    assert_eq!(message(Event::Left), None);
}
