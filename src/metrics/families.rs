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
        let (sum, count, buckets) = samples(self.workers.iter().map(|worker| of(worker)));
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        family.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
    }

    /// Writes a family of histograms, in seconds. `of` gives each worker's histogram for a row; rows that no worker has are
    /// left out.
    pub(crate) fn histograms<const N: usize, V: EncodeLabelValue, R>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'static str, V); N], R)>,
        of: impl for<'w> Fn(&'w WorkerMetrics, &R) -> Option<&'w Histogram>,
    ) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, row) in rows {
            let mut all = self.workers.iter().filter_map(|worker| of(worker, &row)).peekable();
            if all.peek().is_some() {
                let (sum, count, buckets) = samples(all);
                family
                    .encode_family(&labels)?
                    .encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

/// The samples of several histograms together: the sum in seconds, the count, and the buckets with their bounds in seconds.
fn samples<'h>(all: impl Iterator<Item = &'h Histogram>) -> (f64, u64, Vec<(f64, u64)>) {
    let bounds = BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
    let mut buckets: Vec<_> = bounds.map(|bound| (bound, 0)).collect();
    let mut micros = 0;
    for histogram in all {
        micros += histogram.sum_micros.get();
        for (bucket, counter) in buckets.iter_mut().zip(&histogram.buckets) {
            bucket.1 += counter.get();
        }
    }
    (micros as f64 / 1e6, buckets.iter().map(|(_, count)| count).sum(), buckets)
}
