//! A new process on its way to take over: whether it is ready, and if it failed, why.
//!
//! This file does not know what is handed over.

use crate::control::start::control_pipe::{ControlPipe, Message};
use rustix::process::{Pid, Signal, kill_process};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long the new process may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the exit status may come after the end of the control pipe.
const EXIT_STATUS_TIMEOUT: Duration = Duration::from_millis(10);

/// A new process that is on its way.
#[derive(Debug)]
pub struct Successor {
    /// The process that was started. Mostly it only starts the one that will serve: see
    /// [`inherited`](crate::control::start::inherited).
    child: Child,
    pub pipe: ControlPipe,
    /// The process that will serve, once it has sent its id.
    pid: Option<u32>,
    deadline: Instant,
}

impl Successor {
    /// The process `child`, which was started just now, and the control pipe to it.
    pub fn new(child: Child, pipe: ControlPipe) -> Self {
        Self { child, pipe, pid: None, deadline: Instant::now() + READY_TIMEOUT }
    }

    /// The id of the process that will serve; of the process that was started as long as that is unknown.
    pub fn pid(&self) -> u32 {
        self.pid.unwrap_or_else(|| self.child.id())
    }

    /// Whether it is ready, without waiting. The error says why it will never be: it failed, it ended, or it took 60 s.
    pub fn poll(&mut self) -> Result<bool, String> {
        loop {
            match self.pipe.receive() {
                Message::Line(line) => {
                    let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
                    match (word, rest.parse()) {
                        ("pid" | "ready", Ok(pid)) => self.pid = Some(pid),
                        ("failed", _) => return Err(format!("the new process failed: {rest}")),
                        _ => {}
                    }
                    if word == "ready" {
                        return Ok(true);
                    }
                }
                Message::End => return Err(format!("the new process {}", self.how_it_ended())),
                Message::NothingYet if Instant::now() >= self.deadline => {
                    return Err(format!(
                        "the new process ({}) was not ready in time, and was ended",
                        self.pid()
                    ));
                }
                Message::NothingYet => return Ok(false),
            }
        }
    }

    fn how_it_ended(&mut self) -> String {
        // its end of the pipe closes a moment before its exit status is known
        let deadline = Instant::now() + EXIT_STATUS_TIMEOUT;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if !status.success() => {
                    return format!("ended before it was ready ({status}); the log may say why");
                }
                Ok(None) if Instant::now() < deadline => std::thread::sleep(EXIT_STATUS_TIMEOUT / 10),
                _ => return "ended before it was ready; the log may say why".to_owned(),
            }
        }
    }

    /// Kills the process that was started, and the one that would serve.
    pub fn end(&mut self) {
        // while its end of the pipe is open it runs, so its id is not yet the id of another process
        if self.pipe.receive() == Message::NothingYet
            && let Some(pid) = self.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()))
        {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
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
                Ok(true) => return Ok(successor.pid()),
                Ok(false) => std::thread::sleep(Duration::from_millis(10)),
                Err(why) => {
                    successor.end();
                    return Err(why);
                }
            }
        }
    }

    #[test]
    fn a_successor_reports_that_it_is_ready_and_its_process_id() {
        let mut good = successor("eval \"echo pid 1 >&$PIPE; echo ready 4711 >&$PIPE\"");
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
