//! How cost grows: with sessions, workers, message size and churn; what a storm leaves behind; and a long steady run.
//!
//! `cargo bench --bench scale`, with `-- --help` for the flags. One gateway only, tidegate: how it compares with others is
//! the business of `benches/peers`.

#![allow(unreachable_pub)] // in a bench `pub` marks what modules of the load offer each other

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
    /// What grows; everything but `steady` without this
    #[arg(long, value_enum, value_delimiter = ',')]
    series: Vec<Series>,
    /// How often each point is measured; rounds of all points are interleaved
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds measured for each point of each round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds of the steady run
    #[arg(long, default_value_t = 1200)]
    steady: u64,
    /// Sessions of the largest point, and of each storm
    #[arg(long, default_value_t = 9000)]
    most: usize,
    /// Another binary of tidegate
    #[arg(long)]
    tidegate: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Series {
    /// Sessions that echo, and sessions that rest
    Sessions,
    /// Workers
    Workers,
    /// Size of a message
    Size,
    /// Sessions that come and go in a second
    Churn,
    /// Memory after storms of sessions
    Storm,
    /// Sessions, echoes and churn for a long time
    Steady,
}

/// The gateway stays on these cores, and everything else on the last.
const CORES: [usize; 2] = [0, 1];

/// What every point is measured in.
pub struct Town {
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

/// True when every figure could be given.
fn scale(flags: &Flags) -> Result<bool> {
    process::raise_descriptors()?;
    process::pin(CORES[1])?;
    let town = Town::new(flags)?;
    let all = [Series::Sessions, Series::Workers, Series::Size, Series::Churn, Series::Storm];
    let chosen = if flags.series.is_empty() { &all[..] } else { &flags.series[..] };
    let points = chosen.iter().flat_map(|series| series::points(*series, flags.most)).collect();
    let mut whole = report(&measure(&town, flags, points)?);
    if chosen.contains(&Series::Storm) {
        whole &= long::storms(&town, flags.most)?;
    }
    if chosen.contains(&Series::Steady) {
        whole &= long::steady(&town, Duration::from_secs(flags.steady))?;
    }
    Ok(whole)
}

impl Town {
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

    /// A fresh gateway with so many workers, and a node whose own messages have `size` bytes.
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

fn measure(town: &Town, flags: &Flags, points: Vec<Point>) -> Result<Vec<(Point, Vec<Sample>)>> {
    let mut measured: Vec<_> = points.into_iter().map(|point| (point, Vec::new())).collect();
    for round in 1..=flags.rounds {
        for (point, samples) in &mut measured {
            let sample = point.measure(town).unwrap_or_else(Sample::from);
            eprintln!("round {round}: {point}: {:.2} {} ({})", sample.value, point.unit(), sample.note);
            samples.push(sample);
        }
    }
    Ok(measured)
}

/// Prints the table; true when every figure could be given.
fn report(measured: &[(Point, Vec<Sample>)]) -> bool {
    let mut whole = true;
    if !measured.is_empty() {
        println!("\n| what | median | least .. most | unit | busy |\n|---|---|---|---|---|");
    }
    for (point, samples) in measured {
        match summary(samples) {
            Ok(sum) => println!(
                "| {point} | {:.2} | {:.2} .. {:.2} | {} | {:.0} % |",
                sum.median,
                sum.least,
                sum.most,
                point.unit(),
                sum.busy * 100.0
            ),
            Err(why) => {
                whole = false;
                println!("| {point} | - | - | {why} | - |");
            }
        }
    }
    whole
}
