//! Messages to systemd (sd_notify(3)): readiness, status, watchdog, stored sockets. Without systemd all of it does nothing.

use crate::control::cpu_time::{self, CpuTime};
use crate::metrics::WorkerMetrics;
use sd_notify::NotifyState;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// CPU time after which a worker without a heartbeat is stuck: with so much, a healthy one sweeps, which it does four times a
/// second.
const CPU_TIME_MAX: Duration = Duration::from_millis(500);

/// The name under which systemd stores our own listening sockets and gives them back at the next start.
pub const STORED: &str = "tidegate";

/// Descriptors per message; the kernel takes at most 253 (SCM_MAX_FD, unix(7)).
const STORED_PER_MESSAGE: usize = 64;

/// How much longer than `gateway.drain` systemd is asked to wait for the end of this process.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// What this process is to the service, and so which messages it may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The main process: it sends everything.
    Main,
    /// The main process, and it ends: it must not report that it is ready any more, as the end of a reload would.
    Stopping,
    /// Another process is the main process: what this one sends would be taken for news of that one.
    Other,
}

/// Held while a message is sent, so that messages of several threads keep the order of the roles.
static ROLE: Mutex<Role> = Mutex::new(Role::Main);

/// Sends a message in these roles, and takes the role `next` with it. In another role it does nothing.
fn notify_as(roles: &[Role], next: Option<Role>, states: &[NotifyState<'_>], descriptors: &[BorrowedFd<'_>]) {
    let mut role = ROLE.lock().unwrap_or_else(PoisonError::into_inner);
    if !roles.contains(&*role) {
        return;
    }
    if let Err(error) = sd_notify::notify_with_fds(states, descriptors) {
        tracing::debug!("can't notify systemd: {error}");
    }
    *role = next.unwrap_or(*role);
}

