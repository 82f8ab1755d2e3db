//! The families about nodes, times, workers and the process.

use crate::metrics::families::{Families, NO_LABELS};
use crate::metrics::labels::{AnswerOutcome, DialOutcome};
use crate::metrics::page::facts::Page;
use prometheus_client::metrics::MetricType;
use std::fmt::Error;

impl Page {
    pub(super) fn nodes(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
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

    pub(super) fn times(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
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

    pub(super) fn workers(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
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
        let unresponsive = each().map(|(labels, worker)| (labels, worker.unresponsive.get()));
        let help = "1 while a worker's main loop stands still";
        families.gauges("tidegate_worker_unresponsive", help, unresponsive)?;
        let lent = each().map(|(labels, worker)| (labels, worker.buffers_lent_bytes.get()));
        families.gauges(
            "tidegate_worker_buffers_lent_bytes",
            "Bytes held for peers that do not read, or that send ahead",
            lent,
        )
    }

    pub(super) fn process(&self, families: &mut Families<'_, '_>) -> Result<(), Error> {
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
        let help = "Spans for the collector, by what became of them";
        let spans = facts.spans.iter().map(|(outcome, spans)| ([("outcome", outcome.word())], *spans));
        families.counters("tidegate_trace_spans", help, spans)?;
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
