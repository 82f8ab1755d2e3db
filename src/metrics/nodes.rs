//! The numbers of one node, and their families on the page.

use crate::metrics::counters::{BUCKETS_MICROS, Counter, Gauge, Histogram};
use crate::metrics::families::Families;
use crate::metrics::labels::DialOutcome;
use prometheus_client::metrics::MetricType;
use std::fmt::Error;
use std::sync::Arc;
use std::time::Duration;

/// The outcomes of a dial that are failures of a node, or of the way to it. In the order of their counters.
pub const NODE_FAILURES: [DialOutcome; 5] = [
    DialOutcome::Refused,
    DialOutcome::Timeout,
    DialOutcome::BadHandshake,
    DialOutcome::UpgradeTimeout,
    DialOutcome::Local,
];

/// The value of `node` for all nodes that have no label of their own.
pub const OTHER_NODES: &str = "other";

/// Upper bounds of the buckets of `tidegate_node_dial_seconds`, as indices of [`BUCKETS_MICROS`]: fewer than elsewhere, because
/// each node has them.
const DIAL_BUCKETS: [usize; 8] = [3, 5, 7, 9, 10, 11, 12, 13];

/// The numbers of one node, or of several together. Workers write them at each dial, never at a frame.
#[derive(Debug, Default)]
pub struct NodeMetrics {
    dials: Counter,
    failures: [Counter; NODE_FAILURES.len()],
    sessions: Gauge,
    dial: Histogram,
}

impl NodeMetrics {
    /// Counts a dial that took `took`; `None` if it was given up before its end.
    pub fn count_dial(&self, outcome: DialOutcome, took: Option<Duration>) {
        self.dials.add(1);
        if let Some(index) = NODE_FAILURES.iter().position(|failure| *failure == outcome) {
            self.failures[index].add(1);
        }
        took.inspect(|took| self.dial.observe(*took));
    }

    /// Counts a session at the node: 1 at its begin, -1 at its end.
    pub fn count_session(&self, change: i64) {
        self.sessions.add(change);
    }

    /// Dials so far, whatever their outcome.
    pub fn dials(&self) -> u64 {
        self.dials.get()
    }

    /// Sessions at the node now.
    pub fn sessions(&self) -> i64 {
        self.sessions.get()
    }

    /// Dials that ended in one of [`NODE_FAILURES`].
    pub fn failures(&self) -> u64 {
        self.failures.iter().map(Counter::get).sum()
    }

    /// Dials that ended in one of [`NODE_FAILURES`], by that outcome.
    pub fn failures_by_outcome(&self) -> impl Iterator<Item = (DialOutcome, u64)> {
        NODE_FAILURES.iter().copied().zip(self.failures.iter().map(Counter::get))
    }

    /// The duration in microseconds that a share of `part` of 1 of all dials did not exceed; `None` without dials.
    pub fn dial_quantile_micros(&self, part: f64) -> Option<f64> {
        self.dial.quantile_micros(part)
    }

    /// Adds everything that was counted in `other`.
    pub fn absorb(&self, other: &Self) {
        self.dials.add(other.dials.get());
        for (sum, failures) in self.failures.iter().zip(&other.failures) {
            sum.add(failures.get());
        }
        self.sessions.add(other.sessions.get());
        self.dial.absorb(&other.dial);
    }
}

/// One node on the page.
#[derive(Debug, Clone)]
pub struct NodeRow {
    /// Its address, or [`OTHER_NODES`].
    pub node: String,
    /// How many nodes of the row are in quarantine now: 0 or 1 but for [`OTHER_NODES`].
    pub quarantined: u64,
    /// What was counted.
    pub metrics: Arc<NodeMetrics>,
}

impl NodeRow {
    // there is one cluster
    fn labels(&self) -> [(&'static str, &str); 2] {
        [("cluster", "default"), ("node", &self.node)]
    }
}

/// Writes the families of `tidegate_node_*`.
pub(crate) fn write(families: &mut Families<'_, '_>, rows: &[NodeRow]) -> Result<(), Error> {
    let dials = rows.iter().map(|row| (row.labels(), row.metrics.dials()));
    families.counters("tidegate_node_dials", "Dials of a node, whatever their result", dials)?;
    let failures = rows.iter().flat_map(|row| {
        NODE_FAILURES.iter().zip(&row.metrics.failures).map(move |(outcome, count)| {
            let [cluster, node] = row.labels();
            ([cluster, node, ("outcome", outcome.word())], count.get())
        })
    });
    families.counters("tidegate_node_failures", "Dials of a node that failed, by result", failures)?;
    let sessions = rows.iter().map(|row| (row.labels(), row.metrics.sessions()));
    families.gauges("tidegate_node_sessions_active", "Sessions at a node that are open now", sessions)?;
    let quarantined = rows.iter().map(|row| (row.labels(), row.quarantined));
    families.gauges(
        "tidegate_node_quarantined",
        "Whether a node is avoided because it failed",
        quarantined,
    )?;
    let help = "Seconds from connect to the node's 101 or to its whole answer";
    let name = "tidegate_node_dial_seconds";
    let mut family = families.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for row in rows {
        let (sum, buckets) = shown(&row.metrics.dial, &DIAL_BUCKETS.map(|index| BUCKETS_MICROS[index]));
        let count = buckets.iter().map(|(_, count)| count).sum();
        let labels = row.labels();
        family.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
    }
    Ok(())
}

/// The sum of a histogram in seconds, and the counts between these bounds, which are some of [`BUCKETS_MICROS`].
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

    #[test]
    fn a_dial_is_counted_by_what_it_says_of_the_node() {
        let node = NodeMetrics::default();
        node.count_dial(DialOutcome::Connected, Some(Duration::from_millis(2)));
        node.count_dial(DialOutcome::Refused, Some(Duration::from_millis(1)));
        node.count_dial(DialOutcome::Cancelled, None);
        node.count_dial(DialOutcome::Exhausted, Some(Duration::ZERO));
        assert_eq!((node.dials(), node.failures()), (4, 1));
        let sum = NodeMetrics::default();
        sum.absorb(&node);
        sum.absorb(&node);
        assert_eq!((sum.dials(), sum.failures()), (8, 2));
        assert_eq!(sum.dial.buckets.iter().map(Counter::get).sum::<u64>(), 6);
        assert_eq!(sum.dial.sum_micros.get(), 6_000);
    }

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
