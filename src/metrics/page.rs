//! The text of `/metrics`: every name with its labels and its help.
//!
//! Counters are summed over the workers. Every label value has its sample from the start, so that a rate over a counter is
//! right from its first step. Memory and files of the process are passed in, because this floor opens no file.

use crate::metrics::families::{Families, NO_LABELS};
use crate::metrics::labels::{AnswerOutcome, DialOutcome, ProxyFailure, Route, TlsFailure, Version};
use crate::metrics::worker::WorkerMetrics;
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt::Error;
use std::sync::Arc;

/// What the page shows beside the counters of the workers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The driver that the workers run on: `io_uring` or `epoll`.
    pub driver: String,
    /// The number of the revision that is served.
    pub revision: u64,
    /// What the kernel counts for this process.
    pub process: Process,
    /// Log lines that were lost since the start.
    pub log_lines_lost: u64,
    /// Connections to the admin listener that the gateway ended, since the start.
    pub admin_cuts: AdminCuts,
}

/// Connections to the admin listener that the gateway ended, by reason.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdminCuts {
    /// Nothing was sent to them for too long.
    pub timeout: u64,
    /// They made room for newer ones.
    pub limit: u64,
}

/// What the kernel counts for this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// File descriptors that are open.
    pub open_files: u64,
    /// File descriptors that may be open.
    pub files_max: u64,
    /// When the process started, in seconds since 1970.
    pub started_seconds: f64,
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
}

/// The text formats in which the page can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
}

impl Dialect {
    /// The format for a scraper with this `Accept` field: OpenMetrics if it is named there, else that of Prometheus.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The value of `Content-Type` for this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

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

/// Rewrites a page of OpenMetrics in the format of Prometheus, where the family of a counter has the name of its samples, and
/// an info is a gauge.
fn prometheus_text(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + 256);
    let mut help = None;
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(words) = line.strip_prefix("# HELP ") {
            help = words.split_once(' ').map(|(_, text)| text);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|words| words.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let help = help.take().unwrap_or_default();
            out += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        } else {
            out += line;
            out.push('\n');
        }
    }
    out
}

#[derive(Debug)]
struct Page {
    workers: Vec<Arc<WorkerMetrics>>,
    facts: Facts,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut families = Families { encoder, workers: &self.workers };
        self.sessions(&mut families)?;
        self.tls(&mut families)?;
        self.traffic(&mut families)?;
        self.nodes(&mut families)?;
        self.times(&mut families)?;
        self.workers(&mut families)?;
        self.process(&mut families)
    }
}

impl Page {
    fn sessions(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let active = Route::ALL.iter().map(|route| {
            let sum =
                self.workers.iter().map(|worker| worker.sessions_active[*route as usize].get()).sum::<i64>();
            ([("route", route.word())], sum)
        });
        families.gauges("tidegate_sessions_active", "Sessions that are open now, by route", active)?;
        let all = Route::ALL
            .iter()
            .map(|r| ([("route", r.word())], families.sum(|w| &w.sessions_total[*r as usize])));
        let all: Vec<_> = all.collect();
        families.counters("tidegate_sessions", "Sessions that began, by route", all)?;
        let refusals: Vec<_> = Refusal::ALL
            .iter()
            .map(|r| ([("code", r.code())], families.sum(|w| w.refusals.of(*r))))
            .collect();
        families.counters("tidegate_refusals", "Requests that were refused, by code", refusals)?;
        let ends = By::ALL.iter().flat_map(|by| How::ALL.iter().map(move |how| (by, how)));
        let ends: Vec<_> = ends
            .map(|(by, how)| {
                let sum = families.sum(|w| &w.ends[*by as usize][*how as usize]);
                ([("by", by.word()), ("how", how.word())], sum)
            })
            .collect();
        families.counters(
            "tidegate_ends",
            "Relayed sessions that ended, by the side that ended them and how",
            ends,
        )?;
        let panics = [(NO_LABELS, families.sum(|w| &w.panics))];
        families.counters("tidegate_panics", "Sessions that ended by a panic inside the gateway", panics)?;
        let pauses = [(NO_LABELS, families.sum(|w| &w.accept_pauses))];
        families.counters(
            "tidegate_accept_pauses",
            "Times that a worker stopped accepting clients for lack of file descriptors or memory",
            pauses,
        )?;
        let evictions = [(NO_LABELS, families.sum(|w| &w.idle_evictions))];
        families.counters(
            "tidegate_idle_evictions",
            "Connections without a request under way that were closed to make room for others",
            evictions,
        )?;
        let open = self.workers.iter().map(|worker| worker.connections.get()).sum::<i64>();
        families.gauges(
            "tidegate_connections",
            "Accepted connections of any kind that are open now, and requests to nodes that may outlive them",
            [(NO_LABELS, open)],
        )
    }

