//! The points of each series, and how a point is measured.

use crate::load::node::ECHO;
use crate::load::rows::{self, MIB, Scene, WARM_UP, nothing};
use crate::load::scripts::{Echo, ShortSession};
use crate::load::stats::Sample;
use crate::load::target::Running;
use crate::load::{Result, client::Fleet};
use crate::{Series, TestBed};
use std::fmt;
use std::time::{Duration, Instant};

/// One point of a series.
#[derive(Debug, Clone, Copy)]
pub enum Point {
    /// This many sessions, each with one 256 B message under way.
    Echoing(usize),
    /// This many idle sessions: the gateway's work for all of them together.
    Idle(usize),
    /// Whole sessions, eight at a time, on this many workers.
    Workers(usize),
    /// 256 B echoes over 64 sessions on this many workers.
    WorkersEcho(usize),
    /// Messages of this many bytes from the node.
    Down(usize),
    /// Messages of this many bytes to the node.
    Up(usize),
    /// This many whole sessions per second, each with one echo.
    Churn(u32),
}

/// The points of a series with at most `most` sessions. The storms and the steady run have no points.
pub fn points(series: Series, most: usize) -> Vec<Point> {
    const SIZES: [usize; 7] = [64, 1 << 10, 16 << 10, 64 << 10, 1 << 20, 4 << 20, 16 << 20];
    let sessions = || [64, 1000, 5000, 9000].into_iter().filter(|count| *count <= most);
    match series {
        Series::Sessions => {
            sessions().map(Point::Echoing).chain(sessions().skip(1).map(Point::Idle)).collect()
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
            Self::Idle(sessions) => write!(out, "{sessions} idle sessions"),
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
    /// The unit of this point's figures.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Echoing(_) | Self::WorkersEcho(_) => "us CPU/message",
            Self::Idle(_) => "us CPU/s per 1,000 sessions",
            Self::Workers(_) | Self::Churn(_) => "us CPU/session",
            Self::Down(_) | Self::Up(_) => "us CPU/MiB",
        }
    }

    /// Measures once, with a new gateway.
    pub fn measure(self, bed: &TestBed) -> Result<Sample> {
        let (workers, size) = match self {
            Self::Workers(workers) | Self::WorkersEcho(workers) => (workers, 64),
            Self::Down(size) | Self::Up(size) => (1, size),
            _ => (1, 64),
        };
        let (gateway, scene) = bed.open(workers, size)?;
        match self {
            Self::Echoing(sessions) => rows::echo(&gateway, &scene, 256, sessions),
            Self::WorkersEcho(_) => rows::echo(&gateway, &scene, 256, 64),
            Self::Idle(sessions) => idle(&gateway, &scene, sessions),
            Self::Workers(_) => rows::session(&gateway, &scene, false),
            Self::Down(size) => {
                Ok(per_message(rows::down(&gateway, &scene, size, bulk_clients(size))?, size))
            }
            Self::Up(size) => Ok(per_message(rows::up(&gateway, &scene, size, bulk_clients(size))?, size)),
            Self::Churn(rate) => churn(&gateway, &scene, f64::from(rate)),
        }
    }
}

fn idle(gateway: &Running, scene: &Scene, sessions: usize) -> Result<Sample> {
    let mut fleet = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut script = Echo::new(1024, Some(1));
    let before = gateway.memory()?.pss;
    fleet.gather(&mut script, sessions, |script| script.finished == sessions)?;
    // long enough for the gateway to return its first free memory, shorter than the interval of the first ping
    rows::turn(&mut fleet, &mut script, Duration::from_secs(2), nothing)?;
    let pss = (gateway.memory()?.pss - before) / sessions as f64;
    let thousands = sessions as f64 / 1000.0;
    let (started, cpu) = (Instant::now(), gateway.cpu()?);
    rows::turn(&mut fleet, &mut script, scene.window, nothing)?;
    let (spent, wall) = (gateway.cpu()? - cpu, started.elapsed());
    let units = wall.as_secs_f64() * thousands;
    let mut sample = Sample::cpu(spent, units, wall, fleet.faults, fleet.first_fault.clone());
    sample.note = format!("{pss:.2} KiB PSS/session");
    Ok(sample)
}

/// Number of clients of a bulk point: fewer for large messages, where one message fills all buffers.
fn bulk_clients(size: usize) -> usize {
    if size > 1 << 20 { 4 } else { 16 }
}

fn per_message(mut sample: Sample, size: usize) -> Sample {
    sample.note = format!("{:.2} us CPU/message", sample.value * size as f64 / MIB);
    sample
}

/// How many sessions may be open at the same time. A gateway that can't keep up gets no more of them: the note says which
/// rate was reached.
const OPEN_MAX: usize = 256;

fn churn(gateway: &Running, scene: &Scene, rate: f64) -> Result<Sample> {
    let mut fleet = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut script = ShortSession::new(256);
    let (mut connected, start) = (0_u64, Instant::now());
    let mut connect_due = move |fleet: &mut Fleet| {
        while (connected as f64) < start.elapsed().as_secs_f64() * rate && fleet.open < OPEN_MAX {
            fleet.connect()?;
            connected += 1;
        }
        Ok(())
    };
    rows::turn(&mut fleet, &mut script, WARM_UP, &mut connect_due)?;
    rows::window(gateway, &mut fleet, &mut script, scene, |script| script.completed as f64, connect_due)
}
