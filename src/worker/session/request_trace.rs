//! The steps of a request's trace: it begins or is taken over, a WHIP session hands it on, and the exporter gets what is over.

use crate::proto::http::head::Request;
use crate::proto::http::trace_context::{SpanId, TraceFields};
#[cfg(feature = "otel")]
use crate::shared::clock::wall_time;
use crate::shared::record::archive::Archived;
use crate::shared::record::{Event, Record, Summary, Traced};
#[cfg(feature = "otel")]
use crate::shared::spans::Finished;
use crate::shared::whip_sessions::WhipSession;
use crate::worker::local::state::Worker;
use crate::worker::session::context::Session;
use crate::worker::session::trace::{Trace, fields_of, is_on};
use std::time::Duration;

impl Session {
    /// Begins the trace of a request, or takes it from the request.
    pub(crate) fn begin_trace(&self, request: &Request<'_>) {
        let came = TraceFields::read(request.traceparent, request.tracestate.as_deref());
        let sample = {
            let revision = self.revision();
            is_on(&revision.config).then_some(revision.config.tracing.sample)
        };
        self.set_trace(Trace::of(came, sample, || self.worker.random()));
    }

    /// Makes a request about a WHIP session a part of the session's trace, unless the client said which trace it belongs to.
    pub(crate) fn join_trace(&self, whip_session: &WhipSession) {
        let from_client = self.trace.borrow().as_ref().is_none_or(|trace| trace.parent.is_some());
        if from_client || !is_on(&self.revision().config) {
            return;
        }
        let record = whip_session.record();
        let fields = Summary::of(record.events()).traced.filter(|traced| traced.span.is_some());
        let fields = fields.as_ref().and_then(fields_of);
        drop(record);
        self.set_trace(fields.map(|fields| Trace::child(fields, SpanId(self.worker.random().to_be_bytes()))));
    }

    /// Sets the trace and notes it. Without one the present trace stays.
    fn set_trace(&self, trace: Option<Trace>) {
        let Some(trace) = trace else { return };
        self.note(&Event::Traced(trace.traced()));
        self.trace.replace(Some(Box::new(trace)));
    }

    /// What nodes and stream managers get of the present request's trace.
    pub(crate) fn trace_fields(&self) -> Option<TraceFields> {
        self.trace.borrow().as_ref().map(|trace| trace.fields.clone())
    }
}

/// Sends the newest request of a session to the exporter, if its trace is recorded.
pub(crate) fn export_request(session: &Session) {
    #[cfg(feature = "otel")]
    if session.trace.borrow().as_ref().is_some_and(|trace| trace.span.is_some()) {
        export(session);
    }
    #[cfg(not(feature = "otel"))]
    let _ = session;
}

/// Sends a WebSocket that has ended to the exporter, if its trace is recorded.
pub(crate) fn export_websocket(session: &Session) {
    #[cfg(feature = "otel")]
    if is_on(&session.worker.newest().config) {
        export(session);
    }
    #[cfg(not(feature = "otel"))]
    let _ = session;
}

#[cfg(feature = "otel")]
fn export(session: &Session) {
    let record = session.wake_handle.info.record.borrow();
    if is_recorded_in(&record) {
        let began = wall_time(session.accepted);
        let record = record.of_last_request();
        session.worker.gateway.spans.add(Finished { id: session.id, began, whip_session: false, record });
    }
}

/// Sends a WHIP session that has ended to the exporter, if its trace is recorded.
pub(crate) fn export_whip_session(worker: &Worker, archived: &Archived) {
    #[cfg(feature = "otel")]
    if is_on(&worker.newest().config) && is_recorded_in(&archived.record) {
        let Archived { id, began, ref record } = *archived;
        worker.gateway.spans.add(Finished { id, began, whip_session: true, record: record.clone() });
    }
    #[cfg(not(feature = "otel"))]
    let _ = (worker, archived);
}

/// Whether the newest request of a record has a span.
#[cfg(feature = "otel")]
fn is_recorded_in(record: &Record) -> bool {
    Summary::of(record.last_request()).traced.is_some_and(|traced| traced.span.is_some())
}

/// What a node gets of the trace of a WHIP session, in a request of the gateway's own.
pub(crate) fn fields_of_whip_session(session: &WhipSession) -> Option<TraceFields> {
    let record = session.record();
    Summary::of(record.events()).traced.as_ref().and_then(fields_of)
}

/// Gives a WHIP session a span of its own, as a child of that of its POST, with which `record` begins. `at` is the present time
/// of the record.
pub(crate) fn begin_whip_span(worker: &Worker, record: &mut Record, at: Duration) {
    let Some(post) = Summary::of(record.events()).traced else { return };
    if let Some(parent) = post.span {
        let (trace, flags, state) = (post.trace, post.flags, post.state.to_owned());
        let span = Some(SpanId(worker.random().to_be_bytes()));
        record.note(at, &Event::Traced(Traced { trace, parent: Some(parent), span, flags, state: &state }));
    }
}
