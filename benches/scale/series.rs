//! The points of each series, and how one is measured.

use crate::load::node::ECHO;
use crate::load::rows::{self, MIB, Scene, WARM_UP, nothing};
use crate::load::scripts::{ComeAndGo, Echo};
use crate::load::stats::Sample;
use crate::load::target::Running;
use crate::load::{Result, client::Fleet};
use crate::{Series, Town};
use std::fmt;
use std::time::{Duration, Instant};

/// One thing to measure.
#[derive(Debug, Clone, Copy)]
pub enum Point {
    /// So many sessions, each with a 256 B message in the air.
    Echoing(usize),
    /// So many sessions that rest: what the gateway does for them, once for all of them.
    Resting(usize),
    /// Whole sessions, eight at a time, on so many workers.
    Workers(usize),
    /// 256 B echoes over 64 sessions on so many workers.
    WorkersEcho(usize),
    /// Messages of so many bytes from the node.
    Down(usize),
    /// Messages of so many bytes to the node.
    Up(usize),
    /// So many whole sessions in a second, each with one echo.
    Churn(u32),
}

/// The points of a series; the storms and the steady run have none.
pub fn points(series: Series, most: usize) -> Vec<Point> {
    const SIZES: [usize; 7] = [64, 1 << 10, 16 << 10, 64 << 10, 1 << 20, 4 << 20, 16 << 20];
    let sessions = || [64, 1000, 5000, 9000].into_iter().filter(|count| *count <= most);
    match series {
        Series::Sessions => {
            sessions().map(Point::Echoing).chain(sessions().skip(1).map(Point::Resting)).collect()
        }
        Series::Workers => {
            [1, 2].into_iter().flat_map(|n| [Point::Workers(n), Point::WorkersEcho(n)]).collect()
        }
        Series::Size => SIZES.into_iter().flat_map(|size| [Point::Down(size), Point::Up(size)]).collect(),
        Series::Churn => [50, 200, 800, 1600].into_iter().map(Point::Churn).collect(),
        Series::Storm | Series::Steady => Vec::new(),
    }
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echoing(sessions) => write!(out, "echo 256 B, {sessions} sessions"),
            Self::Resting(sessions) => write!(out, "{sessions} sessions at rest"),
            Self::Workers(workers) => write!(out, "whole session, full handshake, {workers} workers"),
            Self::WorkersEcho(workers) => write!(out, "echo 256 B, 64 sessions, {workers} workers"),
            Self::Down(size) => write!(out, "node to client, {}", bytes(*size)),
            Self::Up(size) => write!(out, "client to node, {}", bytes(*size)),
            Self::Churn(rate) => write!(out, "{rate} whole sessions a second"),
        }
    }
}

fn bytes(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}

impl Point {
    /// What a figure of it is.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Echoing(_) | Self::WorkersEcho(_) => "us CPU/message",
            Self::Resting(_) => "us CPU/s per 1,000 sessions",
            Self::Workers(_) | Self::Churn(_) => "us CPU/session",
            Self::Down(_) | Self::Up(_) => "us CPU/MiB",
        }
    }

    /// Measures once, with a gateway of its own.
    pub fn measure(self, town: &Town) -> Result<Sample> {
        let (workers, size) = match self {
            Self::Workers(workers) | Self::WorkersEcho(workers) => (workers, 64),
            Self::Down(size) | Self::Up(size) => (1, size),
            _ => (1, 64),
        };
        let (gateway, scene) = town.open(workers, size)?;
        match self {
            Self::Echoing(sessions) => rows::echo(&gateway, &scene, 256, sessions),
            Self::WorkersEcho(_) => rows::echo(&gateway, &scene, 256, 64),
            Self::Resting(sessions) => rest(&gateway, &scene, sessions),
            Self::Workers(_) => rows::session(&gateway, &scene, false),
            Self::Down(size) => Ok(per_message(rows::down(&gateway, &scene, size, pourers(size))?, size)),
            Self::Up(size) => Ok(per_message(rows::up(&gateway, &scene, size, pourers(size))?, size)),
            Self::Churn(rate) => churn(&gateway, &scene, f64::from(rate)),
        }
    }
}

fn rest(gateway: &Running, scene: &Scene, sessions: usize) -> Result<Sample> {
    let mut fleet = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut script = Echo::new(1024, Some(1));
    let before = gateway.memory()?.pss;
    fleet.gather(&mut script, sessions, |script| script.finished == sessions)?;
    // longer than the first memory that is given back takes, shorter than the first ping
    rows::turn(&mut fleet, &mut script, Duration::from_secs(2), nothing)?;
    let pss = (gateway.memory()?.pss - before) / sessions as f64;
    let thousands = sessions as f64 / 1000.0;
    let (began, cpu) = (Instant::now(), gateway.cpu()?);
    rows::turn(&mut fleet, &mut script, scene.window, nothing)?;
    let (spent, wall) = (gateway.cpu()? - cpu, began.elapsed());
    let units = wall.as_secs_f64() * thousands;
    let mut sample = Sample::cpu(spent, units, wall, fleet.faults, fleet.first_fault.clone());
    sample.note = format!("{pss:.2} KiB PSS/session");
    Ok(sample)
}

/// Clients of the bulk points: fewer where one message alone fills every buffer.
fn pourers(size: usize) -> usize {
    if size > 1 << 20 { 4 } else { 16 }
}

fn per_message(mut sample: Sample, size: usize) -> Sample {
    sample.note = format!("{:.2} us CPU/message", sample.value * size as f64 / MIB);
    sample
}

/// A load that can't keep up does not pile up more: the note says what rate was reached.
const OPEN_MAX: usize = 256;

fn churn(gateway: &Running, scene: &Scene, rate: f64) -> Result<Sample> {
    let mut fleet = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut script = ComeAndGo::new(256);
    let (mut begun, start) = (0_u64, Instant::now());
    let mut come = move |fleet: &mut Fleet| {
        while (begun as f64) < start.elapsed().as_secs_f64() * rate && fleet.open < OPEN_MAX {
            fleet.connect()?;
            begun += 1;
        }
        Ok(())
    };
    rows::turn(&mut fleet, &mut script, WARM_UP, &mut come)?;
    rows::window(gateway, &mut fleet, &mut script, scene, |script| script.completed as f64, come)
}
