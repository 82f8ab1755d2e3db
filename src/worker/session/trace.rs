//! The trace that a request belongs to: taken from its `traceparent`, or begun here where the gateway traces. It goes on to the
//! node and the stream manager.
//!
//! A trace that the client's side records is always recorded here too, and one that it does not record never is; of those that
//! begin here `tracing.sample` says how many are.

use crate::config::Config;
use crate::proto::http::trace_context::{SpanId, TraceFields, TraceId, TraceParent};
use crate::shared::record::Traced;

/// The trace of a request, and the place of the request in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The client's span.
    pub(super) parent: Option<SpanId>,
    /// The request's own span, if there is one.
    pub(super) span: Option<SpanId>,
    /// What nodes and stream managers get.
    pub(super) fields: TraceFields,
}

/// Whether the gateway makes spans. Without the feature the compiler removes all that depends on it.
pub(super) const fn is_on(config: &Config) -> bool {
    cfg!(feature = "otel") && config.tracing.endpoint.is_some()
}

impl Trace {
    /// The trace of a request that came with these fields. `sample` is the share of new traces to record; `None` if the gateway
    /// makes no spans.
    pub(super) fn of(
        came: Option<TraceFields>,
        sample: Option<f64>,
        random: impl Fn() -> u64,
    ) -> Option<Self> {
        let new_span = || SpanId(random().to_be_bytes());
        match (came, sample) {
            (Some(came), Some(_)) if came.parent.is_sampled() => Some(Self::child(came, new_span())),
            (Some(came), _) => Some(Self { parent: Some(came.parent.span), span: None, fields: came }),
            (None, Some(share)) => {
                let (high, low) = (random(), random());
                let id = TraceId((u128::from(high) << 64 | u128::from(low)).to_be_bytes());
                let (span, sampled) = (new_span(), is_recorded(low, share));
                let parent = TraceParent::of_new_trace(id, span, sampled);
                let fields = TraceFields { parent, state: None };
                Some(Self { parent: None, span: sampled.then_some(span), fields })
            }
            (None, None) => None,
        }
    }

    /// The place of a request whose parent is recorded.
    pub(super) fn child(came: TraceFields, span: SpanId) -> Self {
        let parent = came.parent.with_span(span);
        Self { parent: Some(came.parent.span), span: Some(span), fields: TraceFields { parent, ..came } }
    }

    /// What a record notes of it.
    pub(super) fn traced(&self) -> Traced<'_> {
        let TraceFields { parent, state } = &self.fields;
        let state = state.as_deref().filter(|_| self.span.is_some()).unwrap_or_default();
        Traced { trace: parent.trace, parent: self.parent, span: self.span, flags: parent.flags(), state }
    }
}

/// Whether a new trace is among the `share` that is recorded, by the seven random bytes at the end of its id: everything that
/// decides by them decides the same.
fn is_recorded(low: u64, share: f64) -> bool {
    const STEPS: u64 = 1 << 56;
    ((low % STEPS) as f64) < share * STEPS as f64
}

/// What goes on of a trace that was noted.
pub(super) fn fields_of(traced: &Traced<'_>) -> Option<TraceFields> {
    let parent = TraceParent::new(traced.trace, traced.span.or(traced.parent)?, traced.flags);
    Some(TraceFields { parent, state: (!traced.state.is_empty()).then(|| traced.state.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";

    fn came(flag: char) -> TraceFields {
        let parent = format!("{PARENT}{flag}");
        TraceFields::read(Some(parent.as_bytes()), Some("a=b")).expect("a parent")
    }

    fn trace(came: Option<TraceFields>, sample: Option<f64>) -> Option<Trace> {
        let next = Cell::new(0x1111_1111_1111_1111);
        Trace::of(came, sample, || next.replace(next.get() + 1))
    }

    #[test]
    fn a_recorded_parent_is_followed_and_another_one_goes_on_unchanged() {
        let followed = trace(Some(came('3')), Some(0.0)).expect("a trace");
        assert_eq!(followed.fields.parent.to_string(), format!("{}1111111111111111-03", &PARENT[..36]));
        assert_eq!((followed.traced().span, followed.traced().state), (Some(SpanId([0x11; 8])), "a=b"));
        for (flag, sample) in [('0', Some(1.0)), ('0', None), ('1', None)] {
            let unchanged = trace(Some(came(flag)), sample).expect("a trace");
            assert_eq!((&unchanged.fields, unchanged.span), (&came(flag), None), "{flag} {sample:?}");
            assert_eq!(unchanged.traced().parent, Some(came(flag).parent.span));
        }
        assert_eq!(trace(None, None), None);
    }

    #[test]
    fn the_share_of_new_traces_that_are_recorded_is_the_configured_one() {
        let new = trace(None, Some(1.0)).expect("a trace");
        assert_eq!(new.fields.parent.to_string(), "00-11111111111111111111111111111112-1111111111111113-03");
        assert_eq!((new.parent, new.span), (None, Some(SpanId(0x1111_1111_1111_1113_u64.to_be_bytes()))));
        let none = trace(None, Some(0.0)).expect("a trace");
        assert_eq!((none.span, none.fields.parent.is_sampled()), (None, false));
        let mut random = 1_u64;
        let mut recorded = 0;
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            recorded += u32::from(is_recorded(random >> 5, 0.25));
        }
        assert!((2_200..2_800).contains(&recorded), "{recorded}");
    }
}
