//! The text of `/metrics`: every name with its labels and its help.
//!
//! Counters are summed over the workers. Every label value has its sample from the start, so that a rate over a counter is
//! right from its first step. Memory and files of the process are passed in, because this floor opens no file.

mod facts;
mod process;
mod requests;
mod sessions;

pub use crate::metrics::dialect::Dialect;
pub use facts::{AdminCuts, Facts, Page, Process, session_kinds};

use crate::metrics::dialect::prometheus_text;
use crate::metrics::families::Families;
use crate::metrics::managers;
use crate::metrics::worker::WorkerMetrics;
use crate::metrics::{nodes, state};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use std::fmt::Error;
use std::sync::Arc;

/// Writes the page: all families, summed over `workers`, with the given facts.
pub fn write(workers: &[Arc<WorkerMetrics>], facts: &Facts, dialect: Dialect) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { workers: workers.to_vec(), facts: facts.clone() }));
    let mut page = String::with_capacity(16 * 1024);
    text::encode(&mut page, &registry).expect("writing to a string does not fail");
    match dialect {
        Dialect::OpenMetrics => page,
        Dialect::Prometheus => prometheus_text(&page),
    }
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut families = Families { encoder, workers: &self.workers };
        self.sessions(&mut families)?;
        self.outcomes(&mut families)?;
        self.requests(&mut families)?;
        self.tls(&mut families)?;
        self.traffic(&mut families)?;
        self.nodes(&mut families)?;
        managers::write(&mut families, &self.facts.managers)?;
        nodes::write(&mut families, &self.facts.nodes)?;
        state::write(&mut families, &self.facts.state)?;
        self.times(&mut families)?;
        self.workers(&mut families)?;
        self.process(&mut families)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::labels::{DialOutcome, Route, Version};
    use crate::metrics::nodes::{NodeMetrics, NodeRow};
    use crate::metrics::state::{Limit, ProcessFacts};
    use crate::proto::red5::role::Role;
    use crate::proto::refusal::Refusal;
    use std::time::Duration;

    #[test]
    fn every_sample_is_there_once() {
        for dialect in [Dialect::OpenMetrics, Dialect::Prometheus] {
            let page = page(dialect);
            let mut seen = std::collections::HashSet::new();
            for line in page.lines().filter(|line| !line.starts_with('#')) {
                let sample = line.rsplit_once(' ').map_or(line, |(sample, _)| sample);
                assert!(seen.insert(sample), "{sample} is there twice");
            }
        }
    }

    fn page(dialect: Dialect) -> String {
        let workers: Vec<Arc<WorkerMetrics>> = (0..2).map(|_| Arc::default()).collect();
        workers[0].sessions_total[Route::TwoStep as usize][Role::Publisher as usize].add(3);
        workers[1].sessions_total[Route::TwoStep as usize][Role::Publisher as usize].add(4);
        workers[1].sessions_active[Route::OneStep as usize][Role::Subscriber as usize].add(5);
        workers[0].refusals.of(Refusal::TooMany).add(2);
        workers[1].setup.observe(Duration::from_micros(300));
        workers[1].setup.observe(Duration::from_secs(60));
        workers[1].loop_lag_micros.set(1500);
        workers[0].handshakes[Version::Tls13 as usize][1].add(9);
        let node: Arc<NodeMetrics> = Arc::default();
        node.count_dial(DialOutcome::Refused, Some(Duration::from_millis(2)));
        let state = ProcessFacts {
            phases: vec![("serving", true), ("draining", false)],
            limits: vec![
                Limit { key: "sessions", most: Some(100.0), used: Some(7.0) },
                Limit { key: "new_per_ip", most: None, used: None },
            ],
            certificates: vec![("example.com".to_owned(), 1_800_000_000)],
            ..ProcessFacts::default()
        };
        let facts = Facts {
            driver: "io_uring".into(),
            revision: 1,
            state,
            nodes: vec![NodeRow { node: "10.0.0.1".to_owned(), quarantined: 1, metrics: node }],
            ..Facts::default()
        };
        write(&workers, &facts, dialect)
    }

    #[test]
    fn samples_have_the_documented_names_and_labels() {
        for dialect in [Dialect::OpenMetrics, Dialect::Prometheus] {
            let page = page(dialect);
            let version = env!("CARGO_PKG_VERSION");
            let info = format!("tidegate_info{{version=\"{version}\",driver=\"io_uring\",revision=\"1\"}} 1");
            let lines = [
                "tidegate_sessions_total{route=\"two_step\",role=\"publisher\"} 7",
                "tidegate_sessions_active{route=\"one_step\",role=\"subscriber\"} 5",
                "tidegate_refusals_total{code=\"too_many\"} 2",
                "tidegate_refusals_total{code=\"bad_host\"} 0",
                "tidegate_ends_total{by=\"gateway\",how=\"drain\"} 0",
                "tidegate_tls_handshakes_total{version=\"1.3\",resumed=\"true\"} 9",
                "tidegate_frames_total{from=\"client\"} 0",
                "tidegate_bytes_total{from=\"origin\"} 0",
                "tidegate_answers_total{outcome=\"collapsed\"} 0",
                "tidegate_origin_dials_total{outcome=\"connected\"} 0",
                "tidegate_setup_seconds_bucket{le=\"0.00025\"} 0",
                "tidegate_setup_seconds_bucket{le=\"0.0005\"} 1",
                "tidegate_setup_seconds_bucket{le=\"+Inf\"} 2",
                "tidegate_setup_seconds_sum 60.0003",
                "tidegate_setup_seconds_count 2",
                "tidegate_worker_loop_lag_seconds{worker=\"1\"} 0.0015",
                "tidegate_log_lines_dropped_total 0",
                "tidegate_node_dials_total{cluster=\"default\",node=\"10.0.0.1\"} 1",
                "tidegate_node_failures_total{cluster=\"default\",node=\"10.0.0.1\",outcome=\"refused\"} 1",
                "tidegate_node_quarantined{cluster=\"default\",node=\"10.0.0.1\"} 1",
                "tidegate_node_dial_seconds_bucket{le=\"0.001\",cluster=\"default\",node=\"10.0.0.1\"} 0",
                "tidegate_node_dial_seconds_bucket{le=\"0.005\",cluster=\"default\",node=\"10.0.0.1\"} 1",
                "tidegate_phase{phase=\"serving\"} 1",
                "tidegate_limit{limit=\"sessions\"} 100",
                "tidegate_limit{limit=\"new_per_ip\"} inf",
                "tidegate_limit_used{limit=\"sessions\"} 7",
                "tidegate_certificate_not_after_seconds{name=\"example.com\"} 1800000000",
                "tidegate_config_last_reload_successful 0",
                "tidegate_worker_unresponsive{worker=\"1\"} 0",
                "tidegate_admin_connections_cut_total{how=\"limit\"} 0",
                "process_cpu_seconds_total 0",
                &info,
            ];
            for line in lines {
                let same = |found: &str| found == line || found.strip_suffix(".0") == Some(line);
                assert!(page.lines().any(same), "{line} is not on\n{page}");
            }
        }
    }

    // parsers of the format require it
    #[test]
    fn each_sample_follows_the_type_of_its_own_family() {
        assert!(page(Dialect::OpenMetrics).ends_with("# EOF\n"));
        let page = page(Dialect::Prometheus);
        let mut family = ("", "");
        for line in page.lines().filter(|line| !line.starts_with("# HELP")) {
            if let Some(words) = line.strip_prefix("# TYPE ") {
                family = words.split_once(' ').expect("name and kind");
                assert!(["counter", "gauge", "histogram"].contains(&family.1), "{line}");
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').expect("sample and value");
            let name = sample.split('{').next().expect("a name");
            let suffix = name.strip_prefix(family.0).expect("the name of its family");
            let suffixes: &[&str] =
                if family.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix) && value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
