//! The text of `/metrics`: every name, its labels and its help, once.
//!
//! Counters are summed over the workers here. Every label value stands there from the start, so that a rate over a
//! counter is right from its first step. What the process weighs is handed in: this floor opens nothing.

use crate::metrics::{
    AnswerOutcome, BUCKETS_MICROS, Counter, DialOutcome, Histogram, ProxyFailure, Route, TlsFailure, Version,
    WorkerMetrics,
};
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use std::fmt::Error;
use std::sync::Arc;

/// What the page says beside the counters of the workers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub driver: String,
    pub revision: u64,
    pub process: Process,
}

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    pub resident_bytes: u64,
    pub open_files: u64,
    pub files_max: u64,
    /// Seconds since 1970.
    pub started_seconds: f64,
    pub cpu_seconds: f64,
}

/// The two ways to write the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenMetrics,
    /// Prometheus' own text format, version 0.0.4.
    Prometheus,
}

impl Dialect {
    /// The one that a scraper's `Accept` field asks for.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes the page.
pub fn write(workers: &[Arc<WorkerMetrics>], facts: &Facts, dialect: Dialect) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page { workers: workers.to_vec(), facts: facts.clone() }));
    let mut page = String::with_capacity(16 * 1024);
    text::encode(&mut page, &registry).expect("writing to a string does not fail");
    match dialect {
        Dialect::OpenMetrics => page,
        Dialect::Prometheus => classic(&page),
    }
}

/// The older format has no suffixes of its own: there a counter's family is named like its samples, and an info is a
/// gauge.
fn classic(page: &str) -> String {
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
        let mut sheet = Sheet { encoder, workers: &self.workers };
        self.sessions(&mut sheet)?;
        self.tls(&mut sheet)?;
        self.traffic(&mut sheet)?;
        self.origins(&mut sheet)?;
        self.times(&mut sheet)?;
        self.workers(&mut sheet)?;
        self.process(&mut sheet)
    }
}

impl Page {
    fn sessions(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        let active = Route::ALL.iter().map(|route| {
            let sum =
                self.workers.iter().map(|worker| worker.sessions_active[*route as usize].get()).sum::<i64>();
            ([("route", route.word())], sum)
        });
        sheet.gauges("tidegate_sessions_active", "Sessions that are open now, by route", active)?;
        let all =
            Route::ALL.iter().map(|r| ([("route", r.word())], sheet.sum(|w| &w.sessions_total[*r as usize])));
        let all: Vec<_> = all.collect();
        sheet.counters("tidegate_sessions", "Sessions that began, by route", all)?;
        let refusals: Vec<_> =
            Refusal::ALL.iter().map(|r| ([("code", r.code())], sheet.sum(|w| w.refusals.of(*r)))).collect();
        sheet.counters("tidegate_refusals", "Requests answered with a no, by code word", refusals)?;
        let ends = By::ALL.iter().flat_map(|by| How::ALL.iter().map(move |how| (by, how)));
        let ends: Vec<_> = ends
            .map(|(by, how)| {
                let sum = sheet.sum(|w| &w.ends[*by as usize][*how as usize]);
                ([("by", by.word()), ("how", how.word())], sum)
            })
            .collect();
        sheet.counters("tidegate_ends", "Relayed sessions that ended, by whom and how", ends)?;
        let panics = [(NO_LABELS, sheet.sum(|w| &w.panics))];
        sheet.counters("tidegate_panics", "Sessions that ended by a panic inside the gateway", panics)?;
        let pauses = [(NO_LABELS, sheet.sum(|w| &w.accept_pauses))];
        sheet.counters(
            "tidegate_accept_pauses",
            "Times that a worker took no new clients for want of descriptors or memory",
            pauses,
        )?;
        let open = self.workers.iter().map(|worker| worker.connections.get()).sum::<i64>();
        sheet.gauges(
            "tidegate_connections",
            "Accepted connections of any kind, and requests to nodes that may outlive them, open now",
            [(NO_LABELS, open)],
        )
    }

    fn tls(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        let done = Version::ALL.iter().flat_map(|version| [("false", 0), ("true", 1)].map(|r| (version, r)));
        let done: Vec<_> = done
            .map(|(version, (resumed, place))| {
                let sum = sheet.sum(|w| &w.handshakes[*version as usize][place]);
                ([("version", version.word()), ("resumed", resumed)], sum)
            })
            .collect();
        sheet.counters(
            "tidegate_tls_handshakes",
            "Finished TLS handshakes, by version and resumption",
            done,
        )?;
        let failed: Vec<_> = TlsFailure::ALL
            .iter()
            .map(|how| ([("how", how.word())], sheet.sum(|w| &w.handshake_failures[*how as usize])))
            .collect();
        sheet.counters("tidegate_tls_handshake_failures", "TLS handshakes that failed", failed)?;
        let failed: Vec<_> = ProxyFailure::ALL
            .iter()
            .map(|how| ([("how", how.word())], sheet.sum(|w| &w.proxy_failures[*how as usize])))
            .collect();
        let help = "Connections dropped because of their PROXY protocol header";
        sheet.counters("tidegate_proxy_protocol_failures", help, failed)
    }

