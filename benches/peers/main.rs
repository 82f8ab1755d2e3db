//! Compares tidegate with other gateways, its peers: the same work through each of them, one at a time, in interleaved
//! rounds.
//!
//! `benches/peers/run.sh` installs the peers and runs this program; `docs/performance.md` explains the figures.

#![allow(unreachable_pub)] // the shared modules of the load use `pub` for each other

mod aead;
mod gateways;
#[path = "../load/mod.rs"]
mod load;
mod machine;
mod picture;
mod report;
mod work;

use clap::Parser;
use gateways::{Gateway, PageOrigin, is_selected};
use load::manager::Manager;
use load::node::Node;
use load::rows::{BULK, Scene};
use load::run::{self, Room};
use load::stats::{Sample, summary};
use load::{Result, floor, process};
use report::Measured;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use work::{Stage, Work};

/// How long the stream manager takes to answer.
const MANAGER_DELAY: Duration = Duration::from_millis(200);

/// Measures tidegate and its peers, each with one worker, and as a floor a relay without TLS and WebSocket.
#[derive(Parser)]
#[command(name = "peers", bin_name = "benches/peers/run.sh")]
pub struct Flags {
    /// Rows to measure; default: all
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Work>,
    /// Gateways to measure: tidegate, nginx, haproxy, caddy, sozu, floor; default: all
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often each row is measured; rounds of all rows are interleaved
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds measured in each round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Sessions of the idle row
    #[arg(long, default_value_t = 5000)]
    idle: usize,
    /// Messages a second in the latency row; default: half of the best peer's maximum
    #[arg(long)]
    rate: Option<f64>,
    /// No ratio is given if the rounds of a gateway differ by more than this share of their median
    #[arg(long, default_value_t = 0.3)]
    tolerance: f64,
    /// Check that everything works, in about two minutes; the figures are not reliable
    #[arg(long)]
    quick: bool,
    /// The core of the gateways
    #[arg(long, default_value_t = 0)]
    gateway_core: usize,
    /// The core of the clients, the node and the stream manager
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Another tidegate binary instead of the one just built
    #[arg(long)]
    tidegate: Option<PathBuf>,
    /// The tidegate binary before a change: it is the only peer, so the ratios say what the change costs
    #[arg(long)]
    before: Option<PathBuf>,
    /// Directory for peers.json and peers.md
    #[arg(long, default_value = "target/peers")]
    out: PathBuf,
    /// File for the picture
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Run as the floor: listen on the first address, relay to the second
    #[arg(long, hide = true, num_args = 2)]
    floor: Vec<SocketAddr>,
}

fn main() -> ExitCode {
    let mut flags = Flags::parse();
    if flags.quick {
        (flags.rounds, flags.seconds, flags.idle) = (1, 0.4, 300);
    }
    let ran = match flags.floor[..] {
        [listen, node] => floor::run(listen, node).map(|()| true),
        _ => bench(&flags),
    };
    run::ended("peers", ran)
}

/// On SIGINT, SIGTERM or SIGHUP: kills all processes that this one started, removes its directory and exits.
fn end_on_signal(room: PathBuf) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            process::end(&process::family(std::process::id())[1..]);
            drop(Room(room));
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Runs the bench. True if every row has a figure.
fn bench(flags: &Flags) -> Result<bool> {
    process::raise_descriptors()?;
    process::pin(flags.load_core)?;
    let room = Room(std::env::temp_dir().join(format!("tidegate-peers-{}", std::process::id())));
    fs::create_dir(&room.0)?;
    end_on_signal(room.0.clone())?;
    let certificate = gateways::certificates(&room.0)?;
    let node = Node::start(Some(flags.load_core), BULK)?;
    let manager = Manager::start(MANAGER_DELAY)?;
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_tidegate"));
    let site = PageOrigin {
        dir: room.0.clone(),
        node: node.address,
        manager: manager.address,
        tidegate: flags.tidegate.clone().unwrap_or_else(built),
        before: flags.before.clone(),
    };
    let gateways = gateways::all(&site, &flags.only)?;
    let window = Duration::from_secs_f64(flags.seconds);
    let scene = Scene { node, certificate, window, idle: flags.idle };
    let mut stage = Stage { scene, manager, rate: 0.0, stampedes: 0 };
    let rows = if flags.rows.is_empty() { Work::every() } else { &flags.rows[..] };
    if rows.contains(&Work::Latency) {
        stage.rate = flags.rate.map_or_else(|| calibrate(flags, &gateways, &mut stage), Ok)?;
    }
    let measured = measure(flags, &room.0, &gateways, rows, &mut stage)?;
    write_results(flags, &gateways, &measured, stage.rate)
}

