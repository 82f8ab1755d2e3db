//! The hand-over of the listeners: this process takes them from its predecessor and passes them on to its successor. They never
//! close in between.
//!
//! A new process first proves that it could serve; until then the old one gives nothing away, and the new one accepts no
//! connection. So a failure of the new process affects no client. This file does not know what is served.

use crate::control::admin::lifecycle::{self, AdminExit, AdminHandle, SocketFile};
use crate::control::process::state::{Phase, ProcessState};
use crate::control::signals::ControlEvent;
use crate::control::start::control_pipe::{ControlPipe, DrainingPredecessor, Message};
use crate::control::start::inherited::{self, Inherited};
use crate::control::start::listeners::{BindError, Ports};
use crate::control::start::note::{self, FD_ENV, FdEntry};
use crate::control::start::program::Program;
use crate::control::systemd;
use crate::control::upgrade::successor::Successor;
use crate::control::workers::interface::Workers;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Old processes that may drain while one serves. Nothing would break with more, but each holds memory.
const DRAINING_MAX: usize = 2;

/// How long connections that were accepted just before this process stopped accepting may take to send a request.
const HANDSHAKES_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a condition is checked while it is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// How long the answers of the admin listener may take at the end of the process.
const ADMIN_END_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the answers of the admin listener may take after a hand-over.
const ADMIN_LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// This process between its predecessor and its successor.
#[derive(Debug, Default)]
pub struct Handover {
    /// What to start as a successor; none if this program can't be started again.
    program: Option<Program>,
    ports: Ports,
    /// systemd keeps the listening sockets too, so their queues outlast this process.
    kept: bool,
    admin: Option<AdminHandle>,
    /// The process that waits until this one is ready.
    predecessor: Option<(u32, ControlPipe)>,
    /// Older processes that still drain, the predecessor of this one among them once it handed over.
    draining: Vec<DrainingPredecessor>,
    /// A new process on its way.
    successor: Option<Successor>,
    /// Held until this process ends: the successor sees the end by its end of this pipe.
    pipe_to_successor: Option<ControlPipe>,
    /// Held until this process ends: the socket file of the admin listener beside the one that was handed over.
    socket_file: Option<SocketFile>,
    stop_requested: bool,
}

impl Handover {
    /// Takes everything that is not a socket from what was inherited. `program` is what a successor is started from.
    pub fn new(program: Option<Program>, inherited: &mut Inherited) -> Self {
        let predecessor = inherited.predecessor.take();
        let kept = inherited.kept || systemd::keeps_sockets();
        let draining = std::mem::take(&mut inherited.draining);
        Self { program, predecessor, kept, draining, ..Self::default() }
    }

    /// Takes what will be passed on. The admin listener begins to answer at once, unless a predecessor still does.
    pub fn hold(&mut self, ports: Ports, admin: Option<AdminHandle>) {
        (self.ports, self.admin) = (ports, admin);
        if self.predecessor.is_none() {
            self.open_admin();
        }
    }

    /// Lets the admin listener begin to answer, if it has not. After a hand-over this process has to be ready first: monitoring
    /// that heard so from the predecessor must not hear otherwise.
    pub fn open_admin(&mut self) {
        if let Some(start) = self.admin.as_mut().and_then(|admin| admin.start.take()) {
            // the control thread lasts as long as the process
            let _ = start.send(());
        }
    }

    /// Tells the predecessor why this process could not take over.
    pub fn report_failure(&mut self, why: &str) {
        if let Some((_, pipe)) = &mut self.predecessor {
            // if the predecessor is gone, the text is in the log only
            let _ = pipe.send(&format!("failed {why}"));
        }
    }

