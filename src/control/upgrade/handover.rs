//! Who served before this process, and who will after it: the listeners go from one to the next without ever closing.
//!
//! A new process proves that it can serve before the old one lets go of anything, and accepts nobody before: until it is
//! told to go, its failure is nobody's loss. It knows nothing of what is served.

use crate::control::admin::lifecycle;
use crate::control::admin::lifecycle::{AdminExit, AdminHandle, SocketFile};
use crate::control::process::state::{Phase, ProcessState};
use crate::control::signals::ControlEvent;
use crate::control::start::inherited;
use crate::control::start::inherited::{
    ControlPipe, DrainingPredecessor, FD_ENV, FdEntry, Inherited, Message,
};
use crate::control::start::listeners::{BindError, Ports};
use crate::control::start::program::Program;
use crate::control::systemd;
use crate::control::upgrade::successor::Successor;
use crate::control::workers::interface::Workers;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Old processes that may drain while one serves. One more would not be refused anything, but memory is finite.
const PAST_MAX: usize = 2;

/// How long connections that were accepted in the last moment may take to ask for something.
const NEWCOMERS: Duration = Duration::from_secs(3);

/// How often somebody looks while something is awaited.
const LOOK: Duration = Duration::from_millis(10);

/// How long a reader of the admin pages may take for what it asked before the end.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// How long the admin listener may take to end its answers.
const ADMIN: Duration = Duration::from_secs(2);

/// This process among those before and after it.
#[derive(Debug, Default)]
pub struct Handover {
    /// What to start when somebody asks for a successor; none if this program can't be started again.
    program: Option<Program>,
    ports: Ports,
    /// Whether somebody else keeps our sockets too: then their queues outlast us.
    kept: bool,
    admin: Option<AdminHandle>,
    predecessor: Option<(u32, ControlPipe)>,
    past: Vec<DrainingPredecessor>,
    successor: Option<Successor>,
    /// What has to last until our end, which it tells: a line to whoever took over, and a socket file.
    last: (Option<ControlPipe>, Option<SocketFile>),
    stop_requested: bool,
}

impl Handover {
    /// Takes from what was inherited what is not a socket. `program` is what a successor is started by.
    pub fn new(program: Option<Program>, inherited: &mut Inherited) -> Self {
        let predecessor = inherited.predecessor.take();
        let kept = inherited.kept || systemd::keeps();
        Self { program, predecessor, kept, past: std::mem::take(&mut inherited.past), ..Self::default() }
    }

    /// What there will be to pass on. The admin pages begin at once if nobody else shows them.
    pub fn hold(&mut self, ports: Ports, admin: Option<AdminHandle>) {
        (self.ports, self.admin) = (ports, admin);
        if self.predecessor.is_none() {
            self.show_admin();
        }
    }

    /// Lets the admin pages begin, if they have not. After a hand-over not before this process is ready: monitoring that was
    /// told so by the one before must not hear otherwise.
    pub fn show_admin(&mut self) {
        if let Some(go) = self.admin.as_mut().and_then(|admin| admin.go.take()) {
            // the control thread lasts as long as the process
            let _ = go.send(());
        }
    }

    /// Tells the process whose place we could not take why.
    pub fn report(&mut self, why: &str) {
        if let Some((_, line)) = &mut self.predecessor {
            // if it is gone, nobody needs to know
            let _ = line.say(&format!("failed {why}"));
        }
    }

    /// Says that we could serve, hears what the process before remembers, and waits for our turn. False if the end is
    /// asked for before.
    pub fn await_turn(&mut self, workers: &dyn Workers, asks: &Receiver<ControlEvent>) -> bool {
        let Some((pid, line)) = &mut self.predecessor else { return true };
        // an error shows as its end
        let _ = line.say(&format!("ready {}", std::process::id()));
        loop {
            match line.hear() {
                Message::ControlPipe(word) if word == "go" => break,
                Message::ControlPipe(line) => workers.import_state(&line),
                Message::End => {
                    tracing::warn!(pid, "the process before ended without a word");
                    break;
                }
                Message::NothingYet if asks.recv_timeout(LOOK) == Ok(ControlEvent::End) => return false,
                Message::NothingYet => {}
            }
        }
        if let Some((pid, line)) = self.predecessor.take() {
            tracing::info!(pid, "took over from the process before");
            self.past.push(DrainingPredecessor::new(pid, line));
        }
        true
    }

