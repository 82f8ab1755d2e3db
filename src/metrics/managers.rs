//! The numbers of each stream manager, and their families.

use crate::metrics::counters::{BUCKETS_MICROS, Counter, Gauge, Histogram};
use crate::metrics::families::Families;
use crate::metrics::labels::ManagerOutcome;
use prometheus_client::metrics::MetricType;
use std::fmt::Error;
use std::sync::Arc;

/// The numbers of one stream manager.
#[derive(Debug)]
pub struct ManagerMetrics {
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Host and port, without path and credentials.
    pub manager: String,
    /// 1 while it answers, 0 while it is gone.
    pub up: Gauge,
    /// Questions, by result.
    pub requests: [Counter; ManagerOutcome::COUNT],
    /// From a question to the end of its answer.
    pub seconds: Histogram,
}

impl ManagerMetrics {
    /// The numbers of a stream manager that has not been asked, which counts as up.
    pub fn new(cluster: &str, manager: String) -> Self {
        let metrics = Self {
            cluster: cluster.to_owned(),
            manager,
            up: Gauge::default(),
            requests: Default::default(),
            seconds: Histogram::default(),
        };
        metrics.up.set(1);
        metrics
    }

    fn labels(&self) -> [(&'static str, String); 2] {
        [("cluster", self.cluster.clone()), ("manager", self.manager.clone())]
    }
}

/// Writes the families about stream managers.
pub(crate) fn write(families: &mut Families<'_, '_>, managers: &[Arc<ManagerMetrics>]) -> Result<(), Error> {
    let up: Vec<_> = managers.iter().map(|manager| (manager.labels(), manager.up.get())).collect();
    families.gauges(
        "tidegate_manager_up",
        "Whether the stream manager answers: 1, or 0 while it is gone",
        up,
    )?;
    let mut requests = Vec::with_capacity(managers.len() * ManagerOutcome::COUNT);
    for manager in managers {
        for outcome in ManagerOutcome::ALL {
            let [cluster, name] = manager.labels();
            let labels = [cluster, name, ("outcome", outcome.word().to_owned())];
            requests.push((labels, manager.requests[*outcome as usize].get()));
        }
    }
    families.counters(
        "tidegate_manager_requests",
        "Questions to the stream manager, those of the gateway itself included, by result",
        requests,
    )?;
    let help = "Seconds from a question to the end of the stream manager's answer";
    let name = "tidegate_manager_seconds";
    let mut family = families.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for manager in managers {
        let bounds = BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(manager.seconds.buckets.iter().map(Counter::get)).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = manager.seconds.sum_micros.get() as f64 / 1e6;
        let labels = manager.labels();
        family.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
    }
    Ok(())
}
