//! What takes long: storms of sessions and what they leave, and hours made short: a steady load, looked at each minute.

use crate::Town;
use crate::load::Result;
use crate::load::client::Fleet;
use crate::load::node::ECHO;
use crate::load::pace::Paced;
use crate::load::rows::{self, Scene, nothing};
use crate::load::scripts::{ComeAndGo, Echo};
use crate::load::target::Running;
use std::time::{Duration, Instant};

/// How many storms.
const STORMS: usize = 5;

/// How long the gateway has after a storm before its memory is read.
const REST: Duration = Duration::from_secs(3);

/// Storm after storm: so many sessions come, echo once, and are gone at once without a word. True without a fault.
pub fn storms(town: &Town, sessions: usize) -> Result<bool> {
    let (gateway, scene) = town.open(1, 64)?;
    storm(&gateway, &scene, 16)?;
    println!(
        "\n| storm of {sessions} sessions | KiB PSS while they are there | after they left | CPU us/session |"
    );
    println!("|---|---|---|---|");
    println!("| before | - | {:.0} | - |", gateway.memory()?.pss);
    for number in 1..=STORMS {
        let cpu = gateway.cpu()?;
        let full = storm(&gateway, &scene, sessions)?;
        std::thread::sleep(REST);
        let spent = (gateway.cpu()? - cpu).as_secs_f64() * 1e6 / sessions as f64;
        println!("| {number} | {full:.0} | {:.0} | {spent:.0} |", gateway.memory()?.pss);
    }
    Ok(true)
}

/// One storm; memory at its height, in KiB.
fn storm(gateway: &Running, scene: &Scene, sessions: usize) -> Result<f64> {
    let mut fleet = rows::fleet(gateway, scene, Some(ECHO), false)?;
    let mut script = Echo::new(256, Some(1));
    fleet.gather(&mut script, sessions, |script| script.finished == sessions)?;
    Ok(gateway.memory()?.pss)
}

/// The steady load: sessions that stay, what they echo in a second, and sessions that come and go in a second.
const STAYING: usize = 1000;
const ECHOES: f64 = 4000.0;
const COMING: f64 = 100.0;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// A steady load for so long. True if nothing went wrong.
pub fn steady(town: &Town, long: Duration) -> Result<bool> {
    let (gateway, scene) = town.open(1, 64)?;
    let mut stayers = rows::fleet(&gateway, &scene, Some(ECHO), false)?;
    let mut echo = Paced::new(256, STAYING);
    stayers.gather(&mut echo, STAYING, |script| script.opened == STAYING)?;
    let mut comers = rows::fleet(&gateway, &scene, Some(ECHO), true)?;
    rows::turn(&mut comers, &mut ComeAndGo::new(256), Duration::ZERO, nothing)?;
    echo.begin(ECHOES);
    let mut course =
        Course { stayers, echo, comers, come: ComeAndGo::new(256), begun: 0, start: Instant::now() };
    println!(
        "\n| second | KiB PSS | us CPU/s | sessions | p99 of an echo, us | faults |\n|---|---|---|---|---|---|"
    );
    while course.start.elapsed() < long {
        course.echo.took.clear();
        let (began, cpu, had) = (Instant::now(), gateway.cpu()?, course.come.completed);
        course.turn(LOOK.min(long))?;
        let spent = (gateway.cpu()? - cpu).as_secs_f64() * 1e6 / began.elapsed().as_secs_f64();
        println!(
            "| {} | {:.0} | {spent:.0} | {} | {:.0} | {} |",
            course.start.elapsed().as_secs(),
            gateway.memory()?.pss,
            course.come.completed - had,
            crate::load::pace::percentile(&mut course.echo.took, 0.99),
            course.faults()
        );
    }
    Ok(course.faults() == 0)
}

struct Course {
    stayers: Fleet,
    echo: Paced,
    comers: Fleet,
    come: ComeAndGo,
    begun: u64,
    start: Instant,
}

impl Course {
    fn turn(&mut self, long: Duration) -> Result<()> {
        let end = Instant::now() + long;
        while Instant::now() < end {
            while (self.begun as f64) < self.start.elapsed().as_secs_f64() * COMING {
                self.comers.connect()?;
                self.begun += 1;
            }
            let next = self.echo.send_due(&mut self.stayers)?;
            self.comers.turn(&mut self.come, Duration::ZERO)?;
            self.stayers.turn(&mut self.echo, next.min(Duration::from_micros(300)))?;
        }
        Ok(())
    }

    fn faults(&self) -> usize {
        self.stayers.faults + self.comers.faults
    }
}
