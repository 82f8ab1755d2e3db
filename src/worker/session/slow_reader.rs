//! How long a client may take to read an answer, and what all such clients may hold.

use crate::metrics::WorkerMetrics;
use std::time::{Duration, Instant};

/// How long a client may take nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client has to take this many bytes a second on average, 64 kbit/s, beside one [`WRITE_TIMEOUT`]. Without it a client
/// that takes a byte now and then would hold its session and the answer for ever.
const BYTES_PER_SECOND_MIN: usize = 8 * 1024;

/// When the clients of a worker that read slowly hold this many bytes, each of them has one [`WRITE_TIMEOUT`] for its whole
/// answer: memory is worth more than the slowest readers then. That is 16 of the longest answers.
const HELD_MAX: i64 = 64 << 20;

/// A client that did not take its answer at once. The answer counts as held until this is dropped.
pub(crate) struct SlowReader<'m> {
    metrics: &'m WorkerMetrics,
    length: usize,
    began: Instant,
    /// When the client took bytes last.
    took: Instant,
}

impl<'m> SlowReader<'m> {
    /// A client that begins to read an answer of `length` bytes now.
    pub(crate) fn begin(metrics: &'m WorkerMetrics, length: usize) -> Self {
        metrics.buffers_lent_bytes.add(signed(length));
        let now = Instant::now();
        Self { metrics, length, began: now, took: now }
    }

    /// Notes that the client took bytes now.
    pub(crate) fn took(&mut self) {
        self.took = Instant::now();
    }

    /// Until when the client has to take more.
    pub(crate) fn deadline(&self) -> Instant {
        let crowded = self.metrics.buffers_lent_bytes.get() > HELD_MAX;
        deadline(self.began, self.took, self.length, crowded)
    }
}

impl Drop for SlowReader<'_> {
    fn drop(&mut self) {
        self.metrics.buffers_lent_bytes.add(-signed(self.length));
    }
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn deadline(began: Instant, took: Instant, length: usize, crowded: bool) -> Instant {
    if crowded {
        return began + WRITE_TIMEOUT;
    }
    let seconds = (length / BYTES_PER_SECOND_MIN) as u64;
    (took + WRITE_TIMEOUT).min(began + WRITE_TIMEOUT + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_write_timeout_counts_from_write_to_write_within_the_time_of_the_slowest_rate() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let list = 4 << 20;
        assert_eq!(deadline(began, began, list, false), after(10), "nothing taken");
        assert_eq!(deadline(began, after(300), list, false), after(310), "a slow reader");
        assert_eq!(deadline(began, after(520), list, false), after(522), "one byte now and then");
        assert_eq!(deadline(began, after(9), 200, false), after(10), "a short answer");
        assert_eq!(deadline(began, after(9), list, true), after(10), "too many slow readers");
    }

    #[test]
    fn an_answer_that_a_client_reads_slowly_is_counted_until_it_is_sent() {
        let metrics = WorkerMetrics::default();
        let (one, two) = (SlowReader::begin(&metrics, 5), SlowReader::begin(&metrics, 7));
        assert_eq!(metrics.buffers_lent_bytes.get(), 12);
        drop((one, two));
        assert_eq!(metrics.buffers_lent_bytes.get(), 0);
    }
}
