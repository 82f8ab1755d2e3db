//! Writes the families of `/metrics`: one name with its type and help, and a sample for each value of its labels.

use crate::metrics::counters::{BUCKETS_MICROS, Counter, Histogram};
use crate::metrics::worker::WorkerMetrics;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use std::fmt::Error;
use std::sync::Arc;

/// For a family with one sample.
pub(crate) const NO_LABELS: [(&str, &str); 0] = [];

/// Writes families of one page; samples are summed over the workers.
pub(crate) struct Families<'e, 'w> {
    pub(crate) encoder: DescriptorEncoder<'e>,
    pub(crate) workers: &'w [Arc<WorkerMetrics>],
}

impl Families<'_, '_> {
    /// One counter, summed over the workers.
    pub(crate) fn sum(&self, of: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| of(worker).get()).sum()
    }

    /// Writes a family of counters; the encoder adds the suffix `_total` to `name`.
    pub(crate) fn counters<const N: usize, V: EncodeLabelValue, T: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, V); N], T)>,
    ) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            let no_exemplar: Option<&Exemplar<[(&str, &str); 0], f64>> = None;
            if N == 0 {
                family.encode_counter(&value, no_exemplar)?;
            } else {
                family.encode_family(&labels)?.encode_counter(&value, no_exemplar)?;
            }
        }
        Ok(())
    }

    /// Writes a family of gauges.
    pub(crate) fn gauges<const N: usize, V: EncodeLabelValue, T: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, V); N], T)>,
    ) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            if N == 0 {
                family.encode_gauge(&value)?;
            } else {
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    /// Writes a histogram without labels, in seconds.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        of: fn(&WorkerMetrics) -> &Histogram,
    ) -> Result<(), Error> {
        let sum = Histogram::default();
        self.workers.iter().for_each(|worker| sum.absorb(of(worker)));
        self.histograms(name, help, &BUCKETS_MICROS, [(NO_LABELS, &sum)])
    }

    /// Writes a family of histograms, in seconds. `bounds` are the buckets that are shown, in microseconds: all or some of
    /// [`BUCKETS_MICROS`], in their order.
    pub(crate) fn histograms<'h, const N: usize, V: EncodeLabelValue>(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[u64],
        rows: impl IntoIterator<Item = ([(&'static str, V); N], &'h Histogram)>,
    ) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in rows {
            let (sum, buckets) = shown(histogram, bounds);
            let count = buckets.iter().map(|(_, count)| count).sum();
            if N == 0 {
                family.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
            } else {
                let mut row = family.encode_family(&labels)?;
                row.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

/// The sum of a histogram in seconds, and the counts between these bounds, which are given in microseconds.
fn shown(histogram: &Histogram, bounds: &[u64]) -> (f64, Vec<(f64, u64)>) {
    let limits = bounds.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
    let mut buckets: Vec<_> = limits.map(|limit| (limit, 0)).collect();
    for (index, counted) in histogram.buckets.iter().enumerate() {
        let upper = BUCKETS_MICROS.get(index).copied().unwrap_or(u64::MAX);
        let at = bounds.partition_point(|bound| *bound < upper);
        buckets[at].1 += counted.get();
    }
    (histogram.sum_micros.get() as f64 / 1e6, buckets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn fewer_buckets_have_the_same_counts() {
        let histogram = Histogram::default();
        for micros in [90, 900, 1_000, 1_001, 6_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (sum, buckets) = shown(&histogram, &[1_000, 1_000_000]);
        assert_eq!(buckets, [(0.001, 3), (1.0, 1), (f64::INFINITY, 1)]);
        assert!((sum - 6.002_991).abs() < 1e-9);
        assert_eq!(shown(&histogram, &BUCKETS_MICROS).1.len(), BUCKETS_MICROS.len() + 1);
    }
}
