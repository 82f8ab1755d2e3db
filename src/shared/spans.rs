//! Finished requests and sessions of recorded traces, on their way from the workers to the exporter.
//!
//! A worker puts a record into a queue and goes on: it never waits, and it wakes no thread. The exporter looks into the queue
//! from time to time and makes spans of the records. The queue is bounded in bytes; what finds no room is counted.

use crate::metrics::{SpanMetrics, SpanOutcome};
use crate::shared::record::Record;
use crate::shared::session_id::SessionId;
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// Memory of the records that wait, in bytes: some ten thousand of them.
const QUEUE_MAX: usize = 8 << 20;

/// A request or session of a recorded trace that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The id of its session.
    pub(crate) id: SessionId,
    /// When its connection was accepted.
    pub(crate) began: SystemTime,
    /// Whether it is a WHIP or WHEP session, as opposed to a request or a WebSocket.
    pub(crate) whip_session: bool,
    /// What happened in it.
    pub(crate) record: Record,
}

impl Finished {
    fn cost(&self) -> usize {
        // each node of the queue has two more pointers
        size_of::<Self>() + 16 + self.record.size()
    }
}

/// What the exporter is told.
#[derive(Debug)]
pub(crate) enum ExporterCommand {
    /// There is a newer revision.
    Revised,
    /// The process ends: export what waits, until this moment at most.
    Finish(Instant),
}

/// What the exporter takes: finished requests and sessions, and commands.
#[derive(Debug)]
pub(crate) struct ExporterEnd {
    pub(crate) finished: UnboundedReceiver<Finished>,
    pub(crate) commands: UnboundedReceiver<ExporterCommand>,
}

/// The queue to the exporter.
#[derive(Debug)]
pub(crate) struct Spans {
    queue: UnboundedSender<Finished>,
    commands: UnboundedSender<ExporterCommand>,
    /// The other end, until the exporter takes it.
    end: Mutex<Option<ExporterEnd>>,
    /// What the records that wait cost, in bytes.
    bytes: AtomicUsize,
    /// Whether there is a collector.
    open: AtomicBool,
    /// What became of them.
    pub(crate) metrics: SpanMetrics,
}

impl Default for Spans {
    fn default() -> Self {
        let ((queue, finished), (commands, received)) = (unbounded(), unbounded());
        Self {
            queue,
            commands,
            end: Mutex::new(Some(ExporterEnd { finished, commands: received })),
            bytes: AtomicUsize::new(0),
            open: AtomicBool::new(false),
            metrics: SpanMetrics::default(),
        }
    }
}

impl Spans {
    /// The exporter's end of the queue; `None` if it was taken before.
    pub(crate) fn take_end(&self) -> Option<ExporterEnd> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Opens or closes the queue. A closed one takes nothing.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Relaxed);
    }

    /// Queues a finished request or session. Never waits; without room it is dropped and counted.
    pub(crate) fn add(&self, finished: Finished) {
        if !self.open.load(Relaxed) {
            return;
        }
        let cost = finished.cost();
        let is_full = self.bytes.fetch_add(cost, Relaxed) + cost > QUEUE_MAX;
        if is_full || self.queue.unbounded_send(finished).is_err() {
            self.bytes.fetch_sub(cost, Relaxed);
            self.metrics.count(SpanOutcome::Dropped, 1);
        }
    }

    /// Notes that the exporter has taken this out of the queue.
    pub(crate) fn note_taken(&self, finished: &Finished) {
        self.bytes.fetch_sub(finished.cost(), Relaxed);
    }

    /// Tells the exporter something.
    pub(crate) fn command(&self, command: ExporterCommand) {
        // it fails when the exporter has ended
        let _ = self.commands.unbounded_send(command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RequestRoute;
    use crate::shared::record::Event;
    use std::time::Duration;

    fn finished() -> Finished {
        let mut record = Record::default();
        let (route, method, target) = (RequestRoute::Event, "GET", "/");
        record.note(
            Duration::ZERO,
            &Event::Requested { route, role: None, method, target, app: "", stream: "" },
        );
        Finished { id: SessionId(1), began: SystemTime::now(), whip_session: false, record }
    }

    #[test]
    fn the_queue_is_bounded_and_counts_what_finds_no_room() {
        let spans = Spans::default();
        let mut end = spans.take_end().expect("it is there once");
        assert!(spans.take_end().is_none());
        spans.add(finished());
        assert_eq!(spans.bytes.load(Relaxed), 0, "a closed queue takes nothing");
        spans.set_open(true);
        let fits = QUEUE_MAX / finished().cost();
        for _ in 0..fits + 10 {
            spans.add(finished());
        }
        assert_eq!(spans.metrics.get(SpanOutcome::Dropped), 10);
        assert!(spans.bytes.load(Relaxed) <= QUEUE_MAX);
        let mut taken = 0;
        while let Ok(one) = end.finished.try_recv() {
            spans.note_taken(&one);
            taken += 1;
        }
        assert_eq!((taken, spans.bytes.load(Relaxed)), (fits, 0));
        spans.add(finished());
        assert!(end.finished.try_recv().is_ok(), "there is room again");
    }
}
