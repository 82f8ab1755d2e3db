//! `tidegate drain`: begins a drain of the running gateway, waits for its end, or takes it back.

use crate::control::cli::client::{self, Method, Poll};
use crate::control::cli::output::print;
use crate::control::cli::target::Target;
use crate::control::exit::{ExitError, NO};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// How often a drain that is waited for is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How much longer than its window a drain may take: connections that were accepted last, older processes, the last answers.
const WINDOW_MARGIN: Duration = Duration::from_secs(30);

/// What `tidegate drain` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    Begin,
    /// Begin it, and wait until the process has ended.
    Wait,
    /// Take it back.
    Undo,
}

/// Begins a drain and prints how many sessions it has to end, or takes it back. With [`Drain::Wait`] it returns when the process
/// has ended; it fails with exit code 1 if the drain is taken back meanwhile.
pub(crate) fn drain(target: &Target, what: Drain, json: bool) -> Result<(), ExitError> {
    let method = if what == Drain::Undo { Method::DELETE } else { Method::POST };
    let answer = client::request(target, method, "/api/drain")?;
    let drain = client::json(&answer)?;
    let sessions = &drain["sessions"];
    let window = drain["window_seconds"].as_f64().unwrap_or_default();
    if !json {
        let text = match what {
            Drain::Undo => format!("drain taken back: {sessions} sessions stay\n"),
            _ => format!("draining: {sessions} sessions, for at most {window:?} s\n"),
        };
        print(text.as_bytes())?;
    } else if what != Drain::Wait {
        return print(&[&answer[..], b"\n"].concat());
    }
    if what != Drain::Wait {
        return Ok(());
    }
    let began = Instant::now();
    // a window is 365 days at most
    let window = Duration::try_from_secs_f64(window).unwrap_or_default();
    wait_for_end(target, &drain["pid"], began + window + WINDOW_MARGIN)?;
    let seconds = began.elapsed().as_secs_f64();
    if json {
        print(format!("{}\n", json!({ "ended": drain["pid"], "seconds": seconds })).as_bytes())
    } else {
        print(format!("drained after {seconds:.1} s\n").as_bytes())
    }
}

/// Waits until the process with this id does not answer any more. Fails if its drain is taken back, or at `deadline`.
fn wait_for_end(target: &Target, pid: &Value, deadline: Instant) -> Result<(), ExitError> {
    loop {
        match client::poll(target, "/api/status")? {
            Poll::Gone => return Ok(()),
            // the service manager has started the next process
            Poll::Answer(status) if status["pid"] != *pid => return Ok(()),
            Poll::Answer(status) if status["phase"] == "serving" => {
                let text = "the drain was taken back, the gateway serves".to_owned();
                return Err(ExitError { code: NO, text });
            }
            Poll::Answer(_) | Poll::Nothing => {}
        }
        if Instant::now() >= deadline {
            let text = format!("process {pid} did not end in the window of its drain; the log may say why");
            return Err(ExitError { code: NO, text });
        }
        thread::sleep(POLL_INTERVAL);
    }
}
