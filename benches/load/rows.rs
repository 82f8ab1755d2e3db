//! The measurements: each row opens its clients, lets them warm up, and counts units of work and CPU time over a window.

use super::client::{self, Fleet, Script};
use super::node::{self, Node};
use super::scripts::{Download, Echo, RepeatedRequest, ShortSession, Upload};
use super::stats::Sample;
use super::target::Running;
use super::{Result, manager};
use rustls::pki_types::CertificateDer;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Size of the messages in the bulk rows, in bytes.
pub const BULK: usize = 64 * 1024;

/// The surroundings that all rows share.
pub struct Scene {
    pub node: Node,
    pub certificate: CertificateDer<'static>,
    /// How long each row is measured.
    pub window: Duration,
    /// Sessions of the idle row.
    pub idle: usize,
}

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// 256 B echo, 64 connections
    Echo,
    /// 1 KiB echo, 1000 connections
    Many,
    /// 64 KiB messages from the node to 16 clients
    Down,
    /// 64 KiB messages from 16 clients to the node
    Up,
    /// A whole session, full handshake, 8 at a time
    Session,
    /// A whole session, resumed, 8 at a time
    Resumed,
    /// Memory of idle sessions
    Idle,
    /// A stored answer of the gateway, 64 connections kept alive
    Answer,
}

impl Row {
    /// The unit of this row's figures.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Echo | Self::Many => "us CPU/message",
            Self::Down | Self::Up => "us CPU/MiB",
            Self::Session | Self::Resumed => "us CPU/session",
            Self::Idle => "KiB PSS/session",
            Self::Answer => "us CPU/request",
        }
    }

    /// The title of the row in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Echo => "echo 256 B, 64 connections",
            Self::Many => "echo 1 KiB, 1000 connections",
            Self::Down => "node to client, 64 KiB messages",
            Self::Up => "client to node, 64 KiB messages",
            Self::Session => "session, full handshake",
            Self::Resumed => "session, resumed",
            Self::Idle => "idle session",
            Self::Answer => "answer from memory",
        }
    }

    /// Whether the floor can do this work. Bulk rows are left out: the floor has almost no back-pressure, so they would
    /// measure its queue.
    pub fn has_floor(self) -> bool {
        matches!(self, Self::Echo | Self::Many | Self::Session | Self::Idle)
    }

    /// Measures once.
    pub fn measure(self, gateway: &Running, scene: &Scene) -> Result<Sample> {
        match self {
            Self::Echo => echo(gateway, scene, 256, 64),
            Self::Many => echo(gateway, scene, 1024, 1000),
            Self::Down => down(gateway, scene, BULK, 16),
            Self::Up => up(gateway, scene, BULK, 16),
            Self::Session => session(gateway, scene, false),
            Self::Resumed => session(gateway, scene, true),
            Self::Idle => idle(gateway, scene),
            Self::Answer => answer(gateway, scene, 64),
        }
    }
}

/// How long the clients run before anything is counted.
pub const WARM_UP: Duration = Duration::from_millis(400);

/// The clients of a gateway: WebSockets whose `id` is `script`, or plain HTTP without a script.
pub fn fleet(gateway: &Running, scene: &Scene, script: Option<&str>, resume: bool) -> Result<Fleet> {
    let tls = client::tls(&scene.certificate, resume)?;
    let path = script.map(|script| gateway.target.socket_path.replace("{script}", script));
    Fleet::new(&gateway.target, &tls, path.as_deref())
}

/// Runs the clients for `duration`. `before` is called before every turn.
pub fn turn<S: Script>(
    fleet: &mut Fleet,
    script: &mut S,
    duration: Duration,
    mut before: impl FnMut(&mut Fleet) -> Result<()>,
) -> Result<()> {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        before(fleet)?;
        fleet.turn(script, Duration::from_millis(20))?;
    }
    Ok(())
}

/// Measures over the window: the gateway's CPU time for each unit of work. `units` reads the units done so far.
pub fn window<S: Script>(
    gateway: &Running,
    fleet: &mut Fleet,
    script: &mut S,
    scene: &Scene,
    units: impl Fn(&S) -> f64,
    before: impl FnMut(&mut Fleet) -> Result<()>,
) -> Result<Sample> {
    let (started, cpu, units_before) = (Instant::now(), gateway.cpu()?, units(script));
    turn(fleet, script, scene.window, before)?;
    let (spent, done) = (gateway.cpu()? - cpu, units(script) - units_before);
    let wall = started.elapsed();
    let node_faults = usize::try_from(scene.node.counts.faults.swap(0, Relaxed))?;
    let first =
        fleet.first_fault.clone().or_else(|| (node_faults > 0).then(|| "seen by the node".to_owned()));
    let mut sample = Sample::cpu(spent, done, wall, fleet.faults + node_faults, first);
    sample.note = format!("{:.0}/s", done / wall.as_secs_f64());
    Ok(sample)
}

/// The `before` of a turn that needs no preparation.
pub fn nothing(_: &mut Fleet) -> Result<()> {
    Ok(())
}