    /// Lets clients in.
    pub fn open(&mut self, workers: &dyn Workers) -> Result<(), BindError> {
        self.ports.listen()?;
        workers.accept();
        Ok(())
    }

    /// Gives systemd copies of the sockets to keep.
    pub fn store(&self) {
        let own: Vec<_> = self.ports.sockets().filter(|(_, own)| *own).map(|(socket, _)| socket).collect();
        systemd::store(&own);
    }

    /// Starts a successor, if there is none under way. What comes of it is told by [`Handover::is_ready`].
    pub fn begin(&mut self) {
        if let Some(successor) = &self.successor {
            tracing::warn!(pid = successor.pid(), "a new process is being started already");
            return;
        }
        match self.start() {
            Ok(successor) => self.successor = Some(successor),
            Err(why) => tracing::error!("the listeners were not handed over: {why}; serving on"),
        }
    }

    fn start(&mut self) -> Result<Successor, String> {
        let program = self.program.as_ref().ok_or("this program can't be started a second time")?;
        if std::process::id() == 1 {
            return Err(
                "as process 1 of a container this one can't end before the container does; replace that"
                    .into(),
            );
        }
        self.past.retain(DrainingPredecessor::is_alive);
        if self.past.len() >= PAST_MAX {
            let pids: Vec<_> = self.past.iter().map(|past| past.pid.to_string()).collect();
            let pids = pids.join(" and ");
            return Err(format!("{pids} still drain; wait for one of them, or end it at once with SIGTERM"));
        }
        tracing::info!(program = %program.path().display(), "starting a new process to hand the listeners to");
        let failed = |error| format!("can't start {} ({error})", program.path().display());
        self.spawn(program).map_err(failed)
    }

    pub(crate) fn spawn(&self, program: &Program) -> io::Result<Successor> {
        let (ours, theirs) = ControlPipe::pair()?;
        let own = |own| if own { "own" } else { "unit" };
        let sockets = self.ports.sockets().map(|(socket, is_own)| (own(is_own), socket, None));
        let admin = self.admin.iter().map(|admin| ("admin", admin.socket.as_fd(), None));
        let past = self.past.iter().map(|past| ("past", past.as_fd(), Some(past.pid)));
        let report = ("report", theirs.as_fd(), Some(std::process::id()));
        let all: Vec<(&str, BorrowedFd<'_>, Option<u32>)> =
            sockets.chain(admin).chain(past).chain([report]).collect();
        // copies that stay open over the exec; ours are closed again when it is done
        let lent =
            all.iter().map(|(_, socket, _)| inherited::lend(socket)).collect::<io::Result<Vec<_>>>()?;
        let words = all.iter().zip(&lent);
        let words: Vec<_> =
            words.map(|((kind, _, pid), (number, _))| FdEntry { kind, number: *number, pid: *pid }).collect();
        let mut command = program.command();
        command.env(FD_ENV, inherited::write(&words));
        for meant_for_us in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(meant_for_us);
        }
        if sd_notify::watchdog_enabled().is_some() {
            // the watchdog is the service's, whose main process it will be
            command.env_remove("WATCHDOG_PID");
        }
        Ok(Successor::new(command.spawn()?, ours))
    }

    /// Whether a successor is being started.
    pub fn is_under_way(&self) -> bool {
        self.successor.is_some()
    }

    /// Looks whether the successor could serve. If it failed, that is said, and it is forgotten.
    pub fn is_ready(&mut self) -> bool {
        let Some(successor) = &mut self.successor else { return false };
        match successor.look() {
            Ok(ready) => ready,
            Err(why) => {
                successor.end();
                self.successor = None;
                tracing::error!("the listeners were not handed over: {why}; serving on");
                false
            }
        }
    }

    /// Ends a successor that is not ready yet.
    pub fn cancel(&mut self) {
        if let Some(mut successor) = self.successor.take() {
            successor.end();
            tracing::warn!("the new process was ended before it took over");
        }
    }

