//! Measures how the cost grows with sessions, workers, message size and churn, the memory after storms of sessions, and a
//! long steady run.
//!
//! `cargo bench --bench scale`, with `-- --help` for the flags. It measures only tidegate; `benches/peers` compares it with
//! other gateways.

#![allow(unreachable_pub)] // the shared modules of the load use `pub` for each other

#[path = "../load/mod.rs"]
mod load;
mod long;
mod series;

use clap::Parser;
use load::manager::Manager;
use load::node::Node;
use load::run::{self, Room};
use load::stats::{Sample, summary};
use load::target::Running;
use load::tidegate::Build;
use load::{Result, process, rows};
use rustls::pki_types::CertificateDer;
use series::Point;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Measures how tidegate's cost grows.
#[derive(Parser)]
#[command(name = "scale", bin_name = "cargo bench --bench scale --")]
pub struct Flags {
    /// Series to measure; default: all but `steady`
    #[arg(long, value_enum, value_delimiter = ',')]
    series: Vec<Series>,
    /// How often each point is measured; rounds of all points are interleaved
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds measured for each point in each round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds of the steady run
    #[arg(long, default_value_t = 1200)]
    steady: u64,
    /// Sessions of the largest point, and of each storm
    #[arg(long, default_value_t = 9000)]
    most: usize,
    /// Another tidegate binary instead of the one just built
    #[arg(long)]
    tidegate: Option<PathBuf>,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// The quantity that grows in a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Series {
    /// Sessions that echo, and idle sessions
    Sessions,
    /// Workers
    Workers,
    /// Size of a message
    Size,
    /// Short sessions per second
    Churn,
    /// Memory after storms of sessions
    Storm,
    /// A steady load of sessions, echoes and churn for a long time
    Steady,
}

/// The cores of the gateway. Clients, node and stream manager run on the last one.
const CORES: [usize; 2] = [0, 1];

/// The surroundings in which all points are measured.
pub struct TestBed {
    room: Room,
    binary: PathBuf,
    certificate: CertificateDer<'static>,
    manager: SocketAddr,
    window: Duration,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    run::ended("scale", scale(&flags))
}

/// Runs the series. True if every point has a figure.
fn scale(flags: &Flags) -> Result<bool> {
    process::raise_descriptors()?;
    process::pin(CORES[1])?;
    let bed = TestBed::new(flags)?;
    let all = [Series::Sessions, Series::Workers, Series::Size, Series::Churn, Series::Storm];
    let chosen = if flags.series.is_empty() { &all[..] } else { &flags.series[..] };
    let points = chosen.iter().flat_map(|series| series::points(*series, flags.most)).collect();
    let mut complete = report(&measure(&bed, flags, points)?);
    if chosen.contains(&Series::Storm) {
        complete &= long::storms(&bed, flags.most)?;
    }
    if chosen.contains(&Series::Steady) {
        complete &= long::steady(&bed, Duration::from_secs(flags.steady))?;
    }
    Ok(complete)
}

impl TestBed {
    fn new(flags: &Flags) -> Result<Self> {
        let room = Room(std::env::temp_dir().join(format!("tidegate-scale-{}", std::process::id())));
        fs::create_dir(&room.0)?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        fs::write(room.0.join("chain.pem"), made.cert.pem())?;
        fs::write(room.0.join("key.pem"), made.signing_key.serialize_pem())?;
        let binary = flags.tidegate.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_tidegate").into());
        Ok(Self {
            room,
            binary,
            certificate: made.cert.der().clone(),
            manager: Manager::start(Duration::ZERO)?.address,
            window: Duration::from_secs_f64(flags.seconds),
        })
    }

    /// Starts a new gateway with `workers` workers, and a node whose own messages have `size` bytes.
    pub fn open(&self, workers: usize, size: usize) -> Result<(Running, rows::Scene)> {
        let node = Node::start(Some(CORES[1]), size)?;
        let build = Build {
            binary: &self.binary,
            chain: self.room.0.join("chain.pem"),
            key: self.room.0.join("key.pem"),
            node: node.address,
            manager: self.manager,
            workers,
            message_max: "off",
        };
        let target = build.target("tidegate", &self.room.0.join("tidegate.toml"))?;
        let running = target.start_on(&CORES[..workers], CORES[1])?;
        let scene = rows::Scene { node, certificate: self.certificate.clone(), window: self.window, idle: 0 };
        Ok((running, scene))
    }
}

fn measure(bed: &TestBed, flags: &Flags, points: Vec<Point>) -> Result<Vec<(Point, Vec<Sample>)>> {
    let mut measured: Vec<_> = points.into_iter().map(|point| (point, Vec::new())).collect();
    for round in 1..=flags.rounds {
        for (point, samples) in &mut measured {
            let sample = point.measure(bed).unwrap_or_else(Sample::from);
            eprintln!("round {round}: {point}: {:.2} {} ({})", sample.value, point.unit(), sample.note);
            samples.push(sample);
        }
    }
    Ok(measured)
}

/// Prints the table. True if every point has a figure.
fn report(measured: &[(Point, Vec<Sample>)]) -> bool {
    let mut complete = true;
    if !measured.is_empty() {
        println!("\n| what | median | min .. max | unit | busy |\n|---|---|---|---|---|");
    }
    for (point, samples) in measured {
        match summary(samples) {
            Ok(sum) => println!(
                "| {point} | {:.2} | {:.2} .. {:.2} | {} | {:.0} % |",
                sum.median,
                sum.min,
                sum.max,
                point.unit(),
                sum.busy * 100.0
            ),
            Err(why) => {
                complete = false;
                println!("| {point} | - | - | {why} | - |");
            }
        }
    }
    complete
}
