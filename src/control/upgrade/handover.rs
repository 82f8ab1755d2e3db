//! The hand-over of the listeners: this process takes them from its predecessor and passes them on to its successor. They never
//! close in between.
//!
//! A new process first proves that it could serve; until then it accepts no connection. Told to serve, it acknowledges that it
//! does; until then the old process serves too. Only then it is in charge, and the old process stops accepting. So a failure of
//! the new process before that leaves the old one serving. This file does not know what is served.

use crate::control::admin::operator_listeners::OperatorListeners;
use crate::control::process::state::{Phase, ProcessState, answer};
use crate::control::signals::{ControlEvent, Reply};
use crate::control::start::control_pipe::{ControlPipe, DrainingPredecessor, Message};
use crate::control::start::inherited::Inherited;
use crate::control::start::listeners::{BindError, Ports};
use crate::control::start::program::Program;
use crate::control::systemd;
use crate::control::upgrade::spawn::{Lent, spawn};
use crate::control::upgrade::successor::{Step, Successor};
use crate::control::upgrade::turn::{Outcome, Turn};
use crate::control::workers::interface::Workers;
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Old processes that may drain while one serves. Nothing would break with more, but each holds memory.
const DRAINING_MAX: usize = 2;

/// How long connections that were accepted just before this process stopped accepting may take to send a request: at the end of
/// the process, and after a hand-over, where only this process's end waits for them.
const HANDSHAKES_TIMEOUT: Duration = Duration::from_secs(3);
const HANDED_OVER_HANDSHAKES_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a condition is checked while it is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long the answers of the listeners for operators may take after a hand-over.
const ADMIN_LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// This process between its predecessor and its successor.
#[derive(Debug, Default)]
pub struct Handover {
    /// What to start as a successor; none if this program can't be started again.
    program: Option<Program>,
    ports: Ports,
    /// systemd keeps the listening sockets too, so their queues outlast this process.
    kept: bool,
    /// systemd keeps the sockets that gateways opened.
    keeps_own: bool,
    operator_listeners: OperatorListeners,
    /// The wait for the predecessor.
    turn: Turn,
    /// Older processes that still drain, the predecessor of this one among them once it handed over.
    draining: Vec<DrainingPredecessor>,
    /// A new process on its way.
    successor: Option<Successor>,
    /// Waits for what becomes of the new process.
    reply: Option<Reply<u32>>,
    /// A successor that was told to serve, and then to end, because this process ends.
    dismissed: Option<Successor>,
    /// How many reloads had been requested when the successor was started: it may not have read what later ones are about.
    reloads_before: u64,
    /// The state that the successor got.
    exported: HashSet<String>,
    /// Held until this process ends: the successor sees the end by its end of this pipe.
    pipe_to_successor: Option<ControlPipe>,
}

/// What ended the wait for connections that were accepted just before this process stopped accepting.
#[derive(Debug)]
pub enum Left {
    /// Every one has sent its first request, or the time is over.
    Quiet,
    /// A signal to end.
    Signalled,
    /// A request to take the drain back.
    Undo(Reply<()>),
}

impl Handover {
    /// Takes everything that is not a socket from what was inherited. `program` is what a successor is started from.
    pub fn new(program: Option<Program>, inherited: &mut Inherited) -> Self {
        let turn = Turn::after(inherited.predecessor.take());
        let keeps_own = inherited.keeps_own || systemd::keeps_sockets();
        let kept = inherited.kept || keeps_own;
        let draining = std::mem::take(&mut inherited.draining);
        Self { program, turn, kept, keeps_own, draining, ..Self::default() }
    }

    /// Takes what will be passed on. The listeners for operators begin to answer at once, unless a predecessor still does.
    pub fn hold(&mut self, ports: Ports, operator_listeners: OperatorListeners) {
        (self.ports, self.operator_listeners) = (ports, operator_listeners);
        if !self.turn.is_awaited() {
            self.operator_listeners.open();
        }
    }

    /// Lets the listeners for operators begin to answer, if they have not. After a hand-over this process has to be in charge
    /// first: monitoring that heard so from the predecessor must not hear otherwise.
    pub fn open_operator_listeners(&mut self) {
        self.operator_listeners.open();
    }

