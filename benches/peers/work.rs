//! What is compared: the rows of the table, what each aims at, and how it is measured.

use crate::gateways::Gateway;
use crate::load::Result;
use crate::load::manager::{ANSWER, Manager};
use crate::load::node::{self, ECHO};
use crate::load::pace::{Paced, Rush, percentile};
use crate::load::rows::{self, Row, Scene, WARM_UP};
use crate::load::scripts::{Ask, ComeAndGo};
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
    /// The same, resumed
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
    /// Memory of sessions that have nothing to do
    Idle,
    /// 99th percentile at a fixed rate, 1 KiB, 1000 connections
    Latency,
    /// An answer from the gateway's memory, 64 connections kept alive
    Answer,
    /// 1000 equal questions at once, nothing remembered yet
    Stampede,
    /// Sessions that come and go beside others that echo
    Churn,
    /// A publisher's signalling, 19 messages and the hand-off close
    Signalling,
}

/// What a row aims at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most so much of what the best peer needs.
    Ratio(f64),
    /// At most so much in the row's unit.
    Figure(f64),
}

/// What all rows share.
pub struct Stage {
    pub scene: Scene,
    pub manager: Manager,
    /// Messages a second in the latency row.
    pub rate: f64,
    /// No two stampedes ask for the same stream.
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
    /// All rows in the table's order.
    pub fn every() -> &'static [Self] {
        &EVERY
    }

    /// What is measured, in words.
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

    /// What a figure of this row is.
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

    /// What tidegate aims at here.
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

    /// How far the rounds of one gateway may lie apart, as a share of their median, before no ratio is given. Times on
    /// the wall feel everything else that runs.
    pub fn tolerance(self, of_cpu: f64) -> f64 {
        if matches!(self, Self::Latency | Self::Stampede) { 3.0 * of_cpu } else { of_cpu }
    }

    /// Whether a gateway can do it.
    pub fn suits(self, gateway: &Gateway) -> bool {
        match self {
            Self::Answer => gateway.keeps_answers,
            Self::Stampede => gateway.ecdsa.tls,
            Self::Rsa => gateway.rsa.is_some(),
            _ => true,
        }
    }

    /// Measures once.
    pub fn measure(self, gateway: &Running, stage: &mut Stage) -> Result<Sample> {
        let scene = &stage.scene;
        // the end of the gateway before this one cut its sessions: that is nobody's fault
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

/// Sessions that are there at one time where whole sessions are counted.
const AT_ONCE: usize = 8;

fn signalling(gateway: &Running, scene: &Scene) -> Result<Sample> {
    let mut fleet = rows::fleet(gateway, scene, Some(node::SIGNALLING), false)?;
    let mut script = Signalling::default();
    let refill = |fleet: &mut crate::load::client::Fleet| {
        while fleet.open < AT_ONCE {
            fleet.connect()?;
        }
        Ok(())
    };
    rows::turn(&mut fleet, &mut script, WARM_UP, refill)?;
    let sample =
        rows::window(gateway, &mut fleet, &mut script, scene, |script| script.completed as f64, refill)?;
    // nobody is cut in the middle: the node would take that for a fault
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
    let long = |script: &mut Paced, fleet: &mut crate::load::client::Fleet, long: Duration| {
        let end = Instant::now() + long;
        while Instant::now() < end {
            let next = script.send_due(fleet)?;
            fleet.turn(script, next)?;
        }
        Ok::<(), crate::load::Error>(())
    };
    long(&mut script, &mut fleet, WARM_UP)?;
    script.took.clear();
    let (began, cpu) = (Instant::now(), gateway.cpu()?);
    long(&mut script, &mut fleet, scene.window)?;
    let (spent, wall) = (gateway.cpu()? - cpu, began.elapsed());
    // who is still on the way counts with the time it has waited so far: a stall must not hide itself
    let late = script.close();
    let done = script.took.len();
    let mut sample = Sample::cpu(spent, done as f64, wall, fleet.faults, fleet.first_fault.clone());
    sample.note = format!(
        "p50 {:.0}, p99.9 {:.0}, {:.0}/s of {rate:.0}/s, {late} on the way, {:.2} us CPU/message",
        percentile(&mut script.took, 0.5),
        percentile(&mut script.took, 0.999),
        done as f64 / wall.as_secs_f64(),
        sample.value,
    );
    sample.value = percentile(&mut script.took, 0.99);
    Ok(sample)
}

fn churn(gateway: &Running, scene: &Scene) -> Result<Sample> {
    const ECHOERS: usize = 64;
    const ECHOES: f64 = 2000.0;
    const COMING: f64 = 200.0;
    let mut echoers = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut echo = Paced::new(256, ECHOERS);
    echoers.gather(&mut echo, ECHOERS, |script| script.opened == ECHOERS)?;
    let mut comers = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut come = ComeAndGo::new(256);
    echo.begin(ECHOES);
    let (mut begun, start) = (0_u64, Instant::now());
    let mut turn = |echo: &mut Paced, come: &mut ComeAndGo, long: Duration| {
        let end = Instant::now() + long;
        while Instant::now() < end {
            while (begun as f64) < start.elapsed().as_secs_f64() * COMING {
                comers.connect()?;
                begun += 1;
            }
            let next = echo.send_due(&mut echoers)?;
            comers.turn(come, Duration::ZERO)?;
            echoers.turn(echo, next.min(Duration::from_micros(300)))?;
        }
        Ok::<(), crate::load::Error>(())
    };
    turn(&mut echo, &mut come, WARM_UP)?;
    echo.took.clear();
    let (began, cpu, had) = (Instant::now(), gateway.cpu()?, come.completed);
    turn(&mut echo, &mut come, scene.window)?;
    let (spent, wall, done) = (gateway.cpu()? - cpu, began.elapsed(), (come.completed - had) as f64);
    let faults = echoers.faults + comers.faults + usize::try_from(scene.node.counts.faults.swap(0, Relaxed))?;
    let first = comers.first_fault.clone().or_else(|| echoers.first_fault.clone());
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
    const ASKERS: usize = 64;
    let path = gateway.target.answer_path.clone().ok_or("this gateway keeps no answers")?;
    let mut fleet = rows::fleet(gateway, scene, None, false)?;
    let mut script = Ask::new(&path, gateway.target.address, ANSWER);
    fleet.gather(&mut script, ASKERS, |script| script.answered >= ASKERS as u64)?;
    rows::turn(&mut fleet, &mut script, WARM_UP, rows::nothing)?;
    manager.forget();
    let units = |script: &Ask| script.answered as f64;
    let sample = rows::window(gateway, &mut fleet, &mut script, scene, units, rows::nothing)?;
    match manager.asked() {
        0 => Ok(sample),
        asked => Err(format!("{asked} answers did not come from the gateway's memory").into()),
    }
}

fn stampede(gateway: &Running, stage: &Stage) -> Result<Sample> {
    let question = QUESTION.replace("{name}", &format!("stampede{}", stage.stampedes));
    let mut fleet = rows::fleet(gateway, &stage.scene, None, false)?;
    let mut script = Rush::new(&question, gateway.target.address.port(), ANSWER);
    fleet.gather(&mut script, CONNECTIONS, |script| script.opened == CONNECTIONS)?;
    stage.manager.forget();
    let (began, cpu) = (Instant::now(), gateway.cpu()?);
    for place in 0..CONNECTIONS {
        script.ask(fleet.session(place).ok_or("a connection is gone")?)?;
    }
    while script.answered < CONNECTIONS {
        fleet.turn(&mut script, Duration::from_millis(20))?;
    }
    let first = stage.manager.answered_first().ok_or("nobody asked the manager")?;
    let wall = began.elapsed();
    let spent = gateway.cpu()? - cpu;
    let asked = stage.manager.asked();
    let late = Instant::now().saturating_duration_since(first);
    let mut sample = Sample::cpu(spent, 1.0, wall, fleet.faults, fleet.first_fault.clone());
    sample.value = late.as_secs_f64() * 1e3;
    sample.note = format!("{asked} asked, all answered after {:.0} ms", wall.as_secs_f64() * 1e3);
    Ok(sample)
}
