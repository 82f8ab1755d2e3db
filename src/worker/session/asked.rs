//! What a client asked for, for the line that says why it was refused.

use crate::metrics::RequestRoute;
use crate::proto::http::trace_context::TraceId;
use crate::shared::record::{Record, Summary};
use std::net::IpAddr;

/// A request, as far as the line of its refusal shows it.
#[derive(Debug, Default)]
pub(crate) struct Asked<'r> {
    /// The trace that it belongs to.
    pub(crate) trace: Option<TraceId>,
    /// The route, in the words of the metrics; empty if there is none.
    pub(crate) route: &'static str,
    /// The app and its contexts.
    pub(crate) app: &'r str,
    pub(crate) stream: &'r str,
    /// The target, redacted.
    pub(crate) target: &'r str,
    /// The web origin of its page.
    pub(crate) origin: Option<&'r str>,
    pub(crate) hints: Hints,
}

/// What is known of the reason for a refusal beside its code.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Hints {
    /// The node that was not admitted or did not take the request.
    pub(crate) node: Option<IpAddr>,
    /// The HTTP status of the node, if its answer was of no use.
    pub(crate) node_status: Option<u16>,
    /// What is behind the refusal, if its code does not say it: the key or the bound that was reached, or what an answer lacks.
    pub(crate) limit: Option<&'static str>,
}

impl<'r> Asked<'r> {
    /// The newest request of a record.
    pub(crate) fn of(record: &'r Record, hints: Hints) -> Self {
        let Summary { traced, route, app, stream, target, .. } = Summary::of(record.last_request());
        let route = route.filter(|route| *route != RequestRoute::Other);
        let origin = record.origin.as_deref();
        let trace = traced.map(|traced| traced.trace);
        Self { trace, route: route.map_or("", RequestRoute::word), app, stream, target, origin, hints }
    }
}
