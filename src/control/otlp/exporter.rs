//! The thread that takes finished requests and sessions out of the queue and sends their spans to the collector.
//!
//! One request to the collector is under way at a time. A collector that can't be reached gets the same batch again, after waits
//! that double; meanwhile the queue fills. A collector that refuses a batch does not get it again.

use crate::control::otlp::collector::{Collector, Failed};
use crate::control::otlp::span::span;
use crate::metrics::SpanOutcome;
use crate::shared::gateway::Gateway;
use crate::shared::spans::{ExporterCommand, Finished};
use futures_channel::mpsc::UnboundedReceiver;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::Notify;

/// How long the exporter waits before it looks into an empty queue again.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Most spans in one request to the collector; the SDKs of OpenTelemetry have the same number.
const BATCH_MAX: usize = 512;

/// The first wait before a batch is sent again, and the longest one.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long the end of the process waits for the collector, if spans wait for it.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The running exporter.
pub(crate) struct Exporter {
    gateway: Arc<Gateway>,
    thread: JoinHandle<()>,
}

impl Exporter {
    /// Starts the thread. Fails if the thread or its runtime can't be had.
    pub(crate) fn start(gateway: Arc<Gateway>) -> io::Result<Self> {
        let end = gateway.spans.take_end().ok_or(io::ErrorKind::AlreadyExists)?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let export = Export::new(Arc::clone(&gateway), end.finished);
        // before the first request
        gateway.spans.set_open(export.collector.is_some());
        let thread = thread::Builder::new()
            .name("tidegate-otel".to_owned())
            .spawn(move || runtime.block_on(run(export, end.commands)))?;
        Ok(Self { gateway, thread })
    }

    /// Exports what waits, within [`FLUSH_TIMEOUT`], and ends the thread. The workers have to have ended.
    pub(crate) fn finish(self) {
        self.gateway.spans.command(ExporterCommand::Finish(Instant::now() + FLUSH_TIMEOUT));
        let _ = self.thread.join();
    }
}

/// Exports until the process ends.
async fn run(mut export: Export, mut commands: UnboundedReceiver<ExporterCommand>) {
    loop {
        let ends = Ends::default();
        let command = {
            let work = pin!(export.work(&ends));
            match select(work, commands.next()).await {
                Either::Left(((), _)) => return,
                Either::Right((Some(ExporterCommand::Finish(deadline)), work)) => {
                    ends.soon.set(true);
                    ends.notify.notify_one();
                    // what is left then is counted
                    let _ = tokio::time::timeout_at(deadline.into(), work).await;
                    None
                }
                Either::Right((command, _)) => command,
            }
        };
        match command {
            // a batch that was under way is sent again
            Some(ExporterCommand::Revised) => export.configure(),
            Some(ExporterCommand::Finish(_)) | None => return export.drop_rest(),
        }
    }
}

/// Whether the process ends soon: then nothing is waited for but the collector's answers.
#[derive(Default)]
struct Ends {
    soon: Cell<bool>,
    notify: Notify,
}

impl Ends {
    /// Sleeps, until the process ends soon.
    async fn sleep(&self, time: Duration) {
        if !self.soon.get() {
            let (sleep, notified) = (pin!(tokio::time::sleep(time)), pin!(self.notify.notified()));
            select(sleep, notified).await;
        }
    }
}

/// Spans as the collector gets them.
struct Batch {
    body: Vec<u8>,
    spans: u64,
}

/// What the exporter works with.
struct Export {
    gateway: Arc<Gateway>,
    finished: UnboundedReceiver<Finished>,
    collector: Option<Collector>,
    /// What was not taken yet.
    batch: Option<Batch>,
    /// The next wait before it is sent again.
    retry: Duration,
    /// Set while the collector takes no spans: how many were dropped before.
    failing: Option<u64>,
}

impl Export {
    fn new(gateway: Arc<Gateway>, finished: UnboundedReceiver<Finished>) -> Self {
        let collector = Collector::of(&gateway.newest().config);
        Self { gateway, finished, collector, batch: None, retry: RETRY_FIRST, failing: None }
    }

