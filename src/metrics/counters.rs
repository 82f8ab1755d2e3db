//! The three kinds of numbers: counter, gauge and histogram. All of them are relaxed atomics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n` to what was counted.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// What was counted since the start.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Replaces the value by `n`.
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }

    /// The value at this moment.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the histogram buckets, in microseconds; one more bucket takes what is longer.
pub const BUCKETS_MICROS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000,
    5_000_000,
];

/// A distribution of durations: how many fell into each bucket, and their sum.
#[derive(Debug, Default)]
pub struct Histogram {
    /// How many durations were at most the bound of this bucket and longer than the bound before it.
    pub buckets: [Counter; BUCKETS_MICROS.len() + 1],
    /// All durations together, in microseconds.
    pub sum_micros: Counter,
}

impl Histogram {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::get).sum()
    }

    /// Counts one duration in its bucket.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }

    /// Adds everything that was counted in `other`.
    pub fn absorb(&self, other: &Self) {
        for (sum, bucket) in self.buckets.iter().zip(&other.buckets) {
            sum.add(bucket.get());
        }
        self.sum_micros.add(other.sum_micros.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for micros in [100, 101, 5_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<_> = histogram.buckets.iter().map(Counter::get).collect();
        assert_eq!((counts[0], counts[1], counts[BUCKETS_MICROS.len()]), (1, 1, 1));
        assert_eq!(histogram.sum_micros.get(), 5_000_202);
    }
}
