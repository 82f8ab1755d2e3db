//! A collector that takes OTLP over HTTP and keeps the spans.

use crate::harness::{Config, HttpPeer, Reply, TestBed, Workspace, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

pub struct Collector(pub HttpPeer);

/// A test bed whose gateway sends spans to a collector.
pub fn traced(change: impl FnOnce(&mut Config, &Workspace)) -> (TestBed, Collector) {
    let mut collector = None;
    let bed = TestBed::with(|config, workspace| {
        collector = Some(Collector::start(workspace));
        trace(config, workspace);
        change(config, workspace);
    });
    (bed, collector.expect("it was started"))
}

/// Makes a gateway send its spans to the collector of its workspace.
pub fn trace(config: &mut Config, workspace: &Workspace) {
    config.set("tracing.endpoint", format!("http://{}", workspace.collector()));
}

impl Collector {
    pub fn start(workspace: &Workspace) -> Self {
        let peer = HttpPeer::start(workspace.collector());
        peer.answer("POST /v1/traces", Reply::typed(200, "application/x-protobuf", ""));
        Self(peer)
    }

    /// All requests so far, read.
    pub fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let requests = self.0.received().into_iter();
        let read = |body: Vec<u8>| ExportTraceServiceRequest::decode(&*body).expect("a message of OTLP");
        requests.map(|request| read(request.body)).collect()
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// Waits until there are so many spans, and returns them in the order of their start.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        eventually(&format!("{count} spans"), || {
            spans = self.spans();
            spans.len() >= count
        });
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }

    /// Waits for the only span.
    #[track_caller]
    pub fn wait_for_one(&self) -> Span {
        self.wait_for(1).remove(0)
    }
}

/// The value of an attribute as text; `None` if there is no such attribute.
pub fn value(attributes: &[KeyValue], key: &str) -> Option<String> {
    let mut found = attributes.iter().filter(|attribute| attribute.key == key);
    let first = found.next()?;
    assert!(found.next().is_none(), "two attributes {key}");
    Some(match first.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    })
}

/// Checks the values of attributes.
#[track_caller]
pub fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (key, expected) in expected {
        assert_eq!(value(&span.attributes, key).as_deref(), Some(*expected), "{key}: {span:#?}");
    }
}

/// The names of the events of a span.
pub fn events(span: &Span) -> Vec<&str> {
    span.events.iter().map(|event| event.name.as_str()).collect()
}

/// The digits of an id.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `traceparent` that has this span as parent.
pub fn parent_of(span: &Span, flags: &str) -> String {
    format!("00-{}-{}-{flags}", hex(&span.trace_id), hex(&span.span_id))
}
