//! Measures the cost of one worker end to end: CPU time per message, MiB, session and answer, and memory per idle session.
//!
//! `cargo bench --bench relay`, with `-- --help` for the flags; `docs/performance.md` explains the figures.

#![allow(unreachable_pub)] // the shared modules of the load use `pub` for each other

mod load;

use clap::Parser;
use load::manager::Manager;
use load::node::Node;
use load::rows::{BULK, Row, Scene};
use load::run::{self, Room};
use load::stats::{Sample, summary};
use load::target::Target;
use load::tidegate::Build;
use load::{Result, floor, process};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Measures tidegate with one worker, and as a floor a relay without TLS and WebSocket.
#[derive(Parser)]
#[command(name = "relay", bin_name = "cargo bench --bench relay --")]
struct Flags {
    /// Rows to measure; default: all
    #[arg(long, value_enum, value_delimiter = ',')]
    rows: Vec<Row>,
    /// How often each row is measured; rounds of all rows are interleaved
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds measured in each round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Sessions of the idle row
    #[arg(long, default_value_t = 2000)]
    idle: usize,
    /// The core of the gateway
    #[arg(long, default_value_t = 0)]
    gateway_core: usize,
    /// The core of the clients and the node
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Another tidegate binary to measure in the same rounds; may be given several times
    #[arg(long)]
    also: Vec<PathBuf>,
    /// Leave the floor out
    #[arg(long)]
    no_floor: bool,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Run as the floor: listen on the first address, relay to the second
    #[arg(long, hide = true, num_args = 2)]
    floor: Vec<SocketAddr>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let ran = match flags.floor[..] {
        [listen, node] => floor::run(listen, node).map(|()| true),
        _ => bench(&flags),
    };
    run::ended("relay", ran)
}

/// Runs the bench. True if every row has a figure.
fn bench(flags: &Flags) -> Result<bool> {
    process::raise_descriptors()?;
    process::pin(flags.load_core)?;
    let room = Room(std::env::temp_dir().join(format!("tidegate-relay-{}", std::process::id())));
    fs::create_dir(&room.0)?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(room.0.join("chain.pem"), made.cert.pem())?;
    fs::write(room.0.join("key.pem"), made.signing_key.serialize_pem())?;
    let scene = Scene {
        node: Node::start(Some(flags.load_core), BULK)?,
        certificate: made.cert.der().clone(),
        window: Duration::from_secs_f64(flags.seconds),
        idle: flags.idle,
    };
    let targets = targets(flags, &room.0, scene.node.address, Manager::start(Duration::ZERO)?.address)?;
    let all = [Row::Echo, Row::Many, Row::Down, Row::Up, Row::Session, Row::Resumed, Row::Idle, Row::Answer];
    let rows = if flags.rows.is_empty() { &all[..] } else { &flags.rows[..] };
    let measured = measure(flags, &scene, &targets, rows)?;
    Ok(report(flags, &measured))
}

/// The tidegate that was just built, the binaries of `--also`, and the floor.
fn targets(flags: &Flags, room: &Path, node: SocketAddr, manager: SocketAddr) -> Result<Vec<Target>> {
    let mut binaries = vec![("tidegate".to_owned(), PathBuf::from(env!("CARGO_BIN_EXE_tidegate")))];
    for also in &flags.also {
        binaries.push((also.file_name().unwrap_or_default().to_string_lossy().into_owned(), also.clone()));
    }
    let mut targets = Vec::new();
    for (index, (name, binary)) in binaries.into_iter().enumerate() {
        let build = Build {
            binary: &binary,
            chain: room.join("chain.pem"),
            key: room.join("key.pem"),
            node,
            manager,
            workers: 1,
            message_max: "64KiB",
        };
        targets.push(build.target(&name, &room.join(format!("{index}.toml")))?);
    }
    if !flags.no_floor {
        targets.push(floor::target(node)?);
    }
    Ok(targets)
}

/// All rounds of one row on one gateway.
struct Measured {
    row: Row,
    name: String,
    samples: Vec<Sample>,
}

fn measure(flags: &Flags, scene: &Scene, targets: &[Target], rows: &[Row]) -> Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = Vec::new();
    for round in 1..=flags.rounds {
        for row in rows {
            for target in targets.iter().filter(|target| row.has_floor() || target.tls) {
                // a new process each time, so that no row starts with the memory of another
                let running = target.start(flags.gateway_core, flags.load_core)?;
                let sample = row.measure(&running, scene).unwrap_or_else(Sample::from);
                eprintln!(
                    "round {round}: {}, {}: {:.2} {} ({})",
                    row.title(),
                    target.name,
                    sample.value,
                    row.unit(),
                    sample.note
                );
                let index = measured.iter().position(|one| one.row == *row && one.name == target.name);
                let index = index.unwrap_or_else(|| {
                    measured.push(Measured { row: *row, name: target.name.clone(), samples: Vec::new() });
                    measured.len() - 1
                });
                measured[index].samples.push(sample);
            }
        }
    }
    Ok(measured)
}

/// Prints the table. True if every row has a figure.
fn report(flags: &Flags, measured: &[Measured]) -> bool {
    println!(
        "\nmedians of {} interleaved rounds of {} s; gateway (one worker) on core {}, clients and node on core {};\n\
         CPU time of the gateway's process from /proc/PID/task/*/schedstat; TLS 1.3, AES-128-GCM, X25519, ECDSA P-256;\n\
         every byte is compared; `busy` is the share of its core that the gateway used\n",
        flags.rounds, flags.seconds, flags.gateway_core, flags.load_core
    );
    println!("{:<33} {:<10} {:>10}  {:<21} {:>5}  unit", "row", "gateway", "median", "min .. max", "busy");
    let mut complete = true;
    for Measured { row, name, samples } in measured {
        match summary(samples) {
            Ok(sum) => println!(
                "{:<33} {name:<10} {:>10.2}  {:<21} {:>4.0}%  {}",
                row.title(),
                sum.median,
                format!("{:.2} .. {:.2}", sum.min, sum.max),
                sum.busy * 100.0,
                row.unit()
            ),
            Err(why) => {
                complete = false;
                println!("{:<33} {name:<10} no figure: {why}", row.title());
            }
        }
    }
    complete
}
