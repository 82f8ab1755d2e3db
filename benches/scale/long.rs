//! The long measurements: memory after storms of sessions, and a steady load that is sampled every minute.

use crate::TestBed;
use crate::load::Result;
use crate::load::client::Fleet;
use crate::load::node::ECHO;
use crate::load::pace::Paced;
use crate::load::rows::{self, Scene, nothing};
use crate::load::scripts::{Echo, ShortSession};
use crate::load::target::Running;
use std::time::{Duration, Instant};

/// Number of storms.
const STORMS: usize = 5;

/// How long after a storm the memory of the gateway is read.
const SETTLE_DELAY: Duration = Duration::from_secs(3);

/// Runs the storms one after the other: `sessions` sessions connect, echo once, and are all cut at the same time. True if
/// no fault occurred.
pub fn storms(bed: &TestBed, sessions: usize) -> Result<bool> {
    let (gateway, scene) = bed.open(1, 64)?;
    storm(&gateway, &scene, 16)?;
    println!(
        "\n| storm of {sessions} sessions | KiB PSS while they are open | after their end | CPU us/session |"
    );
    println!("|---|---|---|---|");
    println!("| before | - | {:.0} | - |", gateway.memory()?.pss);
    for number in 1..=STORMS {
        let cpu = gateway.cpu()?;
        let full = storm(&gateway, &scene, sessions)?;
        std::thread::sleep(SETTLE_DELAY);
        let spent = (gateway.cpu()? - cpu).as_secs_f64() * 1e6 / sessions as f64;
        println!("| {number} | {full:.0} | {:.0} | {spent:.0} |", gateway.memory()?.pss);
    }
    Ok(true)
}

/// Runs one storm. Returns the memory of the gateway while all sessions are open, in KiB.
fn storm(gateway: &Running, scene: &Scene, sessions: usize) -> Result<f64> {
    let mut fleet = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut script = Echo::new(256, Some(1));
    fleet.gather(&mut script, sessions, |script| script.finished == sessions)?;
    Ok(gateway.memory()?.pss)
}

/// The steady load: number of lasting sessions, echoes per second over all of them, and short sessions per second.
const LASTING_SESSIONS: usize = 1000;
const ECHOES_PER_SECOND: f64 = 4000.0;
const SESSIONS_PER_SECOND: f64 = 100.0;

/// How often the steady load is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

/// Runs a steady load for `duration`. True if no fault occurred.
pub fn steady(bed: &TestBed, duration: Duration) -> Result<bool> {
    let (gateway, scene) = bed.open(1, 64)?;
    let mut lasting = rows::fleet(&gateway, &scene, Some(ECHO), false)?;
    let mut echo = Paced::new(256, LASTING_SESSIONS);
    lasting.gather(&mut echo, LASTING_SESSIONS, |script| script.opened == LASTING_SESSIONS)?;
    let mut short_fleet = rows::fleet(&gateway, &scene, Some(ECHO), true)?;
    rows::turn(&mut short_fleet, &mut ShortSession::new(256), Duration::ZERO, nothing)?;
    echo.begin(ECHOES_PER_SECOND);
    let mut load = SteadyLoad {
        lasting,
        echo,
        short_fleet,
        short: ShortSession::new(256),
        connected: 0,
        start: Instant::now(),
    };
    println!(
        "\n| second | KiB PSS | us CPU/s | sessions | p99 of an echo, us | faults |\n|---|---|---|---|---|---|"
    );
    while load.start.elapsed() < duration {
        load.echo.took.clear();
        let (started, cpu, before) = (Instant::now(), gateway.cpu()?, load.short.completed);
        load.turn(SAMPLE_INTERVAL.min(duration))?;
        let spent = (gateway.cpu()? - cpu).as_secs_f64() * 1e6 / started.elapsed().as_secs_f64();
        println!(
            "| {} | {:.0} | {spent:.0} | {} | {:.0} | {} |",
            load.start.elapsed().as_secs(),
            gateway.memory()?.pss,
            load.short.completed - before,
            crate::load::pace::percentile(&mut load.echo.took, 0.99),
            load.faults()
        );
    }
    Ok(load.faults() == 0)
}

struct SteadyLoad {
    lasting: Fleet,
    echo: Paced,
    short_fleet: Fleet,
    short: ShortSession,
    connected: u64,
    start: Instant,
}

impl SteadyLoad {
    fn turn(&mut self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            while (self.connected as f64) < self.start.elapsed().as_secs_f64() * SESSIONS_PER_SECOND {
                self.short_fleet.connect()?;
                self.connected += 1;
            }
            let next = self.echo.send_due(&mut self.lasting)?;
            self.short_fleet.turn(&mut self.short, Duration::ZERO)?;
            self.lasting.turn(&mut self.echo, next.min(Duration::from_micros(300)))?;
        }
        Ok(())
    }

    fn faults(&self) -> usize {
        self.lasting.faults + self.short_fleet.faults
    }
}
