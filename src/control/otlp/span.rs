//! The span of a finished request or session, made of its record.

use crate::control::otlp::attributes::{address, flag, list, number, text};
use crate::control::otlp::events;
use crate::metrics::Version;
use crate::proto::http::trace_context::SpanId;
use crate::proto::red5::whip::Handle;
use crate::proto::websocket::relay::{By, How};
use crate::shared::record::{Cause, Event, Record, Summary, Traced};
use crate::shared::spans::Finished;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::{Event as SpanEvent, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Methods that the semantic conventions know by name.
const METHODS: [&str; 10] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];

/// Flags of a span: the parent is known to be remote, and is.
const PARENT_IS_REMOTE: u32 = 0x300;

/// Flags of a span: the parent is known not to be remote.
const PARENT_IS_LOCAL: u32 = 0x100;

/// Makes the span; `None` if it has none, because its trace is not recorded.
pub(super) fn span(finished: &Finished) -> Option<Span> {
    let Finished { id, began, whip_session, record } = finished;
    let summary = Summary::of(record.last_request());
    let Traced { trace, parent, span, flags, state } = summary.traced?;
    let at = |time: Duration| nanos(*began + time);
    let events = record.last_request().filter(|(time, _)| *time >= summary.requested);
    let events = events.filter_map(|(time, event)| {
        let (name, attributes) = events::event(&event)?;
        Some(SpanEvent {
            time_unix_nano: at(time),
            name: name.to_owned(),
            attributes,
            dropped_attributes_count: 0,
        })
    });
    let mut attributes = attributes(record, &summary);
    attributes.push(text("tidegate.session.id", id.to_string()));
    let error = error(&summary);
    attributes.extend(error.clone().map(|kind| text("error.type", kind)));
    let link = if *whip_session { PARENT_IS_LOCAL } else { PARENT_IS_REMOTE };
    let route = summary.route.map_or("", |route| route.word());
    Some(Span {
        trace_id: trace.0.to_vec(),
        span_id: span?.0.to_vec(),
        parent_span_id: parent.map(|SpanId(parent)| parent.to_vec()).unwrap_or_default(),
        trace_state: state.to_owned(),
        flags: u32::from(flags) | if parent.is_some() { link } else { 0 },
        name: if *whip_session {
            format!("{route} session")
        } else {
            format!("{} {route}", method(&summary))
        },
        kind: if *whip_session { SpanKind::Internal } else { SpanKind::Server }.into(),
        start_time_unix_nano: at(summary.requested),
        end_time_unix_nano: at(summary.last),
        attributes,
        events: events.collect(),
        dropped_events_count: record.skipped(),
        status: error.map(|message| Status { message, code: StatusCode::Error.into() }),
        ..Span::default()
    })
}

/// The method for the name of a span, which must have few values.
fn method(summary: &Summary<'_>) -> &'static str {
    METHODS.into_iter().find(|method| *method == summary.method).unwrap_or("HTTP")
}

fn attributes(record: &Record, summary: &Summary<'_>) -> Vec<KeyValue> {
    let mut attributes = vec![text("url.scheme", "https"), text("network.protocol.name", "http")];
    if METHODS.contains(&summary.method) {
        attributes.push(text("http.request.method", summary.method));
    } else {
        attributes.push(text("http.request.method", "_OTHER"));
        attributes.push(text("http.request.method_original", summary.method));
    }
    attributes.push(text("url.path", path(summary.target)));
    attributes.extend(summary.status.map(|status| number("http.response.status_code", status)));
    attributes.extend(record.agent.as_deref().map(|agent| text("user_agent.original", agent)));
    attributes.extend(record.origin.as_deref().map(|origin| list("http.request.header.origin", origin)));
    if let Some((version, resumed)) = summary.tls {
        let version = if version == Version::Tls12 { "1.2" } else { "1.3" };
        attributes.push(text("tls.protocol.name", "tls"));
        attributes.push(text("tls.protocol.version", version));
        attributes.push(flag("tls.resumed", resumed));
    }
    attributes.extend(client(record));
    attributes.extend(summary.node.into_iter().flat_map(|node| address("tidegate.node", node)));
    attributes.extend(of_the_gateway(summary));
    attributes
}

/// The client, and what connected to the gateway on its behalf.
fn client(record: &Record) -> Vec<KeyValue> {
    let accepted = |(_, event): (_, Event<'_>)| match event {
        Event::Accepted { client, through } => Some((client, through)),
        _ => None,
    };
    let Some((client, through)): Option<(SocketAddr, _)> = record.events().find_map(accepted) else {
        return Vec::new();
    };
    address("client", client).chain(address("network.peer", through.unwrap_or(client))).collect()
}

/// What the conventions have no name for.
fn of_the_gateway(summary: &Summary<'_>) -> Vec<KeyValue> {
    let named = |key, value: &str| (!value.is_empty()).then(|| text(key, value));
    let count = |key, value: u64| (value > 0).then(|| number(key, value));
    let code = |key, value: Option<u16>| value.map(|code| number(key, code));
    let [client_close, node_close] = summary.closes;
    let (by, how) = summary.cause.map(Cause::words).unzip();
    let attributes = [
        summary.route.map(|route| text("tidegate.route", route.word())),
        summary.role.map(|role| text("tidegate.role", role.word())),
        named("tidegate.app", summary.app),
        named("tidegate.stream", summary.stream),
        summary.cache.map(|cache| text("tidegate.cache", cache.word())),
        summary.refusal.map(|refusal| text("tidegate.code", refusal.code())),
        count("tidegate.tries", summary.tries.into()),
        by.map(|by| text("tidegate.end.by", by)),
        how.map(|how| text("tidegate.end.how", how)),
        code("tidegate.client.close_code", client_close),
        code("tidegate.node.close_code", node_close),
        code("tidegate.sent_close_code", summary.sent_closes[0]),
        count("tidegate.client.frames", summary.frames[0]),
        count("tidegate.client.bytes", summary.bytes[0]),
        count("tidegate.node.frames", summary.frames[1]),
        count("tidegate.node.bytes", summary.bytes[1]),
    ];
    attributes.into_iter().flatten().collect()
}

/// What went wrong, in one word: the code of a refusal, the status of a server's failure, or how a relay broke off.
fn error(summary: &Summary<'_>) -> Option<String> {
    match (summary.refusal, summary.cause, summary.status) {
        (Some(refusal), ..) => Some(refusal.code().to_owned()),
        (_, Some(Cause::Relay(By::Node, how @ (How::Lost | How::Truncated | How::Violation))), _) => {
            Some(format!("node_{}", how.word()))
        }
        (.., Some(status @ 500..)) => Some(status.to_string()),
        _ => None,
    }
}

/// The path of a target: without parameters, and without the handle of a WHIP session, by which it can be ended.
fn path(target: &str) -> String {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let segments: Vec<_> = path.split('/').map(|segment| Handle::split(segment).0).collect();
    segments.join("/")
}

/// Nanoseconds since 1970.
fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
