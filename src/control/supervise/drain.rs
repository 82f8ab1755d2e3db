//! The end of the process: sessions go on after a hand-over, the workers drain, older processes drain too.

use crate::control::process::state::{Phase, ProcessState};
use crate::control::signals::ControlEvent;
use crate::control::supervise::report::{End, POLL_INTERVAL, STATUS_INTERVAL, status_line};
use crate::control::systemd::{self, Watchdog};
use crate::control::upgrade::handover::Handover;
use crate::control::workers::interface::Workers;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How often a process that handed over checks whether its last session has ended.
const KEEP_INTERVAL: Duration = Duration::from_millis(100);

/// How long requests that were under way may still make WHIP sessions, of which the successor is told.
const LATE_STATE_TIMEOUT: Duration = Duration::from_secs(60);

/// How much longer than its own drain the main process waits for the others.
const OTHERS_MARGIN: Duration = Duration::from_secs(1);

/// What the end of the process needs.
pub(crate) struct Drain<'s> {
    pub(crate) state: &'s ProcessState,
    pub(crate) workers: &'s dyn Workers,
    pub(crate) events: &'s Receiver<ControlEvent>,
    pub(crate) watchdog: &'s mut Watchdog,
}

/// What ended the time in which a process that handed over keeps its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// The time is over, or nothing is left to keep.
    Over,
    /// A signal, or a request at the admin listener or of the process in charge.
    Asked { signalled: bool },
}

impl Drain<'_> {
    /// Ends all sessions, and waits for older processes unless another process does.
    pub(crate) fn run(&mut self, end: End, handover: &mut Handover) {
        let config = &self.state.served().config.gateway;
        if end == End::HandedOver {
            let window = config.drain.min(config.upgrade_drain);
            let began = Instant::now();
            let signalled = handover.leave_to_successor(self.state, self.workers, self.events);
            handover.send_late_state(self.workers);
            let kept_until = began + config.upgrade_drain.saturating_sub(window);
            let signalled =
                signalled || self.keep_sessions(kept_until, handover) == Kept::Asked { signalled: true };
            self.close_sessions(window, signalled);
            return;
        }
        let others_end = Instant::now() + config.drain + OTHERS_MARGIN;
        let in_charge = handover.is_in_charge();
        if in_charge {
            handover.drain_older_processes();
        }
        let signalled = end == End::Signal;
        let again = handover.leave_queues(self.state, self.workers, self.events);
        if signalled && again {
            tracing::warn!(connections = self.state.connections(), "second signal, cutting open connections");
        } else if self.close_sessions(config.drain, signalled || again) && in_charge {
            self.await_other_processes(handover, others_end);
        }
    }

    /// After a hand-over: lets the sessions go on until `until`, until the last connection is gone, or until the process is asked
    /// to drain.
    fn keep_sessions(&mut self, until: Instant, handover: &mut Handover) -> Kept {
        self.state.phase.advance(Phase::Draining);
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() && self.state.connections() > 0 {
            tracing::info!(
                sessions = self.state.sessions(),
                "sessions go on here for {left:.0?}, then they drain"
            );
        }
        let began = Instant::now();
        let mut checked = began;
        while self.state.connections() > 0 && Instant::now() < until {
            match self.events.recv_timeout(KEEP_INTERVAL) {
                Ok(ControlEvent::End) => {
                    tracing::info!("signal to end, draining now");
                    return Kept::Asked { signalled: true };
                }
                Ok(ControlEvent::Drain) => return Kept::Asked { signalled: false },
                Ok(event) => self.state.refuse(event),
                Err(_) => {}
            }
            if handover.is_asked_to_drain() {
                tracing::info!("the process in charge ends, draining too");
                return Kept::Asked { signalled: false };
            }
            if checked.elapsed() >= STATUS_INTERVAL {
                checked = Instant::now();
                if let Some(worker) = self.workers.exited_worker() {
                    tracing::error!(worker, "worker ended by itself");
                    return Kept::Over;
                }
                self.watchdog.check(&self.state.metrics);
                if began.elapsed() < LATE_STATE_TIMEOUT {
                    handover.send_late_state(self.workers);
                }
            }
        }
        handover.send_late_state(self.workers);
        Kept::Over
    }

    /// Lets the workers drain and waits until no connection is open, `window` is over, or a second signal comes; in the last case
    /// it returns false. `signalled` says whether a signal came already. Otherwise the first one is not yet the second: service
    /// managers send theirs even if the drain was requested at the admin listener before.
    fn close_sessions(&mut self, window: Duration, mut signalled: bool) -> bool {
        let state = self.state;
        state.phase.advance(Phase::Draining);
        systemd::stopping(&status_line(state), window);
        self.workers.drain(window);
        tracing::info!(sessions = state.sessions(), "draining for at most {window:?}");
        let deadline = Instant::now() + window;
        let mut ticks = Ticks::default();
        while state.connections() > 0 {
            match self.events.recv_timeout(POLL_INTERVAL) {
                Ok(ControlEvent::End) if std::mem::replace(&mut signalled, true) => {
                    tracing::warn!(
                        connections = state.connections(),
                        "second signal, cutting open connections"
                    );
                    return false;
                }
                Ok(event) => state.refuse(event),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                tracing::warn!(
                    connections = state.connections(),
                    "the drain is over, cutting open connections"
                );
                return true;
            }
            self.keep_alive(&mut ticks, deadline);
        }
        tracing::info!("drained");
        true
    }

    /// Waits until older processes and a dismissed successor have drained too, or until `deadline`: systemd kills them when
    /// the main process ends. A signal ends the wait.
    fn await_other_processes(&mut self, handover: &Handover, deadline: Instant) {
        let mut ticks = Ticks::default();
        while handover.has_other_processes() && Instant::now() < deadline {
            match self.events.recv_timeout(POLL_INTERVAL) {
                Ok(ControlEvent::End) => return,
                Ok(event) => self.state.refuse(event),
                Err(_) => {}
            }
            self.keep_alive(&mut ticks, deadline);
        }
    }

    /// Sends systemd, at its intervals, what keeps it from ending this process before `deadline`.
    fn keep_alive(&mut self, ticks: &mut Ticks, deadline: Instant) {
        if self.watchdog.interval().is_some_and(|interval| ticks.checked.elapsed() >= interval) {
            self.watchdog.check(&self.state.metrics);
            ticks.checked = Instant::now();
        }
        if ticks.status_sent.elapsed() >= STATUS_INTERVAL {
            let left = deadline.saturating_duration_since(Instant::now());
            systemd::still_stopping(&status_line(self.state), left);
            ticks.status_sent = Instant::now();
        }
    }
}

/// When the messages that repeat were sent last.
struct Ticks {
    checked: Instant,
    status_sent: Instant,
}

impl Default for Ticks {
    fn default() -> Self {
        Self { checked: Instant::now(), status_sent: Instant::now() }
    }
}