    /// Takes over the newest configuration. Spans that wait go to the new collector; without one they are dropped.
    fn configure(&mut self) {
        let config = &self.gateway.newest().config;
        if self.collector.as_ref().is_some_and(|collector| collector.is_configured_by(config)) {
            return;
        }
        self.collector = Collector::of(config);
        (self.retry, self.failing) = (RETRY_FIRST, None);
        self.gateway.spans.set_open(self.collector.is_some());
        if self.collector.is_none() {
            self.drop_rest();
        }
    }

    /// Sends spans for as long as there is a collector, and until the queue is empty when the process ends soon.
    async fn work(&mut self, ends: &Ends) {
        while !(self.collector.is_none() && ends.soon.get()) {
            let Some(collector) = &self.collector else {
                ends.notify.notified().await;
                continue;
            };
            let batch = match self.batch.take() {
                Some(batch) => Some(batch),
                None => next_batch(&self.gateway, &mut self.finished, collector),
            };
            let Some(batch) = batch else {
                if ends.soon.get() {
                    return;
                }
                ends.sleep(LOOK_INTERVAL).await;
                continue;
            };
            // stored, since this future may be dropped while it waits
            let batch = self.batch.insert(batch);
            match collector.send(&batch.body).await {
                Ok(rejected) => self.on_taken(rejected),
                Err(failed) => {
                    let wait = self.on_failed(&failed);
                    if self.batch.is_some() && ends.soon.get() {
                        return;
                    }
                    if let Some(wait) = wait {
                        ends.sleep(wait).await;
                    }
                }
            }
        }
    }

    /// Notes that the collector has taken the batch but for `rejected` spans.
    fn on_taken(&mut self, rejected: u64) {
        let spans = self.batch.take().map_or(0, |batch| batch.spans);
        let metrics = &self.gateway.spans.metrics;
        let rejected = rejected.min(spans);
        metrics.count(SpanOutcome::Sent, spans - rejected);
        metrics.count(SpanOutcome::Rejected, rejected);
        self.retry = RETRY_FIRST;
        if let Some(before) = self.failing.take() {
            let lost = self.lost() - before;
            tracing::info!(lost, "the collector takes spans again");
        }
    }

    /// Notes that the collector has not taken the batch. The result is the wait before it is sent again; `None` if it is not.
    fn on_failed(&mut self, failed: &Failed) -> Option<Duration> {
        if self.failing.is_none() {
            self.failing = Some(self.lost());
            let collector = self.collector.as_ref().map(Collector::url).unwrap_or_default();
            let cause = &failed.cause;
            tracing::warn!(
                collector,
                "the collector takes no spans: {cause}; metrics count those that are lost"
            );
        }
        if !failed.again {
            let spans = self.batch.take().map_or(0, |batch| batch.spans);
            self.gateway.spans.metrics.count(SpanOutcome::Rejected, spans);
            return None;
        }
        let wait = failed.after.unwrap_or(self.retry).min(RETRY_MAX);
        self.retry = (self.retry * 2).min(RETRY_MAX);
        Some(wait)
    }

    /// Spans that are lost so far.
    fn lost(&self) -> u64 {
        let metrics = &self.gateway.spans.metrics;
        metrics.get(SpanOutcome::Dropped) + metrics.get(SpanOutcome::Rejected)
    }

    /// Drops and counts everything that waits.
    fn drop_rest(&mut self) {
        let mut spans = self.batch.take().map_or(0, |batch| batch.spans);
        while let Ok(finished) = self.finished.try_recv() {
            self.gateway.spans.note_taken(&finished);
            spans += 1;
        }
        if spans > 0 {
            self.gateway.spans.metrics.count(SpanOutcome::Dropped, spans);
            tracing::warn!(spans, "spans were dropped: their collector did not take them");
        }
    }
}

/// The next spans of the queue; `None` if it is empty.
fn next_batch(
    gateway: &Gateway,
    finished: &mut UnboundedReceiver<Finished>,
    collector: &Collector,
) -> Option<Batch> {
    let mut spans = Vec::new();
    while spans.len() < BATCH_MAX
        && let Ok(one) = finished.try_recv()
    {
        gateway.spans.note_taken(&one);
        spans.extend(span(&one));
    }
    let count = spans.len() as u64;
    (count > 0).then(|| Batch { body: collector.encode(spans), spans: count })
}