    /// Lets the successor go on, and lets go of everything it has now. False if the successor is gone: then nothing has changed.
    pub fn step_down(
        &mut self,
        shared: &ProcessState,
        workers: &dyn Workers,
        asks: &Receiver<ControlEvent>,
    ) -> bool {
        let Some(mut successor) = self.successor.take() else { return false };
        let pid = successor.pid();
        // first, or systemd would not listen to its first words
        systemd::hand_over(pid);
        let memory = workers.export_state();
        let told = memory.iter().try_for_each(|line| successor.line.say(line));
        if let Err(error) = told.and_then(|()| successor.line.say("go")) {
            tracing::error!("the new process ended before it took over ({error}); serving on");
            successor.end();
            return false;
        }
        tracing::info!(pid, "handed the listeners over");
        let gone = self.let_admin_go(shared);
        self.leave(shared, workers, asks);
        // until then somebody may ask us, who meant our successor, whether we are ready
        if let Some(gone) = gone {
            let _ = gone.recv_timeout(ADMIN);
        }
        // its other end hears of our end by this one's: see `DrainingPredecessor`
        self.last.0 = Some(successor.line);
        true
    }

    /// At the end: leaves the queues to whoever comes next, if somebody keeps them meanwhile. Otherwise the drain sees to
    /// who waits there.
    pub fn leave_queues(
        &mut self,
        shared: &ProcessState,
        workers: &dyn Workers,
        asks: &Receiver<ControlEvent>,
    ) {
        if self.kept && self.ports.sockets().next().is_some() {
            shared.phase.advance(Phase::Draining);
            self.leave(shared, workers, asks);
        }
        // copies: if they outlived those of the workers, clients would wait in queues that nobody empties
        self.ports = Ports::default();
    }

    /// Accepts nobody more. Who was accepted in the last moment is still seen through the beginning here: a refusal now
    /// would be one that the next process would not have given.
    fn leave(&mut self, shared: &ProcessState, workers: &dyn Workers, asks: &Receiver<ControlEvent>) {
        workers.leave();
        self.ports = Ports::default();
        let deadline = Instant::now() + NEWCOMERS.min(shared.current().config.gateway.drain);
        while workers.pending_handshakes() != Some(0) && Instant::now() < deadline {
            if asks.recv_timeout(LOOK) == Ok(ControlEvent::End) {
                self.stop_requested = true;
                return;
            }
        }
    }

    /// Whether the end was asked for while this process was leaving already: then there is no time for a drain.
    pub fn is_stop_requested(&self) -> bool {
        self.stop_requested
    }

    /// The admin listener is the successor's. Ours goes on aside, where somebody can watch the drain. Whoever was let in
    /// before hears from us what it asks: that is over when what comes back is closed.
    fn let_admin_go(&mut self, shared: &ProcessState) -> Option<Receiver<()>> {
        let hold = self.admin.take()?;
        let aside = lifecycle::bind_aside(&shared.current().config.admin.listen);
        let aside = aside.inspect_err(|error| tracing::warn!("no admin listener during the drain: {error}"));
        let (bound, file) = aside.ok().flatten().unzip();
        self.last.1 = file.flatten();
        hold.leave.send(AdminExit::Aside(bound)).is_ok().then_some(hold.gone)
    }

    /// Lets who asked the admin listener have the answer: whoever asked for a drain hears that it began, even if there was
    /// nothing to drain.
    pub fn end_admin(&mut self) {
        let Some(AdminHandle { go, leave, gone, .. }) = self.admin.take() else { return };
        // it ends as well if it never began
        drop(go);
        if leave.send(AdminExit::End).is_ok() {
            let _ = gone.recv_timeout(LAST_ANSWER);
        }
    }

    /// Waits until older processes have drained too: systemd cuts them when the main process ends.
    pub fn await_past(&self, asks: &Receiver<ControlEvent>, deadline: Instant) {
        while self.past.iter().any(DrainingPredecessor::is_alive) && Instant::now() < deadline {
            if asks.recv_timeout(LOOK) == Ok(ControlEvent::End) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_no_successor() {
        let mut handover =
            Handover { program: Some(Program::of("/nowhere/tidegate", &[])), ..Handover::default() };
        assert!(handover.start().expect_err("there is none").contains("/nowhere/tidegate"));
        handover.program = None;
        assert!(handover.start().is_err());
    }

    #[test]
    fn only_so_many_old_processes_may_drain() {
        let mut ends = Vec::new();
        let mut past = |pid| {
            let (ours, theirs) = ControlPipe::pair().expect("a line");
            ends.push(theirs);
            DrainingPredecessor::new(pid, ours)
        };
        let program = Some(Program::of("/bin/true", &[]));
        let mut handover = Handover { program, past: vec![past(11), past(22)], ..Handover::default() };
        let why = handover.start().expect_err("two still drain");
        assert!(why.contains("11 and 22"), "{why}");
        ends.remove(0);
        handover.start().expect("one has ended").end();
    }
}