    /// Tells the predecessor that this process could serve, takes over the state that it exports, and waits until it hands
    /// over. Returns false if the process has to end before.
    pub fn await_turn(&mut self, workers: &dyn Workers, events: &Receiver<ControlEvent>) -> bool {
        let Some((pid, pipe)) = &mut self.predecessor else { return true };
        // an error shows as the end of the pipe below
        let _ = pipe.send(&format!("ready {}", std::process::id()));
        loop {
            match pipe.receive() {
                Message::Line(line) if line == "go" => break,
                Message::Line(line) => workers.import_state(&line),
                Message::End => {
                    tracing::warn!(pid, "predecessor exited without handing over");
                    break;
                }
                Message::NothingYet if events.recv_timeout(POLL_INTERVAL) == Ok(ControlEvent::End) => {
                    return false;
                }
                Message::NothingYet => {}
            }
        }
        if let Some((pid, pipe)) = self.predecessor.take() {
            tracing::info!(pid, "took over the listeners from the predecessor");
            self.draining.push(DrainingPredecessor::new(pid, pipe));
        }
        true
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

    /// Starts a successor, unless one is on its way already. [`Handover::is_ready`] tells what becomes of it.
    pub fn begin(&mut self) {
        if let Some(successor) = &self.successor {
            tracing::warn!(pid = successor.pid(), "a new process is being started already");
            return;
        }
        match self.start() {
            Ok(successor) => self.successor = Some(successor),
            Err(why) => tracing::error!("listeners not handed over: {why}; serving on"),
        }
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
            return Err(format!("{pids} still drain; wait for one of them, or end it at once with SIGTERM"));
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
        let admin = self.admin.iter().map(|admin| ("admin", admin.socket.as_fd(), None));
        let draining = self.draining.iter().map(|process| ("past", process.as_fd(), Some(process.pid)));
        let report = ("report", theirs.as_fd(), Some(std::process::id()));
        let all: Vec<(&str, BorrowedFd<'_>, Option<u32>)> =
            sockets.chain(admin).chain(draining).chain([report]).collect();
        // the copies stay open over the exec; this process closes its own when the program is started
        let lent = all.iter().map(|(_, descriptor, _)| inherited::lend(descriptor));
        let lent = lent.collect::<io::Result<Vec<_>>>()?;
        let entries = all.iter().zip(&lent);
        let entries: Vec<_> = entries
            .map(|((kind, _, pid), (number, _))| FdEntry { kind, number: *number, pid: *pid })
            .collect();
        let mut command = program.command();
        command.env(FD_ENV, note::write(true, &entries));
        for meant_for_this_process in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(meant_for_this_process);
        }
        if sd_notify::watchdog_enabled().is_some() {
            // without WATCHDOG_PID the successor takes WATCHDOG_USEC for itself: it will be the main process
            command.env_remove("WATCHDOG_PID");
        }
        Ok(Successor::new(command.spawn()?, ours))
    }

    /// Whether a successor is on its way.
    pub fn is_under_way(&self) -> bool {
        self.successor.is_some()
    }

    /// Whether the successor is ready to take over. If it has failed, the log says why, and this process serves on.
    pub fn is_ready(&mut self) -> bool {
        let Some(successor) = &mut self.successor else { return false };
        match successor.poll() {
            Ok(ready) => ready,
            Err(why) => {
                successor.end();
                self.successor = None;
                tracing::error!("listeners not handed over: {why}; serving on");
                false
            }
        }
    }

    /// Ends a successor that is not ready yet.
    pub fn cancel(&mut self) {
        if let Some(mut successor) = self.successor.take() {
            successor.end();
            tracing::warn!("hand-over cancelled, the new process was ended");
        }
    }

    /// Hands over to the successor: sends it the state of the workers, lets it accept connections, and stops accepting here.
    /// Returns false if the successor has ended; then this process serves on as before.
    pub fn step_down(
        &mut self,
        state: &ProcessState,
        workers: &dyn Workers,
        events: &Receiver<ControlEvent>,
    ) -> bool {
        let Some(mut successor) = self.successor.take() else { return false };
        let pid = successor.pid();
        // before the successor goes on, or systemd would ignore its first messages
        systemd::hand_over(pid);
        let exported = workers.export_state();
        let sent = exported.iter().try_for_each(|line| successor.pipe.send(line));
        if let Err(error) = sent.and_then(|()| successor.pipe.send("go")) {
            tracing::error!("listeners not handed over: the new process ended ({error}); serving on");
            successor.end();
            return false;
        }
        tracing::info!(pid, "handed the listeners over");
        let admin_left = self.hand_over_admin(state);
        self.leave(state, workers, events);
        // until then requests that were meant for the successor may still be answered here
        if let Some(admin_left) = admin_left {
            let _ = admin_left.recv_timeout(ADMIN_LEAVE_TIMEOUT);
        }
        self.pipe_to_successor = Some(successor.pipe);
        true
    }

    /// At the end of the process: stops accepting if systemd keeps the sockets, so that queued connections wait for the next
    /// process. Otherwise the drain accepts and answers them.
    pub fn leave_queues(
        &mut self,
        state: &ProcessState,
        workers: &dyn Workers,
        events: &Receiver<ControlEvent>,
    ) {
        if self.kept && self.ports.sockets().next().is_some() {
            state.phase.advance(Phase::Draining);
            self.leave(state, workers, events);
        }
        // copies: if they outlived those of the workers, clients would wait in queues that no process empties
        self.ports = Ports::default();
    }

    /// Stops accepting. Connections that were accepted just before may still send their first request here: a refusal now would
    /// be one that the next process would not give.
    fn leave(&mut self, state: &ProcessState, workers: &dyn Workers, events: &Receiver<ControlEvent>) {
        workers.leave();
        self.ports = Ports::default();
        let deadline = Instant::now() + HANDSHAKES_TIMEOUT.min(state.served().config.gateway.drain);
        while workers.pending_handshakes() != Some(0) && Instant::now() < deadline {
            if events.recv_timeout(POLL_INTERVAL) == Ok(ControlEvent::End) {
                self.stop_requested = true;
                return;
            }
        }
    }

    /// Whether a signal came while this process stopped accepting: then it ends without a drain.
    pub fn is_stop_requested(&self) -> bool {
        self.stop_requested
    }

    /// Leaves the admin listener to the successor and opens another one beside it, so that the drain can be watched.
    /// Connections that were accepted before are still answered; the receiver fails when the last one is closed.
    fn hand_over_admin(&mut self, state: &ProcessState) -> Option<Receiver<()>> {
        let admin = self.admin.take()?;
        let beside = lifecycle::bind_beside(&state.served().config.admin.listen);
        let beside =
            beside.inspect_err(|error| tracing::warn!("no admin listener during the drain: {error}"));
        let (bound, file) = beside.ok().flatten().unzip();
        self.socket_file = file.flatten();
        admin.exit.send(AdminExit::HandedOver(bound)).is_ok().then_some(admin.finished)
    }

    /// Ends the admin listener after its last answers, for 1 s at most: the client that requested a drain reads that it began
    /// even if there was nothing to drain.
    pub fn end_admin(&mut self) {
        let Some(AdminHandle { start, exit, finished, .. }) = self.admin.take() else { return };
        // a listener that has not begun to answer ends by this
        drop(start);
        if exit.send(AdminExit::End).is_ok() {
            let _ = finished.recv_timeout(ADMIN_END_TIMEOUT);
        }
    }

    /// Waits until older processes have drained too, or until `deadline`: systemd kills them when the main process ends. A
    /// signal ends the wait.
    pub fn await_older_processes(&self, events: &Receiver<ControlEvent>, deadline: Instant) {
        while self.draining.iter().any(DrainingPredecessor::is_alive) && Instant::now() < deadline {
            if events.recv_timeout(POLL_INTERVAL) == Ok(ControlEvent::End) {
                return;
            }
        }
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
            DrainingPredecessor::new(pid, ours)
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
