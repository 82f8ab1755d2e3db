//! The events of a record as events of its span.

use crate::control::otlp::attributes::{address, number, text};
use crate::proto::websocket::frame::Side;
use crate::shared::record::Event;
use opentelemetry_proto::tonic::common::v1::KeyValue;

/// The name of an event and its attributes; `None` for an event that the attributes of the span tell all of.
pub(super) fn event(event: &Event<'_>) -> Option<(&'static str, Vec<KeyValue>)> {
    Some(match *event {
        Event::Accepted { .. } | Event::Secured { .. } | Event::Inherited { .. } | Event::Traced(_) => {
            return None;
        }
        Event::Requested { method, .. } => ("tidegate.requested", vec![text("http.request.method", method)]),
        Event::Asked { by, status, nodes, took } => {
            let mut attributes = vec![
                text("tidegate.cache", by.word()),
                number("tidegate.nodes", nodes),
                number("tidegate.took_us", took),
            ];
            attributes.extend(status_code(status));
            ("tidegate.manager.asked", attributes)
        }
        Event::Tried { node, outcome, status, took } => {
            let mut attributes =
                vec![text("tidegate.outcome", outcome.word()), number("tidegate.took_us", took)];
            attributes.extend(address("server", node));
            attributes.extend(status.and_then(status_code));
            ("tidegate.node.tried", attributes)
        }
        Event::Answered { status, refusal, bytes } => {
            let mut attributes = vec![number("tidegate.bytes", bytes)];
            attributes.extend(status_code(status));
            attributes.extend(refusal.map(|refusal| text("tidegate.code", refusal.code())));
            ("tidegate.answered", attributes)
        }
        Event::Left => ("tidegate.client.left", Vec::new()),
        _ => return relayed(event),
    })
}

/// The same for what happens in a relay or a WHIP session.
fn relayed(event: &Event<'_>) -> Option<(&'static str, Vec<KeyValue>)> {
    Some(match *event {
        Event::FirstFrame { from, size } => {
            ("tidegate.first_frame", vec![text("tidegate.from", side(from)), number("tidegate.bytes", size)])
        }
        Event::Signalled { from, signal, size } => (
            "tidegate.signalled",
            vec![
                text("tidegate.from", side(from)),
                text("tidegate.signal", signal.words()),
                number("tidegate.bytes", size),
            ],
        ),
        Event::WantedStream { stream } => ("tidegate.stream.wanted", vec![text("tidegate.stream", stream)]),
        Event::Stalled { to, bytes } => {
            ("tidegate.stalled", vec![text("tidegate.to", side(to)), number("tidegate.bytes", bytes)])
        }
        Event::Flowing { to, millis } => {
            ("tidegate.flowing", vec![text("tidegate.to", side(to)), number("tidegate.stalled_ms", millis)])
        }
        Event::Closed { from, code } => {
            let mut attributes = vec![text("tidegate.from", side(from))];
            attributes.extend(code.map(|code| number("tidegate.close_code", code)));
            ("tidegate.closed", attributes)
        }
        Event::SentClose { to, code } => {
            ("tidegate.close.sent", vec![text("tidegate.to", side(to)), number("tidegate.close_code", code)])
        }
        Event::Ended { by, how, pings, .. } => (
            "tidegate.ended",
            vec![
                text("tidegate.end.by", by.word()),
                text("tidegate.end.how", how.word()),
                number("tidegate.pings", pings),
            ],
        ),
        Event::WhipEnded { how } => (
            "tidegate.ended",
            vec![text("tidegate.end.by", how.by().word()), text("tidegate.end.how", how.word())],
        ),
        Event::Accepted { .. }
        | Event::Secured { .. }
        | Event::Requested { .. }
        | Event::Asked { .. }
        | Event::Tried { .. }
        | Event::Answered { .. }
        | Event::Left
        | Event::Inherited { .. }
        | Event::Traced(_) => return None,
    })
}

/// The status of an answer; 0 stands for none.
fn status_code(status: u16) -> Option<KeyValue> {
    (status != 0).then(|| number("http.response.status_code", status))
}

/// The word for a side of a relay.
const fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Node => "node",
    }
}
