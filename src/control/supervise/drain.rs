//! The end of the process: sessions go on after a hand-over, the workers drain, older processes drain too. A drain that the
//! operator began at the admin listener can be taken back.

use crate::control::process::state::{DrainReport, Phase, ProcessState, answer};
use crate::control::signals::{ControlEvent, Reply};
use crate::control::supervise::accepting::await_accepting;
use crate::control::supervise::report::{End, POLL_INTERVAL, STATUS_INTERVAL, status_line};
use crate::control::systemd::{self, Watchdog};
use crate::control::upgrade::handover::{Handover, Left};
use crate::control::workers::interface::Workers;
use std::sync::Arc;
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

/// How a drain went.
#[derive(Debug)]
pub(crate) enum Drained {
    /// The process ends.
    Over,
    /// The drain was taken back: the workers accept again.
    Undone,
}

/// How the closing of the sessions ended.
#[derive(Debug)]
enum Closing {
    /// No connection is left, or the window is over.
    Over,
    /// A second signal wants the end at once.
    Cut,
    /// The drain is to be taken back, with so much of its window left.
    Undo(Reply<()>, Duration),
}

/// What may happen to a drain while it is in its window.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// A signal to end came, so that the next one is the second.
    signalled: bool,
    /// The drain was requested at the admin listener and can be taken back there, until a signal comes.
    may_undo: bool,
    /// What began the drain, in words.
    cause: &'static str,
}

impl Asked {
    const fn by_signal() -> Self {
        Self { signalled: true, may_undo: false, cause: End::Signal.drain_cause() }
    }
}

