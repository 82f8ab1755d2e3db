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

    /// The duration that a share of `part` of 1 of all counted ones did not exceed: see [`quantile_micros`].
    pub fn quantile_micros(&self, part: f64) -> Option<f64> {
        quantile_micros(&self.buckets.each_ref().map(Counter::get), part)
    }

    /// Adds everything that was counted in `other`.
    pub fn absorb(&self, other: &Self) {
        for (sum, bucket) in self.buckets.iter().zip(&other.buckets) {
            sum.add(bucket.get());
        }
        self.sum_micros.add(other.sum_micros.get());
    }
}

/// The duration in microseconds that a share of `part` of 1 of all durations in these buckets did not exceed, as Prometheus
/// estimates it: durations spread evenly in their bucket, and those beyond the last bound count as that bound. `None` if
/// there are no durations.
pub fn quantile_micros(buckets: &[u64; BUCKETS_MICROS.len() + 1], part: f64) -> Option<f64> {
    let rank = part * buckets.iter().sum::<u64>() as f64;
    let mut below = 0;
    for (index, count) in buckets.iter().enumerate() {
        if *count > 0 && (below + count) as f64 >= rank {
            let lower = index.checked_sub(1).map_or(0, |index| BUCKETS_MICROS[index]) as f64;
            let upper = BUCKETS_MICROS.get(index).map_or(lower, |bound| *bound as f64);
            return Some(lower + (upper - lower) * (rank - below as f64) / *count as f64);
        }
        below += count;
    }
    None
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

    #[test]
    fn a_quantile_lies_in_the_bucket_of_its_rank() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile_micros(0.5), None);
        for _ in 0..99 {
            histogram.observe(Duration::from_micros(200));
        }
        histogram.observe(Duration::from_secs(60));
        let [half, last] = [0.5, 0.995].map(|part| histogram.quantile_micros(part).expect("durations"));
        assert!((100.0..250.0).contains(&half), "{half}");
        assert!((last - 5e6).abs() < 1.0, "what is longer than the last bound counts as it: {last}");
    }
}
