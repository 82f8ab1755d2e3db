//! Records the flow of sessions, so that a page that is opened now shows the last 15 minutes, and passes each sample on to the
//! pages that are open.
//!
//! It keeps 450 samples of about 500 bytes, 256 KiB at most, whatever the gateway does. While no page is open, a sample costs
//! the control thread some microseconds.

use crate::control::admin::flow::{Sample, Totals};
use crate::control::admin::status;
use crate::control::process::state::ProcessState;
use crate::metrics::BUCKETS_MICROS;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;

/// The time between two samples.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// Most samples that are kept: those of 15 minutes.
const SAMPLES_MAX: usize = 450;

/// Most streams of events that are open at once, those of both listeners together.
pub(crate) const STREAMS_MAX: usize = 16;

/// A sample as it goes to all streams.
#[derive(Debug, Clone)]
pub(crate) struct Tick {
    /// Counts the samples since the start.
    pub(crate) number: u64,
    /// The sample and the status of the process, as JSON; empty while there is no stream.
    pub(crate) text: Arc<str>,
}

/// The recorded samples, and the way to the streams that follow them.
#[derive(Debug)]
pub(crate) struct Recorder {
    samples: Mutex<VecDeque<Sample>>,
    ticks: watch::Sender<Tick>,
    streams: Arc<Semaphore>,
}

impl Default for Recorder {
    fn default() -> Self {
        let (ticks, _) = watch::channel(Tick { number: 0, text: "".into() });
        Self { samples: Mutex::default(), ticks, streams: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }
}

impl Recorder {
    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        // every change leaves a list that is valid
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes samples for as long as the process lives. Call it on the control thread's runtime.
    pub(crate) async fn run(self: Arc<Self>, state: Arc<ProcessState>) {
        let mut before = Totals::now(&state);
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        interval.tick().await;
        loop {
            interval.tick().await;
            let now = Totals::now(&state);
            self.record(now.since(&before, &state), &state);
            before = now;
        }
    }

    fn record(&self, sample: Sample, state: &ProcessState) {
        let text = if self.ticks.receiver_count() > 0 {
            json!({ "sample": sample.to_json(), "status": status::to_json(state) }).to_string()
        } else {
            String::new()
        };
        let mut samples = self.samples();
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
        drop(samples);
        let number = self.ticks.borrow().number + 1;
        self.ticks.send_replace(Tick { number, text: text.into() });
    }

    /// Follows the samples from now on. `None` if there are too many streams; the permit is dropped at the end of the stream.
    pub(crate) fn follow(&self) -> Option<(watch::Receiver<Tick>, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok()?;
        Some((self.ticks.subscribe(), permit))
    }

    /// All samples that are kept, the oldest first, and how to read them.
    pub(crate) fn history(&self) -> Value {
        let samples: Vec<_> = self.samples().iter().map(Sample::to_json).collect();
        json!({
            "interval_seconds": INTERVAL.as_secs(),
            "kept_seconds": INTERVAL.as_secs() * SAMPLES_MAX as u64,
            "setup_bounds_seconds": BUCKETS_MICROS.map(|micros| micros as f64 / 1e6),
            "samples": samples,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> ProcessState {
        let text =
            "stream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{ chain = \"c\", key = \"k\" }]\n";
        let config = crate::config::read(text).expect("a good configuration");
        ProcessState::new(config, 2, Vec::new(), Vec::new())
    }

    #[test]
    fn the_history_goes_back_fifteen_minutes_in_256_kib() {
        let (recorder, state) = (Recorder::default(), state());
        let before = Totals::now(&state);
        for _ in 0..SAMPLES_MAX + 50 {
            recorder.record(Totals::now(&state).since(&before, &state), &state);
        }
        let kept = recorder.samples();
        let bytes: usize = kept.iter().map(Sample::size).sum();
        assert_eq!(kept.len() * usize::try_from(INTERVAL.as_secs()).expect("small"), 900);
        assert!(bytes <= 256 << 10, "{bytes} bytes");
        assert!(recorder.ticks.borrow().text.is_empty(), "no stream follows");
    }

    #[test]
    fn streams_are_bounded_and_one_that_ends_makes_room() {
        let (recorder, state) = (Recorder::default(), state());
        let mut streams: Vec<_> =
            (0..STREAMS_MAX).map(|_| recorder.follow().expect("there is room")).collect();
        assert!(recorder.follow().is_none());
        streams.pop();
        let (mut ticks, _permit) = recorder.follow().expect("there is room again");
        let before = Totals::now(&state);
        recorder.record(Totals::now(&state).since(&before, &state), &state);
        assert!(ticks.has_changed().expect("it goes on"));
        let tick = ticks.borrow_and_update().clone();
        assert!(tick.number == 1 && tick.text.contains("\"status\":{"), "{}", tick.text);
    }
}
