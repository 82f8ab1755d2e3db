//! What became of spans that the exporter had to send to the collector.

use crate::metrics::counters::Counter;

/// What became of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanOutcome {
    /// The collector took it.
    Sent,
    /// It found no room, because the collector took none for too long, or the process ended before.
    Dropped,
    /// The collector refused it.
    Rejected,
}

impl SpanOutcome {
    /// All of them, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 3] = [Self::Sent, Self::Dropped, Self::Rejected];

    /// The value of its label in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
        }
    }
}

/// Counts spans by what became of them.
#[derive(Debug, Default)]
pub struct SpanMetrics([Counter; SpanOutcome::ALL.len()]);

impl SpanMetrics {
    /// Counts this many spans of an outcome.
    pub fn count(&self, outcome: SpanOutcome, spans: u64) {
        self.0[outcome as usize].add(spans);
    }

    /// How many there were so far.
    pub fn get(&self, outcome: SpanOutcome) -> u64 {
        self.0[outcome as usize].get()
    }
}