/// Measures messages of `size` bytes that go to the node and back, one at a time on each connection.
pub fn echo(gateway: &Running, scene: &Scene, size: usize, connections: usize) -> Result<Sample> {
    let mut fleet = fleet(gateway, scene, Some(node::ECHO), false)?;
    let mut script = Echo::new(size, None);
    fleet.gather(&mut script, connections, |script| script.opened == connections as u64)?;
    turn(&mut fleet, &mut script, WARM_UP, nothing)?;
    window(gateway, &mut fleet, &mut script, scene, |script| script.echoed as f64, nothing)
}

/// Bytes in a mebibyte, for rates in MiB.
pub const MIB: f64 = 1024.0 * 1024.0;

/// Measures messages of `size` bytes from the node, which sends them as fast as they are taken.
pub fn down(gateway: &Running, scene: &Scene, size: usize, connections: usize) -> Result<Sample> {
    let mut fleet = fleet(gateway, scene, Some(node::SOURCE), false)?;
    let mut script = Download::new(size);
    fleet.gather(&mut script, connections, |script| script.opened == connections)?;
    turn(&mut fleet, &mut script, WARM_UP, nothing)?;
    window(gateway, &mut fleet, &mut script, scene, |script| script.bytes as f64 / MIB, nothing)
}

/// Measures messages of `size` bytes to the node, sent as fast as it takes them.
pub fn up(gateway: &Running, scene: &Scene, size: usize, connections: usize) -> Result<Sample> {
    let mut fleet = fleet(gateway, scene, Some(node::SINK), false)?;
    let mut script = Upload::new(size);
    fleet.gather(&mut script, connections, |script| script.opened == connections)?;
    turn(&mut fleet, &mut script, WARM_UP, nothing)?;
    let received = |_: &Upload| scene.node.counts.taken.load(Relaxed) as f64 / MIB;
    window(gateway, &mut fleet, &mut script, scene, received, nothing)
}

/// How many sessions run at the same time in the rows of whole sessions.
const CONCURRENT_SESSIONS: usize = 8;

/// Measures whole sessions, [`CONCURRENT_SESSIONS`] at a time.
pub fn session(gateway: &Running, scene: &Scene, resumed: bool) -> Result<Sample> {
    let mut fleet = fleet(gateway, scene, Some(node::ECHO), resumed)?;
    let mut script = ShortSession::new(256);
    let refill = |fleet: &mut Fleet| {
        while fleet.open < CONCURRENT_SESSIONS {
            fleet.connect()?;
        }
        Ok(())
    };
    turn(&mut fleet, &mut script, WARM_UP, refill)?;
    script.resumed = gateway.target.tls.then_some(resumed);
    window(gateway, &mut fleet, &mut script, scene, |script| script.completed as f64, refill)
}

/// How long the sessions are idle before memory is read.
const IDLE_DELAY: Duration = Duration::from_millis(1500);

fn idle(gateway: &Running, scene: &Scene) -> Result<Sample> {
    // sixteen sessions first: memory that the process takes once must not be counted as memory of the sessions
    let mut first = fleet(gateway, scene, Some(node::ECHO), false)?;
    let mut script = Echo::new(1024, Some(1));
    first.gather(&mut script, 16, |script| script.finished == 16)?;
    let mut fleet = fleet(gateway, scene, Some(node::ECHO), false)?;
    let mut script = Echo::new(1024, Some(1));
    turn(&mut first, &mut Echo::new(1024, Some(1)), IDLE_DELAY / 3, nothing)?;
    let before = gateway.memory()?;
    fleet.gather(&mut script, scene.idle, |script| script.finished == scene.idle)?;
    turn(&mut fleet, &mut script, IDLE_DELAY, nothing)?;
    let after = gateway.memory()?;
    let (started, cpu) = (Instant::now(), gateway.cpu()?);
    turn(&mut fleet, &mut script, IDLE_DELAY, nothing)?;
    let spent = gateway.cpu()? - cpu;
    let each = |after: f64, before: f64| (after - before) / scene.idle as f64;
    let rss = each(after.rss, before.rss);
    Ok(Sample {
        value: each(after.pss, before.pss),
        busy: spent.as_secs_f64() / started.elapsed().as_secs_f64(),
        faults: fleet.faults + first.faults,
        first_fault: fleet.first_fault.clone().or_else(|| first.first_fault.clone()),
        note: format!("RSS {rss:.2}"),
    })
}

fn answer(gateway: &Running, scene: &Scene, connections: usize) -> Result<Sample> {
    let path = gateway.target.answer_path.clone().ok_or("this gateway does not store answers")?;
    let mut fleet = fleet(gateway, scene, None, false)?;
    let mut script = RepeatedRequest::new(&path, gateway.target.address, manager::ANSWER);
    fleet.gather(&mut script, connections, |script| script.answered >= connections as u64)?;
    turn(&mut fleet, &mut script, WARM_UP, nothing)?;
    script.hits_only = true;
    window(gateway, &mut fleet, &mut script, scene, |script| script.answered as f64, nothing)
}