/// Sends news that the main process may always send.
fn notify(states: &[NotifyState<'_>]) {
    notify_as(&[Role::Main, Role::Stopping], None, states, &[]);
}

/// Sends news that would be wrong once the process ends.
fn notify_unless_stopping(states: &[NotifyState<'_>]) {
    notify_as(&[Role::Main], None, states, &[]);
}

/// The process serves: every worker listens. `status` is a line for `systemctl status`.
pub fn ready(status: &str) {
    notify_unless_stopping(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A line for `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// A reload began; systemd waits for [`reloaded`]. The message carries the time, as `Type=notify-reload` requires.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify_unless_stopping(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("can't notify systemd of the reload: {error}"),
    }
}

/// The reload is over, whether it was refused or not.
pub fn reloaded() {
    notify_unless_stopping(&[NotifyState::Ready]);
}

/// The process ends after a drain of at most `drain`.
pub fn stopping(status: &str, drain: Duration) {
    let extend = extend_timeout(drain);
    let states = [NotifyState::Stopping, NotifyState::Custom(&extend), NotifyState::Status(status)];
    notify_as(&[Role::Main, Role::Stopping], Some(Role::Stopping), &states, &[]);
}

/// The drain takes `left` at most from now on. systemd wants to hear that again before the time of the last message is over, if
/// it was told that the process ends.
pub fn still_stopping(status: &str, left: Duration) {
    let states = [NotifyState::Custom(&extend_timeout(left)), NotifyState::Status(status)];
    notify_as(&[Role::Stopping], None, &states, &[]);
    notify_as(&[Role::Main], None, &states[1..], &[]);
}

/// The request to wait for `time`. systemd reads 64 bits of microseconds; the type of `sd_notify` has 32, which is 71 minutes.
fn extend_timeout(time: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", (time + STOP_MARGIN).as_micros())
}

/// Another process is the main process of the service until [`take_over`]: this one sends nothing.
pub fn await_turn() {
    *ROLE.lock().unwrap_or_else(PoisonError::into_inner) = Role::Other;
}

/// The predecessor named this process as the main process.
pub fn take_over() {
    *ROLE.lock().unwrap_or_else(PoisonError::into_inner) = Role::Main;
}

/// Makes `successor` the main process of the service. It is the last message of this process: a later one, such as that it
/// is stopping, would be taken for one of the successor.
pub fn hand_over(successor: u32) {
    notify_as(&[Role::Main], Some(Role::Other), &[NotifyState::MainPid(successor)], &[]);
}

/// Makes this process the main process again, because the successor ended at the last moment. systemd takes the message only
/// where `NotifyAccess=` lets other processes than the main one speak.
pub fn take_back() {
    let own = [NotifyState::MainPid(std::process::id())];
    notify_as(&[Role::Other], Some(Role::Main), &own, &[]);
}

/// Gives systemd a copy of these sockets, and of no others, to keep over a restart: clients that connect meanwhile wait in
/// their queues. Does nothing if the unit has no `FileDescriptorStoreMax=`.
pub fn store(sockets: &[BorrowedFd<'_>]) {
    // sockets of addresses that are not served any more would take clients that no process accepts
    notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(STORED)]);
    for some in sockets.chunks(STORED_PER_MESSAGE) {
        let states = [NotifyState::FdStore, NotifyState::FdName(STORED)];
        notify_as(&[Role::Main], None, &states, some);
    }
}

/// Whether systemd keeps what [`store`] gives it. systemd itself sets `FDSTORE` from version 254 on; for earlier versions our
/// unit file sets it.
pub fn keeps_sockets() -> bool {
    let most = std::env::var("FDSTORE").ok().and_then(|most| most.parse::<u32>().ok());
    std::env::var_os("NOTIFY_SOCKET").is_some() && most.is_some_and(|most| most > 0)
}

/// Checks that the main loop of every worker runs, and sends systemd's watchdog messages only while all of them do.
#[derive(Debug)]
pub struct Watchdog {
    interval: Option<Duration>,
    /// What was seen of each worker when its heartbeat last moved.
    seen: Vec<Seen>,
}

/// A worker at the check that found its heartbeat moved.
#[derive(Debug, Clone, Copy)]
struct Seen {
    heartbeat: u64,
    at: Instant,
    /// `None` where the kernel does not tell.
    cpu: Option<CpuTime>,
}

/// What the watchdog finds of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Responsive,
    /// Its heartbeat stands still because other processes have the cores: a restart would not help.
    Starved,
    /// Its heartbeat stands still although it ran, or it waits for something else than a core.
    Unresponsive,
}

impl Watchdog {
    /// A watchdog with half of the interval that systemd asks for; without systemd it only checks.
    pub fn new() -> Self {
        Self { interval: sd_notify::watchdog_enabled().map(|whole| whole / 2), seen: Vec::new() }
    }

    /// How often to call [`Watchdog::check`]; `None` if systemd does not ask for messages.
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Sends a watchdog message if the heartbeat of every worker has moved since the last call, or could not move because the
    /// machine gave the worker no core. Otherwise it logs which worker is unresponsive and marks it for `/livez`.
    pub fn check(&mut self, workers: &[Arc<WorkerMetrics>]) {
        let heartbeats: Vec<_> = workers.iter().map(|worker| worker.heartbeat.get()).collect();
        let findings = self.judge(&heartbeats, &cpu_time::of_workers(workers.len()), Instant::now());
        for (worker, finding) in workers.iter().zip(&findings) {
            worker.unresponsive.set(i64::from(*finding == Finding::Unresponsive));
        }
        if let Some(worker) = findings.iter().position(|finding| *finding == Finding::Starved) {
            tracing::warn!(worker, "worker starved: other processes have the cores of this machine");
        }
        match findings.iter().position(|finding| *finding == Finding::Unresponsive) {
            None => notify(&[NotifyState::Watchdog]),
            Some(worker) => tracing::error!(worker, "worker unresponsive, watchdog withheld"),
        }
    }

    /// What the heartbeats and CPU times of all workers at `now` show.
    fn judge(&mut self, heartbeats: &[u64], cpu: &[Option<CpuTime>], now: Instant) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (index, (heartbeat, cpu)) in heartbeats.iter().zip(cpu).enumerate() {
            let present = Seen { heartbeat: *heartbeat, at: now, cpu: *cpu };
            let finding = self.seen.get(index).map_or(Finding::Responsive, |seen| seen.judge(&present));
            findings.push(finding);
            match self.seen.get_mut(index) {
                None => self.seen.push(present),
                Some(seen) if finding == Finding::Responsive => *seen = present,
                Some(_) => {}
            }
        }
        findings
    }
}

impl Seen {
    /// What `now` shows of the worker, compared with the last check at which it was responsive.
    fn judge(&self, now: &Self) -> Finding {
        if self.heartbeat != now.heartbeat {
            return Finding::Responsive;
        }
        let (Some(then), Some(cpu)) = (self.cpu, now.cpu) else { return Finding::Unresponsive };
        let ran = cpu.ran.saturating_sub(then.ran);
        let waited = cpu.waited.saturating_sub(then.waited);
        // a wait that goes on is not in the kernel's count yet, but the thread is ready to run
        let waits_for_core = cpu.is_runnable || waited >= (now.at - self.at) / 2;
        if ran < CPU_TIME_MAX && waits_for_core { Finding::Starved } else { Finding::Unresponsive }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of a thread in milliseconds.
    fn cpu(ran: u64, waited: u64, is_runnable: bool) -> Option<CpuTime> {
        let [ran, waited] = [ran, waited].map(Duration::from_millis);
        Some(CpuTime { ran, waited, is_runnable })
    }

    /// The findings of checks every two seconds, of one worker with this heartbeat and these times.
    fn findings(checks: &[(u64, Option<CpuTime>)]) -> Vec<Finding> {
        let mut watchdog = Watchdog { interval: None, seen: Vec::new() };
        let began = Instant::now();
        let mut judge = |(index, (heartbeat, cpu)): (usize, &(u64, Option<CpuTime>))| {
            let now = began + Duration::from_secs(2) * u32::try_from(index).expect("a few");
            watchdog.judge(&[*heartbeat], &[*cpu], now)[0]
        };
        checks.iter().enumerate().map(&mut judge).collect()
    }

    #[test]
    fn a_long_drain_extends_the_timeout_by_all_of_it() {
        assert_eq!(extend_timeout(Duration::from_secs(1)), "EXTEND_TIMEOUT_USEC=6000000");
        assert_eq!(
            extend_timeout(Duration::from_secs(7_200)),
            "EXTEND_TIMEOUT_USEC=7205000000",
            "not 71 minutes"
        );
    }

    #[test]
    fn a_worker_whose_heartbeat_does_not_move_is_unresponsive() {
        use Finding::{Responsive, Unresponsive};
        let mut watchdog = Watchdog { interval: None, seen: Vec::new() };
        let now = Instant::now();
        let mut judge = |heartbeats: [u64; 2]| watchdog.judge(&heartbeats, &[None; 2], now);
        assert_eq!(judge([0, 0]), [Responsive; 2], "the first call has nothing to compare with");
        assert_eq!(judge([1, 1]), [Responsive; 2]);
        assert_eq!(judge([2, 1]), [Responsive, Unresponsive]);
        assert_eq!(judge([2, 1]), [Unresponsive; 2]);
        assert_eq!(judge([3, 2]), [Responsive; 2]);
    }

    #[test]
    fn a_worker_that_waits_for_a_core_is_starved_and_not_unresponsive() {
        use Finding::{Responsive, Starved, Unresponsive};
        let waits_all_the_time = [(1, cpu(100, 5, false)), (1, cpu(100, 5, true)), (1, cpu(100, 5, true))];
        assert_eq!(findings(&waits_all_the_time), [Responsive, Starved, Starved]);
        let ran_a_little = [(1, cpu(100, 5, false)), (1, cpu(300, 1700, false)), (2, cpu(310, 3000, false))];
        assert_eq!(findings(&ran_a_little), [Responsive, Starved, Responsive]);
        // with the little time that it gets it does not sweep either
        let stuck = [(1, cpu(100, 5, false)), (1, cpu(400, 1700, true)), (1, cpu(700, 3400, true))];
        assert_eq!(findings(&stuck), [Responsive, Starved, Unresponsive]);
    }

    #[test]
    fn a_worker_that_spins_or_is_blocked_is_unresponsive_at_the_first_check() {
        use Finding::{Responsive, Unresponsive};
        let spins = [(1, cpu(100, 5, false)), (1, cpu(2100, 5, true))];
        assert_eq!(findings(&spins), [Responsive, Unresponsive]);
        let blocked = [(1, cpu(100, 5, false)), (1, cpu(101, 6, false))];
        assert_eq!(findings(&blocked), [Responsive, Unresponsive]);
    }
}