    fn traffic(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        let frames: Vec<_> = Side::ALL
            .iter()
            .map(|from| ([("from", from.word())], sheet.sum(|w| &w.frames[*from as usize])))
            .collect();
        sheet.counters("tidegate_frames", "WebSocket frames relayed, by the side they came from", frames)?;
        let bytes: Vec<_> = Side::ALL
            .iter()
            .map(|from| ([("from", from.word())], sheet.sum(|w| &w.bytes[*from as usize])))
            .collect();
        sheet.counters("tidegate_bytes", "Bytes relayed, by the side they came from", bytes)
    }

    fn origins(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        let answers: Vec<_> = AnswerOutcome::ALL
            .iter()
            .map(|o| ([("outcome", o.word())], sheet.sum(|w| &w.answers[*o as usize])))
            .collect();
        sheet.counters(
            "tidegate_answers",
            "Questions to the stream manager, by what became of them",
            answers,
        )?;
        let dials: Vec<_> = DialOutcome::ALL
            .iter()
            .map(|o| ([("outcome", o.word())], sheet.sum(|w| &w.dials[*o as usize])))
            .collect();
        sheet.counters("tidegate_origin_dials", "Dials of nodes, by how they ended", dials)
    }

    fn times(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        sheet.histogram("tidegate_setup_seconds", "From accept to our 101", |w| &w.setup)?;
        sheet.histogram("tidegate_tls_seconds", "TLS handshakes", |w| &w.tls)?;
        sheet.histogram("tidegate_lookup_seconds", "Questions that the memory could not answer", |w| {
            &w.lookup
        })?;
        sheet.histogram("tidegate_dial_seconds", "From connect to the node's 101", |w| &w.dial)
    }

    fn workers(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        let each = || {
            let workers = self.workers.iter().enumerate();
            workers.map(|(index, worker)| ([("worker", index.to_string())], worker))
        };
        let sessions = each().map(|(labels, worker)| (labels, worker.sessions()));
        sheet.gauges("tidegate_worker_sessions", "Sessions that are open now, by worker", sessions)?;
        let lag = each().map(|(labels, worker)| (labels, worker.loop_lag_micros.get() as f64 / 1e6));
        sheet.gauges("tidegate_worker_loop_lag_seconds", "How late the worker's last sweep ran", lag)?;
        let lent = each().map(|(labels, worker)| (labels, worker.buffers_lent_bytes.get()));
        sheet.gauges(
            "tidegate_worker_buffers_lent_bytes",
            "Bytes held for peers that do not read, or that send ahead",
            lent,
        )
    }

    fn process(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        let facts = &self.facts;
        let labels = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("driver", facts.driver.clone()),
            ("revision", facts.revision.to_string()),
        ];
        let mut info =
            sheet.encoder.encode_descriptor("tidegate", "What is running", None, MetricType::Info)?;
        info.encode_info(&labels)?;
        let process = facts.process;
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory", process.resident_bytes),
            ("process_open_fds", "Open file descriptors", process.open_files),
            ("process_max_fds", "Limit of open file descriptors", process.files_max),
        ];
        for (name, help, value) in gauges {
            sheet.gauges(name, help, [(NO_LABELS, value)])?;
        }
        let started = [(NO_LABELS, process.started_seconds)];
        sheet.gauges("process_start_time_seconds", "Start, in seconds since 1970", started)?;
        sheet.counters("process_cpu_seconds", "User and system time", [(NO_LABELS, process.cpu_seconds)])
    }
}

const NO_LABELS: [(&str, &str); 0] = [];

/// The page while it is written.
struct Sheet<'e, 'w> {
    encoder: DescriptorEncoder<'e>,
    workers: &'w [Arc<WorkerMetrics>],
}

impl Sheet<'_, '_> {
    /// One counter, summed over the workers.
    fn sum(&self, of: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| of(worker).get()).sum()
    }

    /// A family of counters, without the suffix `_total`.
    fn counters<const N: usize, V: EncodeLabelValue, T: EncodeCounterValue>(
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

    fn gauges<const N: usize, V: EncodeLabelValue, T: EncodeGaugeValue>(
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

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        of: fn(&WorkerMetrics) -> &Histogram,
    ) -> Result<(), Error> {
        let bounds = BUCKETS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let all =
            |place: usize| self.workers.iter().map(|worker| of(worker).buckets[place].get()).sum::<u64>();
        let buckets: Vec<_> = bounds.enumerate().map(|(place, bound)| (bound, all(place))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum(|worker| &of(worker).sum_micros) as f64 / 1e6;
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        family.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
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
        let facts = Facts { driver: "io_uring".into(), revision: 1, process: Process::default() };
        write(&workers, &facts, dialect)
    }

    #[test]
    fn names_and_labels_are_those_of_the_contract() {
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
                "process_cpu_seconds_total 0",
                &info,
            ];
            for line in lines {
                let same = |found: &str| found == line || found.strip_suffix(".0") == Some(line);
                assert!(page.lines().any(same), "{line} is not on\n{page}");
            }
        }
    }

    /// Each sample belongs to the family above it, which is what a parser of the format wants.
    #[test]
    fn each_sample_stands_below_its_own_type() {
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
            let suffix = name.strip_prefix(family.0).expect("the family's own name");
            let suffixes: &[&str] =
                if family.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix) && value.parse::<f64>().is_ok(), "{line}");
        }
    }

    #[test]
    fn the_dialect_follows_what_is_accepted() {
        assert_eq!(
            Dialect::accepted("application/openmetrics-text;version=1.0.0,*/*;q=0.1"),
            Dialect::OpenMetrics
        );
        assert_eq!(Dialect::accepted("*/*"), Dialect::Prometheus);
    }
}