    /// Ends this process when the predecessor ends before this process is ready. Call it after [`signals::listen`]: threads inherit
    /// which signals are blocked. Fails if no thread can be started.
    ///
    /// [`signals::listen`]: crate::control::signals::listen
    pub fn watch_predecessor(&self) -> io::Result<()> {
        self.turn.watch()
    }

    /// Tells the predecessor why this process could not take over.
    pub fn report_failure(&mut self, why: &str) {
        self.turn.report_failure(why);
    }

    /// Waits until the predecessor lets this process serve. Without a predecessor it returns at once.
    pub fn await_turn(&mut self, workers: &dyn Workers, events: &Receiver<ControlEvent>) -> Outcome {
        self.turn.await_go(workers, events)
    }

    /// Once the workers accept: waits until the predecessor puts this process in charge. Returns false if a signal came before.
    pub fn await_charge(&mut self, workers: &dyn Workers, events: &Receiver<ControlEvent>) -> bool {
        if !self.turn.await_charge(workers, events) {
            return false;
        }
        self.draining.extend(self.turn.take_charge());
        true
    }

    /// Whether a reload was requested while this process was not in charge; asked once.
    pub fn take_reload_wanted(&mut self) -> bool {
        self.turn.take_reload_wanted()
    }

    /// Takes over what predecessors learned since they handed over.
    pub fn import_late_state(&mut self, workers: &dyn Workers) {
        for predecessor in &mut self.draining {
            while let Message::Line(line) = predecessor.pipe.receive() {
                workers.import_state(&line);
            }
        }
    }

    /// Lets all listeners listen and all workers accept. Fails if a port can't be listened on.
    pub fn listen(&mut self, workers: &dyn Workers) -> Result<(), BindError> {
        self.ports.listen()?;
        workers.accept();
        Ok(())
    }

    /// Gives systemd copies of the sockets that gateways opened, to keep them over a restart.
    pub fn store_sockets(&self) {
        let own: Vec<_> = self.ports.sockets().filter(|(_, own)| *own).map(|(socket, _)| socket).collect();
        systemd::store(&own);
    }

    /// Starts a successor, unless one is on its way already. [`Handover::advance`] tells what becomes of it, and `reply` gets the
    /// outcome.
    pub fn begin(&mut self, state: &ProcessState, reply: Option<Reply<u32>>) {
        if let Some(successor) = &self.successor {
            let pid = successor.pid();
            tracing::warn!(pid, "a new process is being started already");
            return answer(reply, Err(format!("a new process ({pid}) is being started already")));
        }
        self.reloads_before = state.reloads_requested.load(Ordering::SeqCst);
        self.reply = reply;
        match self.start() {
            Ok(successor) => self.successor = Some(successor),
            Err(why) => self.report_no_successor(why),
        }
    }

    /// Reports why the listeners were not handed over, to the log and to the client that requested it.
    fn report_no_successor(&mut self, why: String) {
        tracing::error!("listeners not handed over: {why}; serving on");
        answer(self.reply.take(), Err(why));
    }

    fn start(&mut self) -> Result<Successor, String> {
        let program = self.program.as_ref().ok_or("this program can't be started a second time")?;
        if std::process::id() == 1 {
            return Err("the container ends with this process, its process 1; replace the container".into());
        }
        self.draining.retain(DrainingPredecessor::is_alive);
        if self.draining.len() >= DRAINING_MAX {
            let pids: Vec<_> = self.draining.iter().map(|process| process.pid.to_string()).collect();
            let pids = pids.join(" and ");
            return Err(format!(
                "{pids} still drain; wait for one of them, or let it drain now with SIGTERM"
            ));
        }
        tracing::info!(program = %program.path().display(), "starting a new process to hand the listeners to");
        let failed = |error| format!("can't start {} ({error})", program.path().display());
        self.spawn(program).map_err(failed)
    }

    /// Starts `program` with copies of all descriptors that a successor needs.
    pub(crate) fn spawn(&self, program: &Program) -> io::Result<Successor> {
        let (ours, theirs) = ControlPipe::pair()?;
        let kind = |own| if own { "own" } else { "unit" };
        let sockets = self.ports.sockets().map(|(socket, own)| (kind(own), socket, None));
        let operators = self.operator_listeners.sockets();
        let operators =
            operators.map(|(socket, of_unit)| (if of_unit { "unit" } else { "admin" }, socket, None));
        let draining = self.draining.iter().map(|process| ("past", process.as_fd(), Some(process.pid)));
        let report = ("report", theirs.as_fd(), Some(std::process::id()));
        let all: Vec<Lent<'_>> = sockets.chain(operators).chain(draining).chain([report]).collect();
        Ok(Successor::new(spawn(program, &all)?, ours))
    }