    fn tls(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let completed =
            Version::ALL.iter().flat_map(|version| [("false", 0), ("true", 1)].map(|r| (version, r)));
        let completed: Vec<_> = completed
            .map(|(version, (resumed, index))| {
                let sum = families.sum(|w| &w.handshakes[*version as usize][index]);
                ([("version", version.word()), ("resumed", resumed)], sum)
            })
            .collect();
        families.counters(
            "tidegate_tls_handshakes",
            "Completed TLS handshakes, by version and whether they resumed an earlier one",
            completed,
        )?;
        let failed: Vec<_> = TlsFailure::ALL
            .iter()
            .map(|how| ([("how", how.word())], families.sum(|w| &w.handshake_failures[*how as usize])))
            .collect();
        families.counters(
            "tidegate_tls_handshake_failures",
            "TLS handshakes that failed, by reason",
            failed,
        )?;
        let failed: Vec<_> = ProxyFailure::ALL
            .iter()
            .map(|how| ([("how", how.word())], families.sum(|w| &w.proxy_failures[*how as usize])))
            .collect();
        let help = "Connections that were dropped because of their PROXY protocol header, by reason";
        families.counters("tidegate_proxy_protocol_failures", help, failed)
    }

    fn traffic(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let frames: Vec<_> = Side::ALL
            .iter()
            .map(|from| ([("from", from.word())], families.sum(|w| &w.frames[*from as usize])))
            .collect();
        families.counters(
            "tidegate_frames",
            "WebSocket frames that were relayed, by the side that sent them",
            frames,
        )?;
        let bytes: Vec<_> = Side::ALL
            .iter()
            .map(|from| ([("from", from.word())], families.sum(|w| &w.bytes[*from as usize])))
            .collect();
        families.counters("tidegate_bytes", "Bytes that were relayed, by the side that sent them", bytes)
    }

    fn nodes(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let answers: Vec<_> = AnswerOutcome::ALL
            .iter()
            .map(|o| ([("outcome", o.word())], families.sum(|w| &w.answers[*o as usize])))
            .collect();
        families.counters("tidegate_answers", "Questions to the stream manager, by result", answers)?;
        let dials: Vec<_> = DialOutcome::ALL
            .iter()
            .map(|o| ([("outcome", o.word())], families.sum(|w| &w.dials[*o as usize])))
            .collect();
        families.counters("tidegate_origin_dials", "Dials of nodes, by result", dials)
    }

    fn times(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        families
            .histogram("tidegate_setup_seconds", "Seconds from accept to the gateway's 101", |w| &w.setup)?;
        families
            .histogram("tidegate_tls_seconds", "Seconds that completed TLS handshakes took", |w| &w.tls)?;
        families.histogram(
            "tidegate_lookup_seconds",
            "Seconds that questions took which no stored answer could answer",
            |w| &w.lookup,
        )?;
        families.histogram("tidegate_dial_seconds", "Seconds from connect to the node's 101", |w| &w.dial)
    }

