//! A new process on its way to take over: whether it will, and if not, why not.
//!
//! It knows nothing of what is handed over.

use crate::control::start::inherited::{ControlPipe, Message};
use rustix::process::{Pid, Signal, kill_process};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long it may take to be ready: longer than its workers may take to listen.
const READY: Duration = Duration::from_secs(60);

/// How often somebody looks while its exit is awaited.
const LOOK: Duration = Duration::from_millis(10);

/// A new process that is on its way.
#[derive(Debug)]
pub struct Successor {
    /// The one that we started; mostly a stepping stone, see [`crate::control::start::inherited`].
    child: Child,
    pub line: ControlPipe,
    /// The one that will serve, once it is known.
    pid: Option<u32>,
    deadline: Instant,
}

impl Successor {
    /// One that was just started, and our end of the line to it.
    pub fn new(child: Child, line: ControlPipe) -> Self {
        Self { child, line, pid: None, deadline: Instant::now() + READY }
    }

    /// The process that will serve, as far as it is known.
    pub fn pid(&self) -> u32 {
        self.pid.unwrap_or_else(|| self.child.id())
    }

    /// Whether it is ready; an error says why it will never be.
    pub fn look(&mut self) -> Result<bool, String> {
        loop {
            match self.line.hear() {
                Message::ControlPipe(line) => {
                    let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
                    match (word, rest.parse()) {
                        ("pid" | "ready", Ok(pid)) => self.pid = Some(pid),
                        ("failed", _) => return Err(format!("the new process says: {rest}")),
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
        // its end of the line closes a moment before it can be waited for
        let deadline = Instant::now() + LOOK;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if !status.success() => {
                    return format!("ended before it was ready ({status}); the log may say why");
                }
                Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK / 10),
                _ => return "ended before it was ready; the log may say why".to_owned(),
            }
        }
    }

    /// Ends whatever is left of it.
    pub fn end(&mut self) {
        // while its end of the line is open it lives, and its number is nobody else's
        if self.line.hear() == Message::NothingYet
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
    use crate::control::start::inherited::FD_ENV;
    use crate::control::start::program::Program;
    use crate::control::upgrade::handover::Handover;

    /// A successor by this shell script, which gets the number of its line in `$LINE`.
    fn successor(script: &str) -> Successor {
        let program = Program::of(
            "/bin/bash",
            &["-c", &format!("LINE=${{{FD_ENV}##*report=}}; LINE=${{LINE%%:*}}; {script}")],
        );
        Handover::default().spawn(&program).expect("bash")
    }

    /// What it comes to.
    fn outcome(successor: &mut Successor) -> Result<u32, String> {
        loop {
            match successor.look() {
                Ok(true) => return Ok(successor.pid()),
                Ok(false) => std::thread::sleep(LOOK),
                Err(why) => {
                    successor.end();
                    return Err(why);
                }
            }
        }
    }

    #[test]
    fn a_successor_says_when_it_is_ready_and_who_it_is() {
        let mut good = successor("eval \"echo pid 1 >&$LINE; echo ready 4711 >&$LINE\"");
        assert_eq!(outcome(&mut good), Ok(4711));
        // 4711 is not ours to end
        good.pid = None;
        good.end();
    }

    #[test]
    fn a_successor_that_fails_says_why() {
        let why =
            outcome(&mut successor("eval \"echo failed no port >&$LINE\"; sleep 60")).expect_err("it failed");
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
