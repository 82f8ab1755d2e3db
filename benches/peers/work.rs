//! The rows of the table: the goal of each, and how it is measured.

use crate::gateways::Gateway;
use crate::load::Result;
use crate::load::manager::{ANSWER, Manager};
use crate::load::node::{self, ECHO};
use crate::load::pace::{Paced, Rush, percentile};
use crate::load::rows::{self, Row, Scene, WARM_UP};
use crate::load::scripts::{RepeatedRequest, ShortSession};
use crate::load::signalling::Signalling;
use crate::load::stats::Sample;
use crate::load::target::Running;
use crate::load::tidegate::QUESTION;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// A whole session: handshake, dial, upgrade, one echo, close
    Session,
    /// The same with a resumed handshake
    Resumed,
    /// The same with an RSA-2048 certificate
    Rsa,
    /// 256 B echo, 64 connections
    Echo,
    /// 1 KiB echo, 1000 connections
    Many,
    /// 64 KiB messages from the node to 16 clients
    Down,
    /// 64 KiB messages from 16 clients to the node
    Up,
    /// Memory of idle sessions
    Idle,
    /// 99th percentile at a fixed rate, 1 KiB, 1000 connections
    Latency,
    /// A stored answer of the gateway, 64 connections kept alive
    Answer,
    /// 1000 equal questions at once without a stored answer
    Stampede,
    /// Short sessions beside sessions that echo
    Churn,
    /// The signalling of a publisher: 19 messages and the Close of the hand-off
    Signalling,
}

/// The goal of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Cost of tidegate divided by the cost of the best peer, at most.
    Ratio(f64),
    /// A figure in the unit of the row, at most.
    Figure(f64),
}

/// The surroundings that all rows share.
pub struct Stage {
    pub scene: Scene,
    pub manager: Manager,
    /// Messages a second in the latency row.
    pub rate: f64,
    /// Number of stampedes so far: each asks for another stream.
    pub stampedes: u64,
}

const EVERY: [Work; 13] = [
    Work::Session,
    Work::Resumed,
    Work::Rsa,
    Work::Signalling,
    Work::Churn,
    Work::Echo,
    Work::Many,
    Work::Down,
    Work::Up,
    Work::Idle,
    Work::Latency,
    Work::Answer,
    Work::Stampede,
];

impl Work {
    /// All rows in the order of the table.
    pub fn every() -> &'static [Self] {
        &EVERY
    }

    /// The title of the row in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Session => "whole session, full handshake",
            Self::Resumed => "whole session, resumed",
            Self::Rsa => "whole session, RSA-2048",
            Self::Signalling => "SDK signalling of a session",
            Self::Churn => "200 sessions/s beside 2,000 echoes/s",
            Self::Echo => "echo 256 B, 64 connections",
            Self::Many => "echo 1 KiB, 1,000 connections",
            Self::Down => "node to client, 64 KiB messages",
            Self::Up => "client to node, 64 KiB messages",
            Self::Idle => "idle session",
            Self::Latency => "p99 at a fixed rate, 1,000 connections",
            Self::Answer => "answer from memory, 64 connections",
            Self::Stampede => "1,000 equal questions at once",
        }
    }

    /// The unit of this row's figures.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Session | Self::Resumed | Self::Rsa | Self::Signalling | Self::Churn => "us CPU/session",
            Self::Echo | Self::Many => "us CPU/message",
            Self::Down | Self::Up => "us CPU/MiB",
            Self::Idle => "KiB PSS/session",
            Self::Latency => "us",
            Self::Answer => "us CPU/request",
            Self::Stampede => "ms after the answer",
        }
    }

    /// The goal of tidegate in this row.
    pub fn goal(self) -> Goal {
        match self {
            Self::Session | Self::Resumed | Self::Signalling => Goal::Ratio(0.65),
            Self::Rsa | Self::Down => Goal::Ratio(0.75),
            Self::Churn => Goal::Ratio(0.70),
            Self::Echo => Goal::Ratio(0.85),
            Self::Many | Self::Up | Self::Answer => Goal::Ratio(0.80),
            Self::Latency => Goal::Ratio(1.0),
            Self::Idle => Goal::Figure(8.0),
            Self::Stampede => Goal::Figure(10.0),
        }
    }

    /// How far the rounds of one gateway may differ, as a share of their median, before no ratio is given. Rows that measure
    /// wall-clock time get three times the tolerance of CPU time, because other processes disturb them more.
    pub fn tolerance(self, of_cpu: f64) -> f64 {
        if matches!(self, Self::Latency | Self::Stampede) { 3.0 * of_cpu } else { of_cpu }
    }

    /// Whether a gateway can do this work.
    pub fn suits(self, gateway: &Gateway) -> bool {
        match self {
            Self::Answer => gateway.stores_answers,
            Self::Stampede => gateway.ecdsa.tls,
            Self::Rsa => gateway.rsa.is_some(),
            _ => true,
        }
    }

    /// Measures once.
    pub fn measure(self, gateway: &Running, stage: &mut Stage) -> Result<Sample> {
        let scene = &stage.scene;
        // the end of the previous gateway cut its sessions: the faults that the node counted then do not count
        scene.node.counts.faults.store(0, Relaxed);
        match self {
            Self::Session | Self::Rsa => Row::Session.measure(gateway, scene),
            Self::Resumed => Row::Resumed.measure(gateway, scene),
            Self::Echo => Row::Echo.measure(gateway, scene),
            Self::Many => Row::Many.measure(gateway, scene),
            Self::Down => Row::Down.measure(gateway, scene),
            Self::Up => Row::Up.measure(gateway, scene),
            Self::Idle => Row::Idle.measure(gateway, scene),
            Self::Signalling => signalling(gateway, scene),
            Self::Churn => churn(gateway, scene),
            Self::Latency => latency(gateway, scene, stage.rate),
            Self::Answer => answer(gateway, scene, &stage.manager),
            Self::Stampede => {
                stage.stampedes += 1;
                stampede(gateway, stage)
            }
        }
    }
}

