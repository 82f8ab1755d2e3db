//! `tidegate status`: the state of the running gateway.

use crate::control::cli::client::{self, Method};
use crate::control::cli::output::print;
use crate::control::cli::target::Target;
use crate::control::exit::ExitError;
use crate::control::start::certs;
use serde_json::Value;
use std::fmt::Write;

/// Prints the state of the gateway, as lines or as JSON. Fails if no gateway answers.
pub(crate) fn show(target: &Target, json: bool) -> Result<(), ExitError> {
    let answer = client::request(target, Method::GET, "/api/status")?;
    if json {
        print(&[&answer[..], b"\n"].concat())
    } else {
        print(lines(&client::json(&answer)?).as_bytes())
    }
}

/// The lines for an answer of `/api/status`: a name, padded to twelve columns, and its value.
pub(crate) fn lines(status: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list =
        |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let mut out = String::new();
    let rows = [
        ("phase", phase(status)),
        ("version", format!("{}, revision {}", text(&status["version"]), status["revision"])),
        ("driver", text(&status["driver"])),
        ("uptime", format!("{} s", status["uptime_seconds"])),
        ("listening", list(&status["listening"])),
        ("sessions", text(&status["sessions"]["active"])),
        ("answers", format!("{} stored", status["answers"]["stored"])),
    ];
    for (name, value) in rows {
        let _ = writeln!(out, "{name:<12}{value}");
    }
    let restart = list(&status["needs_restart"]);
    if !restart.is_empty() {
        let _ = writeln!(out, "restart     needed for {restart}");
    }
    if status["reload"]["good"] == false {
        let _ = writeln!(out, "reload      refused: {}", list(&status["reload"]["problems"]));
    }
    for worker in status["workers"].as_array().into_iter().flatten() {
        let (sessions, lag) = (&worker["sessions"], &worker["loop_lag_seconds"]);
        let _ = writeln!(out, "worker {:<5}{sessions} sessions, {lag} s behind", worker["index"].to_string());
    }
    for certificate in status["certificates"].as_array().into_iter().flatten() {
        let _ =
            writeln!(out, "certificate {}, {}", list(&certificate["names"]), certificate_state(certificate));
    }
    out
}

/// The phase; of a drain also what began it, for how long it may go on, and whether it can be taken back.
fn phase(status: &Value) -> String {
    let mut phase = status["phase"].as_str().unwrap_or("unknown").to_owned();
    let drain = &status["drain"];
    if let (Some(cause), Some(left)) = (drain["cause"].as_str(), drain["seconds_left"].as_u64()) {
        let _ = write!(phase, " {cause}; ends in {left} s at most");
        if drain["may_undo"] == true {
            phase.push_str("; `tidegate drain --undo` takes it back");
        }
    }
    phase
}

/// How long a certificate is valid, and what happens to it by ACME.
fn certificate_state(certificate: &Value) -> String {
    let days = certificate["days_left"].as_i64();
    let mut state = days.map_or_else(|| "none yet".to_owned(), |days| format!("{days} days left"));
    let acme = &certificate["acme"];
    let day = |seconds: &Value| seconds.as_i64().map(certs::date);
    match acme["state"].as_str() {
        Some("issued") => {
            if let Some(renewal) = day(&acme["renew_at"]) {
                let _ = write!(state, ", renewed after {renewal}");
            }
        }
        Some(word) => {
            let _ = write!(state, ", ACME: {word}");
            if let Some(error) = acme["error"].as_str() {
                let _ = write!(state, ": {error}");
            }
            if let Some(next) = day(&acme["next_attempt"]).filter(|_| word == "failed") {
                let _ = write!(state, "; next attempt after {next}");
            }
        }
        None => {}
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::lifecycle;
    use crate::control::admin::listener::{Bound, Kind, ListenAddress, bind_tcp};
    use crate::control::process::state::{Phase, ProcessState};
    use crate::control::start::certs::Facts;
    use std::sync::Arc;
    use tokio::sync::oneshot;

    const CONFIG: &str =
        "stream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{ chain = \"c\", key = \"k\" }]\n";

    /// Serves the monitoring listener on a thread of its own, as the control thread does.
    fn serve(state: Arc<ProcessState>) -> Target {
        let tcp = bind_tcp(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = tcp.local_addr().expect("bound");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            let ((_close, closed), (_end, ended)) = (oneshot::channel(), oneshot::channel());
            let served = lifecycle::serve(Kind::Monitoring, Bound::Tcp(tcp), state, closed, ended);
            runtime.expect("a runtime").block_on(served)
        });
        Target::at(ListenAddress::Tcp(address))
    }

    #[test]
    fn the_command_prints_what_the_listener_answers() {
        let names = vec!["a.example".to_owned()];
        let facts =
            Facts { chain: "c.pem".into(), names, not_before: 0, not_after: 4_000_000_000, by_acme: false };
        let config = crate::config::read(CONFIG).expect("a valid configuration");
        let state = Arc::new(ProcessState::new(config, 2, vec![facts], Vec::new()));
        state.phase.advance(Phase::Serving);
        state.metrics[1].sessions_active[0][0].add(3);
        let answer = client::request(&serve(state), Method::GET, "/api/status").expect("answered");
        let lines = lines(&serde_json::from_slice(&answer).expect("JSON"));
        for line in [
            "phase       serving\n",
            "sessions    3\n",
            "worker 1    3 sessions, 0.0 s behind\n",
            "certificate a.example,",
        ] {
            assert!(lines.contains(line), "{lines}");
        }
    }
}