    /// Whether a successor is on its way.
    pub fn is_under_way(&self) -> bool {
        self.successor.is_some()
    }

    /// Takes the successor one step further: when it is ready it gets the state of the workers and is told to serve. Returns
    /// whether it serves, so that it can be put in charge. If it has failed, the log says why, and this process serves on.
    pub fn advance(&mut self, workers: &dyn Workers) -> bool {
        let Some(successor) = &mut self.successor else { return false };
        let step = successor.poll().and_then(|step| {
            if step == Step::Ready {
                let state = workers.export_state();
                let told = successor.tell_to_serve(&state);
                told.map_err(|error| format!("the new process ended ({error})"))?;
                self.exported = state.into_iter().collect();
            }
            Ok(step)
        });
        match step {
            Ok(step) => step == Step::Serving,
            Err(why) => {
                successor.end();
                self.successor = None;
                self.report_no_successor(why);
                false
            }
        }
    }

    /// Ends a successor that is not in charge yet.
    pub fn cancel(&mut self) {
        if let Some(mut successor) = self.successor.take() {
            tracing::warn!(pid = successor.pid(), "hand-over cancelled, ending the new process");
            successor.dismiss();
            answer(self.reply.take(), Err("this process was told to drain meanwhile".to_owned()));
            if let Some(mut former) = self.dismissed.replace(successor) {
                former.kill();
            }
        }
    }

    /// Puts the successor in charge. Returns false if it has ended, or if a drain was requested; then this process goes on as
    /// before.
    pub fn step_down(&mut self, state: &ProcessState) -> bool {
        let Some(mut successor) = self.successor.take() else { return false };
        let pid = successor.pid();
        // from here on the reloader refuses: each reload either counts below or is refused
        state.successor.set(Some(pid));
        if state.phase.get() != Phase::Serving {
            // the request is in the queue of events
            state.successor.set(None);
            self.successor = Some(successor);
            return false;
        }
        let reload = state.reloads_requested.load(Ordering::SeqCst) != self.reloads_before;
        if let Err(why) = successor.put_in_charge(reload) {
            state.successor.set(None);
            successor.end();
            self.report_no_successor(why);
            return false;
        }
        tracing::info!(pid, "handed the listeners over");
        self.pipe_to_successor = Some(successor.pipe);
        true
    }