    fn workers(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let each = || {
            let workers = self.workers.iter().enumerate();
            workers.map(|(index, worker)| ([("worker", index.to_string())], worker))
        };
        let sessions = each().map(|(labels, worker)| (labels, worker.sessions()));
        families.gauges("tidegate_worker_sessions", "Sessions that are open now, by worker", sessions)?;
        let lag = each().map(|(labels, worker)| (labels, worker.loop_lag_micros.get() as f64 / 1e6));
        families.gauges(
            "tidegate_worker_loop_lag_seconds",
            "Seconds that the last sweep of the worker ran late",
            lag,
        )?;
        let lent = each().map(|(labels, worker)| (labels, worker.buffers_lent_bytes.get()));
        families.gauges(
            "tidegate_worker_buffers_lent_bytes",
            "Bytes held for peers that do not read, or that send ahead",
            lent,
        )
    }

    fn process(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
        let facts = &self.facts;
        let labels = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("driver", facts.driver.clone()),
            ("revision", facts.revision.to_string()),
        ];
        let mut info = families.encoder.encode_descriptor(
            "tidegate",
            "Version, driver and revision that are running",
            None,
            MetricType::Info,
        )?;
        info.encode_info(&labels)?;
        let help = "Log lines that were lost, because they came faster than they could be written or the disk was full";
        families.counters("tidegate_log_lines_dropped", help, [(NO_LABELS, facts.log_lines_lost)])?;
        let cuts = [("timeout", facts.admin_cuts.timeout), ("limit", facts.admin_cuts.limit)];
        families.counters(
            "tidegate_admin_connections_cut",
            "Connections to the admin listener that the gateway ended, by reason",
            cuts.map(|(how, cut)| ([("how", how)], cut)),
        )?;
        let process = facts.process;
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory in bytes", process.resident_bytes),
            ("process_open_fds", "Open file descriptors", process.open_files),
            ("process_max_fds", "Most file descriptors that may be open", process.files_max),
        ];
        for (name, help, value) in gauges {
            families.gauges(name, help, [(NO_LABELS, value)])?;
        }
        let started = [(NO_LABELS, process.started_seconds)];
        families.gauges(
            "process_start_time_seconds",
            "Start of the process, in seconds since 1970",
            started,
        )?;
        families.counters(
            "process_cpu_seconds",
            "User and system time in seconds",
            [(NO_LABELS, process.cpu_seconds)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn page(dialect: Dialect) -> String {
        let workers: Vec<Arc<WorkerMetrics>> = (0..2).map(|_| Arc::default()).collect();
        workers[0].sessions_total[Route::TwoStep as usize].add(3);
        workers[1].sessions_total[Route::TwoStep as usize].add(4);
        workers[1].sessions_active[Route::OneStep as usize].add(5);
        workers[0].refusals.of(Refusal::TooMany).add(2);
        workers[1].setup.observe(Duration::from_micros(300));
        workers[1].setup.observe(Duration::from_secs(60));
        workers[1].loop_lag_micros.set(1500);
        workers[0].handshakes[Version::Tls13 as usize][1].add(9);
        let facts = Facts { driver: "io_uring".into(), revision: 1, ..Facts::default() };
        write(&workers, &facts, dialect)
    }

    #[test]
    fn samples_have_the_documented_names_and_labels() {
        for dialect in [Dialect::OpenMetrics, Dialect::Prometheus] {
            let page = page(dialect);
            let version = env!("CARGO_PKG_VERSION");
            let info = format!("tidegate_info{{version=\"{version}\",driver=\"io_uring\",revision=\"1\"}} 1");
            let lines = [
                "tidegate_sessions_total{route=\"two_step\"} 7",
                "tidegate_sessions_active{route=\"one_step\"} 5",
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

    #[test]
    fn the_accept_field_chooses_the_format() {
        assert_eq!(
            Dialect::accepted("application/openmetrics-text;version=1.0.0,*/*;q=0.1"),
            Dialect::OpenMetrics
        );
        assert_eq!(Dialect::accepted("*/*"), Dialect::Prometheus);
    }
}
