//! A new process on its way to take over: how far it is, and if it failed, why.
//!
//! This file does not know what is handed over.

use crate::control::start::control_pipe::{ControlPipe, Message};
use crate::control::systemd;
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::process::Child;
use std::time::{Duration, Instant};

/// How long the new process may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it may take from `go` until it serves. It takes milliseconds.
const SERVING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the exit status may come after the end of the control pipe.
const EXIT_STATUS_TIMEOUT: Duration = Duration::from_millis(10);

/// How far the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It loads and binds. It has no clients.
    Starting,
    /// It could serve and waits for `go`.
    Ready,
    /// It was told `go`: it begins to accept clients. This process accepts too.
    Told,
    /// It serves, and waits to be told that it is in charge.
    Serving,
}

/// A new process that is on its way.
#[derive(Debug)]
pub struct Successor {
    /// The process that was started. Mostly it only starts the one that will serve: see
    /// [`inherited`](crate::control::start::inherited).
    child: Child,
    pub pipe: ControlPipe,
    /// The process that will serve, once it has sent its id.
    pid: Option<u32>,
    step: Step,
    /// It reported that it failed, so it ends by itself.
    has_given_up: bool,
    deadline: Instant,
}

impl Successor {
    /// The process `child`, which was started just now, and the control pipe to it.
    pub fn new(child: Child, pipe: ControlPipe) -> Self {
        let deadline = Instant::now() + READY_TIMEOUT;
        Self { child, pipe, pid: None, step: Step::Starting, has_given_up: false, deadline }
    }

    /// The id of the process that will serve; of the process that was started as long as that is unknown.
    pub fn pid(&self) -> u32 {
        self.pid.unwrap_or_else(|| self.child.id())
    }

    /// How far it is, without waiting. The error says why it will never serve: it failed, it ended, or it took too long.
    pub fn poll(&mut self) -> Result<Step, String> {
        loop {
            match self.pipe.receive() {
                Message::Line(line) => self.hear(&line)?,
                Message::End => return Err(format!("the new process {}", self.how_it_ended())),
                Message::NothingYet if Instant::now() >= self.deadline && self.step < Step::Serving => {
                    let late = if self.step == Step::Told { "did not serve" } else { "was not ready" };
                    return Err(format!("the new process ({}) {late} in time, and was ended", self.pid()));
                }
                Message::NothingYet => return Ok(self.step),
            }
        }
    }

    fn hear(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let ("pid" | "ready", Ok(pid)) = (word, rest.parse()) {
            self.pid = Some(pid);
        }
        match (word, self.step) {
            ("failed", _) => {
                self.has_given_up = true;
                return Err(format!("the new process failed: {rest}"));
            }
            ("ready", Step::Starting) => self.step = Step::Ready,
            ("serving", Step::Told) => self.step = Step::Serving,
            _ => {}
        }
        Ok(())
    }

    /// Sends it `state`, one line each, and tells it to begin to serve. Fails if it has ended or does not read.
    pub fn tell_to_serve(&mut self, state: &[String]) -> io::Result<()> {
        state.iter().try_for_each(|line| self.pipe.send(line))?;
        self.pipe.send("go")?;
        (self.step, self.deadline) = (Step::Told, Instant::now() + SERVING_TIMEOUT);
        Ok(())
    }

    /// Puts it in charge of the service, and tells systemd. `reload` makes it read its configuration again. If it has ended in
    /// the meantime, this process is the main process again, and the error says so.
    pub fn put_in_charge(&mut self, reload: bool) -> Result<(), String> {
        if !self.pipe.is_open() {
            return Err(format!("the new process {}", self.how_it_ended()));
        }
        // the process that only started the successor has ended long since
        let _ = self.child.try_wait();
        // before the successor goes on, or systemd would ignore its first messages
        systemd::hand_over(self.pid());
        let lines = ["reload", "main"];
        let sent = lines[usize::from(!reload)..].iter().try_for_each(|line| self.pipe.send(line));
        sent.map_err(|error| {
            systemd::take_back();
            format!("the new process ended ({error})")
        })
    }