/// How many sessions run at the same time where whole sessions are counted.
const CONCURRENT_SESSIONS: usize = 8;

fn signalling(gateway: &Running, scene: &Scene) -> Result<Sample> {
    let mut fleet = rows::fleet(gateway, scene, Some(node::SIGNALLING), false)?;
    let mut script = Signalling::default();
    let refill = |fleet: &mut crate::load::client::Fleet| {
        while fleet.open < CONCURRENT_SESSIONS {
            fleet.connect()?;
        }
        Ok(())
    };
    rows::turn(&mut fleet, &mut script, WARM_UP, refill)?;
    let sample =
        rows::window(gateway, &mut fleet, &mut script, scene, |script| script.completed as f64, refill)?;
    // lets the open sessions finish: the node would count a cut session as a fault
    let end = Instant::now() + Duration::from_secs(1);
    while fleet.open > 0 && Instant::now() < end {
        fleet.turn(&mut script, Duration::from_millis(20))?;
    }
    Ok(sample)
}

/// Connections of the latency row.
const CONNECTIONS: usize = 1000;

fn latency(gateway: &Running, scene: &Scene, rate: f64) -> Result<Sample> {
    let mut fleet = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut script = Paced::new(1024, CONNECTIONS);
    fleet.gather(&mut script, CONNECTIONS, |script| script.opened == CONNECTIONS)?;
    script.begin(rate);
    let run_for = |script: &mut Paced, fleet: &mut crate::load::client::Fleet, duration: Duration| {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            let next = script.send_due(fleet)?;
            fleet.turn(script, next)?;
        }
        Ok::<(), crate::load::Error>(())
    };
    run_for(&mut script, &mut fleet, WARM_UP)?;
    script.took.clear();
    let (started, cpu) = (Instant::now(), gateway.cpu()?);
    run_for(&mut script, &mut fleet, scene.window)?;
    let (spent, wall) = (gateway.cpu()? - cpu, started.elapsed());
    // messages still under way count with the time they have waited so far: otherwise a stall would not show
    let late = script.close();
    let done = script.took.len();
    let mut sample = Sample::cpu(spent, done as f64, wall, fleet.faults, fleet.first_fault.clone());
    sample.note = format!(
        "p50 {:.0}, p99.9 {:.0}, {:.0}/s of {rate:.0}/s, {late} under way, {:.2} us CPU/message",
        percentile(&mut script.took, 0.5),
        percentile(&mut script.took, 0.999),
        done as f64 / wall.as_secs_f64(),
        sample.value,
    );
    sample.value = percentile(&mut script.took, 0.99);
    Ok(sample)
}