    /// After [`Handover::step_down`]: stops accepting, and leaves the listeners for operators to the successor. Returns whether a signal to
    /// end came.
    pub fn leave_to_successor(
        &mut self,
        state: &ProcessState,
        workers: &dyn Workers,
        events: &Receiver<ControlEvent>,
    ) -> bool {
        let answering = self.operator_listeners.hand_over();
        // after it, so that the next command of that operator reaches the successor
        if let Some(pid) = state.successor.get() {
            answer(self.reply.take(), Ok(pid));
        }
        let timeout = HANDED_OVER_HANDSHAKES_TIMEOUT.min(state.served().config.gateway.upgrade_drain);
        let left = self.leave(state, workers, events, timeout, false);
        // until then requests that were meant for the successor may still be answered here
        let deadline = Instant::now() + ADMIN_LEAVE_TIMEOUT;
        for last_answer in answering {
            let _ = last_answer.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        matches!(left, Left::Signalled)
    }

    /// Sends the successor what the workers learned since the last time: requests that were under way may have made WHIP sessions.
    pub fn send_late_state(&mut self, workers: &dyn Workers) {
        let Some(pipe) = &mut self.pipe_to_successor else { return };
        for line in workers.export_state() {
            // it fails if the successor has ended: then nothing is left to be told
            if !self.exported.contains(&line) && pipe.send(&line).is_err() {
                return;
            }
            self.exported.insert(line);
        }
    }

    /// Whether the process in charge ends and asks this one to drain now. It is asked at the end of the service.
    pub fn is_asked_to_drain(&mut self) -> bool {
        let Some(pipe) = &mut self.pipe_to_successor else { return false };
        matches!(pipe.receive(), Message::Line(line) if line == "drain")
    }

    /// At the end of the process: stops accepting if systemd keeps the sockets, so that queued connections wait for the next
    /// process, and if a predecessor serves. Otherwise the drain accepts and answers them. With `may_undo` the copies of the
    /// sockets stay here, so that the drain can be taken back.
    pub fn leave_queues(
        &mut self,
        state: &ProcessState,
        workers: &dyn Workers,
        events: &Receiver<ControlEvent>,
        may_undo: bool,
    ) -> Left {
        let mut left = Left::Quiet;
        if (self.kept || self.turn.is_awaited()) && self.ports.sockets().next().is_some() {
            state.phase.advance(Phase::Draining);
            let timeout = HANDSHAKES_TIMEOUT.min(state.served().config.gateway.drain);
            left = self.leave(state, workers, events, timeout, may_undo);
        }
        if !may_undo {
            // copies: if they outlived those of the workers, clients would wait in queues that no process empties
            self.ports = Ports::default();
        }
        left
    }

    /// Stops accepting. Connections that were accepted just before may still send their first request here, for `timeout`: a
    /// refusal now would be one that the next process would not give. A signal to end, and with `may_undo` a request to take the
    /// drain back, end the wait.
    fn leave(
        &mut self,
        state: &ProcessState,
        workers: &dyn Workers,
        events: &Receiver<ControlEvent>,
        timeout: Duration,
        may_undo: bool,
    ) -> Left {
        workers.leave();
        if !may_undo {
            self.ports = Ports::default();
        } else if !self.keeps_own {
            // beside sockets of a socket unit: no next process would accept from their queues
            self.ports.stop_own();
        }
        let deadline = Instant::now() + timeout;
        while workers.pending_handshakes() != Some(0) && Instant::now() < deadline {
            match events.recv_timeout(POLL_INTERVAL) {
                Ok(ControlEvent::End) => {
                    tracing::info!("signal to end, draining now");
                    return Left::Signalled;
                }
                Ok(ControlEvent::UndoDrain(reply)) if may_undo => return Left::Undo(reply),
                Ok(event) => state.refuse(event),
                Err(_) => {}
            }
        }
        Left::Quiet
    }

    /// Takes back a drain that this process was asked for at the admin listener: the workers get their listeners again. Fails if
    /// an address can't be listened on any more.
    pub fn reopen(&self, workers: &dyn Workers, count: usize) -> Result<(), BindError> {
        workers.reopen(self.ports.reopen(count, self.keeps_own)?);
        Ok(())
    }

    /// At the end of the process: kills a successor that was told to end and did not, and ends the listeners for operators after
    /// their last answers.
    pub fn end(&mut self) {
        if let Some(mut successor) = self.dismissed.take() {
            successor.kill();
        }
        self.operator_listeners.end();
    }

    /// Whether this process is the service: no predecessor is.
    pub fn is_in_charge(&self) -> bool {
        !self.turn.is_awaited()
    }

    /// Asks older processes, which may keep their sessions for `gateway.upgrade_drain`, to drain now: systemd kills them when
    /// the main process ends.
    pub fn drain_older_processes(&mut self) {
        for process in &mut self.draining {
            // it fails if the process has ended
            let _ = process.pipe.send("drain");
        }
    }

    /// Whether older processes still drain, or a successor that was told to end.
    pub fn has_other_processes(&self) -> bool {
        self.draining.iter().any(DrainingPredecessor::is_alive)
            || self.dismissed.as_ref().is_some_and(|successor| successor.pipe.is_open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_exist_is_no_successor() {
        let mut handover =
            Handover { program: Some(Program::of("/nowhere/tidegate", &[])), ..Handover::default() };
        assert!(handover.start().expect_err("it does not exist").contains("/nowhere/tidegate"));
        handover.program = None;
        assert!(handover.start().is_err());
    }

    #[test]
    fn no_successor_starts_while_two_older_processes_drain() {
        let mut ends = Vec::new();
        let mut draining = |pid| {
            let (ours, theirs) = ControlPipe::pair().expect("a control pipe");
            ends.push(theirs);
            DrainingPredecessor { pid, pipe: ours }
        };
        let program = Some(Program::of("/bin/true", &[]));
        let draining = vec![draining(11), draining(22)];
        let mut handover = Handover { program, draining, ..Handover::default() };
        let why = handover.start().expect_err("two still drain");
        assert!(why.contains("11 and 22"), "{why}");
        ends.remove(0);
        handover.start().expect("one has ended").end();
    }
}