    fn how_it_ended(&mut self) -> String {
        let before = if self.step < Step::Told { "it was ready" } else { "it was in charge" };
        // its end of the pipe closes a moment before its exit status is known
        let deadline = Instant::now() + EXIT_STATUS_TIMEOUT;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if !status.success() => {
                    return format!("ended before {before} ({status}); the log may say why");
                }
                Ok(None) if Instant::now() < deadline => std::thread::sleep(EXIT_STATUS_TIMEOUT / 10),
                _ => return format!("ended before {before}; the log may say why"),
            }
        }
    }

    /// Ends it because it failed. A process that was told to serve and gave up by itself may have clients: it drains them and
    /// ends. Any other is killed.
    pub fn end(&mut self) {
        if !(self.has_given_up && self.step >= Step::Told) {
            self.kill();
        }
    }

    /// Ends it because this process ends. If it may have clients, it drains them first.
    pub fn dismiss(&mut self) {
        if self.step < Step::Told {
            self.kill();
        } else {
            self.signal(Signal::TERM);
        }
    }

    /// Kills the process that was started, and the one that would serve. If the latter has not sent its id, it ends by itself
    /// when the control pipe closes.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.signal(Signal::KILL);
    }

    /// Sends a signal to the process that would serve, if it runs and its id is known.
    fn signal(&mut self, signal: Signal) {
        // the id may stand in the pipe still
        while let Message::Line(line) = self.pipe.receive() {
            let _ = self.hear(&line);
        }
        // while its end of the pipe is open it runs, so its id is not yet the id of another process
        if let Some(pid) = self.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()))
            && self.pipe.is_open()
        {
            let _ = kill_process(pid, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::start::note::FD_ENV;
    use crate::control::start::program::Program;
    use crate::control::upgrade::handover::Handover;

    /// A successor by this shell script, which gets the descriptor of its control pipe in `$PIPE`.
    fn successor(script: &str) -> Successor {
        let program = Program::of(
            "/bin/bash",
            &["-c", &format!("PIPE=${{{FD_ENV}##*report=}}; PIPE=${{PIPE%%:*}}; {script}")],
        );
        Handover::default().spawn(&program).expect("bash")
    }

    /// Polls until it is ready or has failed.
    fn outcome(successor: &mut Successor) -> Result<u32, String> {
        loop {
            match successor.poll() {
                Ok(Step::Starting) => std::thread::sleep(Duration::from_millis(10)),
                Ok(_) => return Ok(successor.pid()),
                Err(why) => {
                    successor.end();
                    return Err(why);
                }
            }
        }
    }

    #[test]
    fn a_successor_reports_that_it_is_ready_and_its_process_id() {
        let mut good = successor("eval \"echo pid 1 >&$PIPE; echo ready 4711 >&$PIPE\"; exec sleep 60");
        assert_eq!(outcome(&mut good), Ok(4711));
        // the test may not kill 4711
        good.pid = None;
        good.end();
    }

    #[test]
    fn a_successor_that_fails_reports_why() {
        let why =
            outcome(&mut successor("eval \"echo failed no port >&$PIPE\"; sleep 60")).expect_err("it failed");
        assert!(why.ends_with("no port"), "{why}");
        let why = outcome(&mut successor("exit 3")).expect_err("it failed");
        assert!(why.contains("exit status: 3"), "{why}");
        let why = outcome(&mut successor("kill -9 $$")).expect_err("it failed");
        assert!(why.contains("signal: 9"), "{why}");
    }

    #[test]
    fn a_successor_that_is_never_ready_is_ended() {
        let mut silent = successor("exec sleep 60");
        silent.deadline = Instant::now();
        let pid = Pid::from_child(&silent.child);
        let why = outcome(&mut silent).expect_err("it is late");
        assert!(why.contains("not ready in time"), "{why}");
        assert!(rustix::process::test_kill_process(pid).is_err(), "nothing is left of it");
    }
}
