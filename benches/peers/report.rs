//! The results of all rounds as a table and as JSON. A row in which a fault occurred or the rounds differ too much gets no
//! ratio.

use crate::gateways::Gateway;
use crate::load::Result;
use crate::load::stats::{Sample, Summary, summary};
use crate::work::{Goal, Work};
use crate::{Flags, aead, machine};
use serde_json::json;
use std::fmt::Write;

/// The name of the gateway that is compared with the peers.
pub const OURS: &str = "tidegate";

/// Whether a gateway is a peer with which tidegate is compared.
pub fn is_peer(name: &str) -> bool {
    name != OURS && name != "floor"
}

/// All rounds of one row on one gateway.
pub struct Measured {
    pub row: Work,
    pub name: &'static str,
    pub samples: Vec<Sample>,
}

/// The result of one gateway in a row.
pub struct Cell {
    pub name: &'static str,
    /// The figures, or why there are none.
    pub sum: std::result::Result<Summary, String>,
    /// The note of the last round.
    pub note: String,
}

/// A row of the table.
pub struct Line {
    pub row: Work,
    pub cells: Vec<Cell>,
    pub best: Option<&'static str>,
    pub ratio: Option<f64>,
    /// Why the row has no ratio although it should have one.
    pub refused: Option<String>,
}

impl Line {
    /// The median of one gateway; None if it has no figure.
    pub fn median(&self, name: &str) -> Option<f64> {
        let cell = self.cells.iter().find(|cell| cell.name == name)?;
        cell.sum.as_ref().ok().map(|sum| sum.median)
    }

    /// Whether the goal is reached; None if the row has no valid figure.
    pub fn is_met(&self) -> Option<bool> {
        match self.row.goal() {
            Goal::Ratio(goal) => self.ratio.map(|ratio| ratio <= goal),
            Goal::Figure(goal) => self.median(OURS).filter(|_| self.refused.is_none()).map(|own| own <= goal),
        }
    }
}

/// Summarises the rounds. `tolerance` is the allowed spread as a share of the median.
pub fn lines(measured: &[Measured], tolerance: f64) -> Vec<Line> {
    let rows = Work::every().iter().filter(|row| measured.iter().any(|one| one.row == **row));
    rows.map(|row| line(*row, measured, tolerance)).collect()
}

fn line(row: Work, measured: &[Measured], tolerance: f64) -> Line {
    let cells: Vec<Cell> = measured
        .iter()
        .filter(|one| one.row == row)
        .map(|one| Cell {
            name: one.name,
            sum: summary(&one.samples),
            note: one.samples.last().map(|sample| sample.note.clone()).unwrap_or_default(),
        })
        .collect();
    let peers = cells.iter().filter(|cell| is_peer(cell.name));
    let medians = peers.filter_map(|cell| Some((cell.name, cell.sum.as_ref().ok()?.median)));
    let best = medians.min_by(|one, other| one.1.total_cmp(&other.1)).map(|(name, _)| name);
    let mut line = Line { row, cells, best, ratio: None, refused: None };
    line.refused = refusal(&line, row.tolerance(tolerance));
    if line.refused.is_none() && row != Work::Stampede {
        let best = line.best.and_then(|best| line.median(best));
        line.ratio = line.median(OURS).zip(best).map(|(own, best)| own / best);
    }
    line
}

/// Why the row gets no ratio; None if it gets one.
fn refusal(line: &Line, tolerance: f64) -> Option<String> {
    for cell in line.cells.iter().filter(|cell| cell.name != "floor") {
        match &cell.sum {
            // a peer that failed might have been the best; the stampede is not compared, so there only tidegate matters
            Err(_) if cell.name != OURS && line.row == Work::Stampede => {}
            Err(why) => return Some(format!("{}: {why}", cell.name)),
            Ok(sum) if cell.name == OURS || Some(cell.name) == line.best => {
                let spread = (sum.max - sum.min) / sum.median;
                // with a goal in milliseconds the spread does not matter as long as all rounds reach it
                let good = matches!(line.row.goal(), Goal::Figure(goal) if sum.max <= goal);
                if spread > tolerance && !good {
                    let share = spread * 100.0;
                    return Some(format!("too noisy: the rounds of {} differ by {share:.0} %", cell.name));
                }
            }
            Ok(_) => {}
        }
    }
    None
}

/// How the figures were measured.
pub struct RunInfo<'a> {
    pub flags: &'a Flags,
    pub gateways: &'a [Gateway],
    pub rate: f64,
}

/// The cost of AES-128-GCM alone in a row; None where it can't be given.
fn bare(row: Work) -> Option<f64> {
    match row {
        Work::Echo => aead::record(256).map(|record| 2.0 * record),
        Work::Many => aead::record(1024).map(|record| 2.0 * record),
        // a MiB is 64 records of 16 KiB
        Work::Down | Work::Up => aead::record(16 * 1024).map(|record| 64.0 * record),
        _ => None,
    }
}

fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The table as Markdown, with a description of the run.
pub fn markdown(info: &RunInfo<'_>, lines: &[Line]) -> String {
    let mut text = String::new();
    let names: Vec<&str> = info.gateways.iter().map(|gateway| gateway.name).collect();
    let heads: Vec<String> = names.iter().map(|name| format!(" {name} |")).collect();
    let rule = "---|".repeat(names.len());
    // writing into a String can't fail
    let _ = writeln!(
        text,
        "| work | unit |{} bare AEAD | best peer | ratio | goal |\n|---|---|{rule}---|---|---|---|",
        heads.concat()
    );
    for line in lines {
        let _ = write!(text, "| {} | {} |", line.row.title(), line.row.unit());
        for name in &names {
            let cell = line.cells.iter().find(|cell| cell.name == *name);
            let _ = match cell.map(|cell| &cell.sum) {
                Some(Ok(sum)) => {
                    write!(text, " {} ({} .. {}) |", figure(sum.median), figure(sum.min), figure(sum.max))
                }
                Some(Err(_)) => write!(text, " failed |"),
                None => write!(text, " - |"),
            };
        }
        let dash = || "-".to_owned();
        let ratio = line.ratio.map_or_else(dash, |ratio| format!("**{ratio:.2}**"));
        let goal = match line.row.goal() {
            Goal::Ratio(goal) => format!("≤ {goal:.2}"),
            Goal::Figure(goal) => {
                format!("≤ {goal} {}", line.row.unit().split(' ').next().unwrap_or_default())
            }
        };
        let met = match line.is_met() {
            Some(true) => " met",
            Some(false) => " missed",
            None => "",
        };
        let bare = bare(line.row).map_or_else(dash, figure);
        let _ = writeln!(text, " {bare} | {} | {ratio} | {goal}{met} |", line.best.unwrap_or("-"));
    }
    text.push('\n');
    for line in lines {
        if let Some(why) = &line.refused {
            let _ = writeln!(text, "- {}: no ratio: {why}.", line.row.title());
        }
        if line.row == Work::Stampede {
            let notes = line.cells.iter().map(|cell| format!("{}: {}", cell.name, cell.note));
            let _ = writeln!(text, "- {}: {}.", line.row.title(), notes.collect::<Vec<_>>().join("; "));
        }
    }
    let versions = info.gateways.iter().map(|gateway| format!("{} {}", gateway.name, gateway.version));
    let flags = info.flags;
    let _ = writeln!(
        text,
        "\nMedians (min .. max) of {} interleaved rounds of {} s. {}; load average at the end {}. Gateway with one worker \
         on core {}, clients, node and stream manager on core {}. TLS 1.3, AES-128-GCM, X25519. {} idle sessions; latency \
         at {:.0} messages a second. {}.",
        flags.rounds,
        flags.seconds,
        machine::about(),
        machine::load(),
        flags.gateway_core,
        flags.load_core,
        flags.idle,
        info.rate,
        versions.collect::<Vec<_>>().join(", ")
    );
    text
}

/// All rounds and their summaries as JSON.
pub fn json(info: &RunInfo<'_>, lines: &[Line], measured: &[Measured]) -> Result<String> {
    let rows = lines.iter().map(|line| {
        let rounds = measured.iter().filter(|one| one.row == line.row);
        let gateways: serde_json::Map<_, _> = rounds
            .map(|one| {
                let rounds: Vec<_> = one.samples.iter().map(round).collect();
                let sum = summary(&one.samples);
                let median = sum.as_ref().map(|sum| sum.median).ok();
                (one.name.to_owned(), json!({"median": median, "refused": sum.err(), "rounds": rounds}))
            })
            .collect();
        let goal = match line.row.goal() {
            Goal::Ratio(goal) => json!({"ratio": goal}),
            Goal::Figure(goal) => json!({"figure": goal}),
        };
        json!({
            "row": line.row.title(), "unit": line.row.unit(), "goal": goal, "met": line.is_met(),
            "best_peer": line.best, "ratio": line.ratio, "refused": line.refused, "bare_aead": bare(line.row),
            "gateways": gateways,
        })
    });
    let flags = info.flags;
    let versions: serde_json::Map<_, _> = info
        .gateways
        .iter()
        .map(|gateway| (gateway.name.to_owned(), gateway.version.clone().into()))
        .collect();
    let whole = json!({
        "machine": machine::about(), "load_average": machine::load(), "versions": versions,
        "rounds": flags.rounds, "seconds": flags.seconds, "idle_sessions": flags.idle, "rate": info.rate,
        "tolerance": flags.tolerance, "rows": rows.collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&whole)? + "\n")
}

fn round(sample: &Sample) -> serde_json::Value {
    json!({
        "value": sample.value, "busy": sample.busy, "faults": sample.faults, "first_fault": sample.first_fault,
        "note": sample.note,
    })
}