impl Drain<'_> {
    /// Ends all sessions, and waits for older processes unless another process does; or takes the drain back.
    pub(crate) fn run(&mut self, end: End, handover: &mut Handover) -> Drained {
        let config = &self.state.served().config.gateway;
        if end == End::HandedOver {
            let window = config.drain.min(config.upgrade_drain);
            let began = Instant::now();
            let signalled = handover.leave_to_successor(self.state, self.workers, self.events);
            handover.send_late_state(self.workers);
            let kept_until = began + config.upgrade_drain.saturating_sub(window);
            let signalled =
                signalled || self.keep_sessions(kept_until, handover) == Kept::Asked { signalled: true };
            self.close_sessions(window, Asked { signalled, may_undo: false, cause: end.drain_cause() });
            return Drained::Over;
        }
        let others_end = Instant::now() + config.drain + OTHERS_MARGIN;
        let in_charge = handover.is_in_charge();
        if in_charge {
            handover.drain_older_processes();
        }
        let mut asked = Asked {
            signalled: end == End::Signal,
            may_undo: end == End::AdminRequest,
            cause: end.drain_cause(),
        };
        let (mut undo, mut window) = (None, config.drain);
        match handover.leave_queues(self.state, self.workers, self.events, asked.may_undo) {
            Left::Quiet => {}
            Left::Signalled if asked.signalled => {
                let connections = self.state.connections();
                tracing::warn!(connections, "second signal, cutting open connections");
                return Drained::Over;
            }
            Left::Signalled => asked = Asked::by_signal(),
            Left::Undo(reply) => undo = Some(reply),
        }
        loop {
            if let Some(reply) = undo.take()
                && self.undo(handover, reply)
            {
                return Drained::Undone;
            }
            match self.close_sessions(window, asked) {
                Closing::Over if in_charge => {
                    self.await_other_processes(handover, others_end);
                    return Drained::Over;
                }
                Closing::Over | Closing::Cut => return Drained::Over,
                Closing::Undo(reply, left) => (undo, window) = (Some(reply), left),
            }
        }
    }

    /// Lets the workers accept again and sends the outcome. Returns whether they do; otherwise the drain has to go on.
    fn undo(&mut self, handover: &Handover, reply: Reply<()>) -> bool {
        let count = self.state.metrics.len();
        let reopened = match self.workers.exited_worker() {
            Some(worker) => Err(format!("worker {worker} ended by itself")),
            None => handover.reopen(self.workers, count).map_err(|error| error.to_string()),
        };
        let accepting = reopened.and_then(|()| match await_accepting(self.workers) {
            Ok(()) => Ok(()),
            Err(_) => Err("a worker can't accept connections; the log says why".to_owned()),
        });
        let is_undone = accepting.is_ok();
        match &accepting {
            Ok(()) => {
                self.state.phase.undo_drain();
                self.state.drain.store(None);
                systemd::status(&status_line(self.state));
                tracing::info!(sessions = self.state.sessions(), "drain taken back, serving again");
            }
            Err(why) => tracing::error!("drain not taken back: {why}; draining on"),
        }
        answer(Some(reply), accepting);
        is_undone
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

    /// Lets the workers drain and waits until no connection is open, `window` is over, a second signal comes, or the drain is to be
    /// taken back. Without a signal so far the first one is not yet the second: service managers send theirs even if the drain was
    /// requested at the admin listener before.
    fn close_sessions(&mut self, window: Duration, mut asked: Asked) -> Closing {
        let state = self.state;
        state.phase.advance(Phase::Draining);
        // systemd takes STOPPING back as little as a signal
        match asked.may_undo {
            true => systemd::status(&status_line(state)),
            false => systemd::stopping(&status_line(state), window),
        }
        self.workers.drain(window, asked.may_undo);
        let deadline = Instant::now() + window;
        let undo = if asked.may_undo { "; `tidegate drain --undo` takes it back" } else { "" };
        tracing::info!(sessions = state.sessions(), "draining for at most {window:?}, {}{undo}", asked.cause);
        self.report(deadline, asked);
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut ticks = Ticks::default();
        while state.connections() > 0 {
            match self.events.recv_timeout(POLL_INTERVAL) {
                Ok(ControlEvent::End) if asked.signalled => {
                    let connections = state.connections();
                    tracing::warn!(connections, "second signal, cutting open connections");
                    return Closing::Cut;
                }
                Ok(ControlEvent::End) => {
                    asked = Asked::by_signal();
                    tracing::info!("signal to end, the drain is under way already");
                    self.report(deadline, asked);
                    systemd::stopping(&status_line(state), left());
                }
                Ok(ControlEvent::UndoDrain(reply)) if asked.may_undo => return Closing::Undo(reply, left()),
                Ok(event) => state.refuse(event),
                Err(_) => {}
            }
            if left().is_zero() {
                let connections = state.connections();
                tracing::warn!(connections, "the drain is over, cutting open connections");
                return Closing::Over;
            }
            self.keep_alive(&mut ticks, left());
        }
        tracing::info!("drained");
        Closing::Over
    }

    /// Shows the drain in `/api/status`.
    fn report(&self, until: Instant, Asked { cause, may_undo, .. }: Asked) {
        self.state.drain.store(Some(Arc::new(DrainReport { cause, until, may_undo })));
    }

    /// Waits until older processes and a dismissed successor have drained too, or until `deadline`: systemd kills them when
    /// the main process ends. A signal ends the wait.
    fn await_other_processes(&mut self, handover: &Handover, deadline: Instant) {
        let left = || deadline.saturating_duration_since(Instant::now());
        systemd::stopping(&status_line(self.state), left());
        let mut ticks = Ticks::default();
        while handover.has_other_processes() && Instant::now() < deadline {
            match self.events.recv_timeout(POLL_INTERVAL) {
                Ok(ControlEvent::End) => return,
                Ok(event) => self.state.refuse(event),
                Err(_) => {}
            }
            self.keep_alive(&mut ticks, left());
        }
    }

    /// Sends systemd, at its intervals, what keeps it from ending this process in the time that is `left`.
    fn keep_alive(&mut self, ticks: &mut Ticks, left: Duration) {
        if self.watchdog.interval().is_some_and(|interval| ticks.checked.elapsed() >= interval) {
            self.watchdog.check(&self.state.metrics);
            ticks.checked = Instant::now();
        }
        if ticks.status_sent.elapsed() >= STATUS_INTERVAL {
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