/// The rate of the latency row: half of the rate that the fastest peer reaches with as many connections and the same size of
/// message.
fn calibrate(flags: &Flags, gateways: &[Gateway], stage: &mut Stage) -> Result<f64> {
    let mut max: f64 = 0.0;
    for gateway in gateways.iter().filter(|gateway| report::is_peer(gateway.name)) {
        let running = gateway.ecdsa.start(flags.gateway_core, flags.load_core)?;
        let sample = Work::Many.measure(&running, stage).unwrap_or_else(Sample::from);
        if let Ok(sum) = summary(&[sample]) {
            max = max.max(sum.busy * 1e6 / sum.median);
        }
    }
    if max == 0.0 {
        Err("no peer gives a rate for the latency row: set --rate".into())
    } else {
        Ok((max / 2.0).round())
    }
}

fn measure(
    flags: &Flags,
    room: &Path,
    gateways: &[Gateway],
    rows: &[Work],
    stage: &mut Stage,
) -> Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = Vec::new();
    for round in 1..=flags.rounds {
        for row in rows {
            for gateway in gateways.iter().filter(|gateway| row.suits(gateway)) {
                let target = if *row == Work::Rsa { gateway.rsa.as_ref() } else { None };
                // a new process each time, so that no row starts with the memory of another
                let target = target.unwrap_or(&gateway.ecdsa);
                let started = target.start(flags.gateway_core, flags.load_core);
                let sample = match started {
                    Ok(running) => row.measure(&running, stage),
                    Err(why) => Err(format!("{why}; {}", gateways::last_output(room, target)).into()),
                };
                let sample = sample.unwrap_or_else(Sample::from);
                let fault =
                    sample.first_fault.as_deref().map(|why| format!(" FAULT: {why}")).unwrap_or_default();
                let (title, unit, name) = (row.title(), row.unit(), gateway.name);
                eprintln!(
                    "round {round}: {title}, {name}: {:.2} {unit} ({}){fault}",
                    sample.value, sample.note
                );
                match measured.iter_mut().find(|one| one.row == *row && one.name == name) {
                    Some(one) => one.samples.push(sample),
                    None => measured.push(Measured { row: *row, name, samples: vec![sample] }),
                }
            }
        }
    }
    Ok(measured)
}

/// Prints and writes the results. True if every row has a figure for tidegate.
fn write_results(flags: &Flags, gateways: &[Gateway], measured: &[Measured], rate: f64) -> Result<bool> {
    let lines = report::lines(measured, flags.tolerance);
    let info = report::RunInfo { flags, gateways, rate };
    let table = report::markdown(&info, &lines);
    println!("\n{table}");
    write(&flags.out.join("peers.md"), &table)?;
    write(&flags.out.join("peers.json"), &report::json(&info, &lines, measured)?)?;
    if let Some(svg) = &flags.svg {
        write(svg, &picture::draw(&lines))?;
    }
    let selected = |name| is_selected(&flags.only, name);
    Ok(lines.iter().all(|line| line.refused.is_none() || !selected("tidegate")))
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(file, text).map_err(|why| format!("{}: {why}", file.display()).into())
}