fn churn(gateway: &Running, scene: &Scene) -> Result<Sample> {
    const ECHO_SESSIONS: usize = 64;
    const ECHOES_PER_SECOND: f64 = 2000.0;
    const SESSIONS_PER_SECOND: f64 = 200.0;
    let mut echo_fleet = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut echo = Paced::new(256, ECHO_SESSIONS);
    echo_fleet.gather(&mut echo, ECHO_SESSIONS, |script| script.opened == ECHO_SESSIONS)?;
    let mut short_fleet = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut short = ShortSession::new(256);
    echo.begin(ECHOES_PER_SECOND);
    let (mut connected, start) = (0_u64, Instant::now());
    let mut run_for = |echo: &mut Paced, short: &mut ShortSession, duration: Duration| {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            while (connected as f64) < start.elapsed().as_secs_f64() * SESSIONS_PER_SECOND {
                short_fleet.connect()?;
                connected += 1;
            }
            let next = echo.send_due(&mut echo_fleet)?;
            short_fleet.turn(short, Duration::ZERO)?;
            echo_fleet.turn(echo, next.min(Duration::from_micros(300)))?;
        }
        Ok::<(), crate::load::Error>(())
    };
    run_for(&mut echo, &mut short, WARM_UP)?;
    echo.took.clear();
    let (started, cpu, before) = (Instant::now(), gateway.cpu()?, short.completed);
    run_for(&mut echo, &mut short, scene.window)?;
    let (spent, wall, done) = (gateway.cpu()? - cpu, started.elapsed(), (short.completed - before) as f64);
    let faults =
        echo_fleet.faults + short_fleet.faults + usize::try_from(scene.node.counts.faults.swap(0, Relaxed))?;
    let first = short_fleet.first_fault.clone().or_else(|| echo_fleet.first_fault.clone());
    let mut sample = Sample::cpu(spent, done, wall, faults, first);
    sample.note = format!(
        "{:.0} sessions/s, {:.0} echoes/s, p99 of an echo {:.0} us",
        done / wall.as_secs_f64(),
        echo.took.len() as f64 / wall.as_secs_f64(),
        percentile(&mut echo.took, 0.99)
    );
    Ok(sample)
}

fn answer(gateway: &Running, scene: &Scene, manager: &Manager) -> Result<Sample> {
    const CONNECTIONS: usize = 64;
    let path = gateway.target.answer_path.clone().ok_or("this gateway does not store answers")?;
    let mut fleet = rows::fleet(gateway, scene, None, false)?;
    let mut script = RepeatedRequest::new(&path, gateway.target.address, ANSWER);
    fleet.gather(&mut script, CONNECTIONS, |script| script.answered >= CONNECTIONS as u64)?;
    rows::turn(&mut fleet, &mut script, WARM_UP, rows::nothing)?;
    manager.forget();
    let units = |script: &RepeatedRequest| script.answered as f64;
    let sample = rows::window(gateway, &mut fleet, &mut script, scene, units, rows::nothing)?;
    match manager.asked() {
        0 => Ok(sample),
        asked => {
            Err(format!("expected only stored answers, found {asked} questions to the stream manager").into())
        }
    }
}

fn stampede(gateway: &Running, stage: &Stage) -> Result<Sample> {
    let question = QUESTION.replace("{name}", &format!("stampede{}", stage.stampedes));
    let mut fleet = rows::fleet(gateway, &stage.scene, None, false)?;
    let mut script = Rush::new(&question, gateway.target.address.port(), ANSWER);
    fleet.gather(&mut script, CONNECTIONS, |script| script.opened == CONNECTIONS)?;
    stage.manager.forget();
    let (started, cpu) = (Instant::now(), gateway.cpu()?);
    for index in 0..CONNECTIONS {
        script.ask(fleet.session(index).ok_or("a connection has ended")?)?;
    }
    while script.answered < CONNECTIONS {
        fleet.turn(&mut script, Duration::from_millis(20))?;
    }
    let first = stage.manager.answered_first().ok_or("the stream manager got no question")?;
    let wall = started.elapsed();
    let spent = gateway.cpu()? - cpu;
    let asked = stage.manager.asked();
    let late = Instant::now().saturating_duration_since(first);
    let mut sample = Sample::cpu(spent, 1.0, wall, fleet.faults, fleet.first_fault.clone());
    sample.value = late.as_secs_f64() * 1e3;
    sample.note =
        format!("{asked} questions to the manager, all answered after {:.0} ms", wall.as_secs_f64() * 1e3);
    Ok(sample)
}
