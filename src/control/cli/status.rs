//! `tidegate status`: the state of the running gateway.

use crate::control::cli::client::{self, Method};
use crate::control::cli::nodes;
use crate::control::cli::output::print;
use crate::control::cli::table::span;
use crate::control::cli::target::Target;
use crate::control::exit::ExitError;
use crate::control::start::certs;
use serde_json::Value;
use std::fmt::Write;

/// Most kinds of ends and of refusals that are shown, the most frequent ones.
const KINDS_MAX: usize = 6;

/// Most failing nodes that are shown by name.
const FAILING_MAX: usize = 8;

/// Prints the state of the gateway, as lines or as JSON. Fails if no gateway answers.
pub(crate) fn show(target: &Target, json: bool) -> Result<(), ExitError> {
    let answer = client::request(target, Method::GET, "/api/status")?;
    if json {
        return print(&[&answer[..], b"\n"].concat());
    }
    // a gateway that starts has no list of nodes yet
    let nodes = nodes::ask(target).unwrap_or(Value::Null);
    print(lines(&client::json(&answer)?, &nodes).as_bytes())
}

/// The lines for the answers of `/api/status` and `/api/nodes`: a name, padded to twelve columns, and its value.
pub(crate) fn lines(status: &Value, nodes: &Value) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<12}{value}");
    };
    row("phase", phase(status));
    row("version", format!("{}, process {}", text(&status["version"]), status["pid"]));
    row("uptime", span(status["uptime_seconds"].as_f64().unwrap_or_default()));
    row("revision", status["revision"].to_string());
    refused_reload(status).into_iter().for_each(|why| row("reload", why));
    needed_restart(status).into_iter().for_each(|keys| row("restart", keys));
    row("driver", driver(status));
    row("listening", list(&status["listening"]));
    row("workers", workers(&status["workers"]));
    row("sessions", sessions(&status["sessions"]));
    for limit in status["totals"]["limits"].as_array().into_iter().flatten() {
        limit_used(limit).into_iter().for_each(|used| row("limit", used));
    }
    row("answers", answers(&status["answers"]));
    status["managers"].as_array().into_iter().flatten().for_each(|it| row("manager", manager(it)));
    row("nodes", nodes_in_short(nodes));
    let failing = nodes["nodes"].as_array().into_iter().flatten().filter(|node| nodes::is_failing(node));
    for node in failing.take(FAILING_MAX) {
        let fault = nodes::last_fault(node).unwrap_or_else(|| "avoided".to_owned());
        row("node", format!("{} {fault}", text(&node["node"])));
    }
    row("ends", most_frequent(ends(&status["totals"]["ends"])));
    row("refused", most_frequent(refusals(&status["totals"]["refusals"])));
    for certificate in status["certificates"].as_array().into_iter().flatten() {
        row("certificate", format!("{}, {}", list(&certificate["names"]), certificate_state(certificate)));
    }
    out
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn list(value: &Value) -> String {
    value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ")
}

/// Why the last reload was refused, if it was.
fn refused_reload(status: &Value) -> Option<String> {
    let reload = &status["reload"];
    let problems = list(&reload["problems"]);
    let reason = if problems.is_empty() { text(&reload["error"]) } else { problems };
    (reload["good"] == false).then(|| format!("refused: {reason}"))
}

/// The keys that need a restart, if there are any.
fn needed_restart(status: &Value) -> Option<String> {
    let keys = list(&status["needs_restart"]);
    (!keys.is_empty()).then(|| format!("needed for {keys}"))
}

fn driver(status: &Value) -> String {
    let reason = status["driver_reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
    text(&status["driver"]) + &reason
}

fn workers(workers: &Value) -> String {
    let all = workers.as_array().map(Vec::as_slice).unwrap_or_default();
    let sessions = || all.iter().filter_map(|worker| worker["sessions"].as_i64());
    let lag = all.iter().filter_map(|worker| worker["loop_lag_seconds"].as_f64()).fold(0.0, f64::max);
    let (fewest, most) = (sessions().min().unwrap_or_default(), sessions().max().unwrap_or_default());
    let each = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
    format!("{}, {each} sessions each, at most {:.1} ms behind", all.len(), lag * 1e3)
}

/// How many sessions there are, by role.
fn sessions(sessions: &Value) -> String {
    let of_role = |role: &str| -> i64 {
        let routes = sessions.as_object().into_iter().flat_map(|routes| routes.values());
        routes.filter_map(|route| route[role]["active"].as_i64()).sum()
    };
    format!(
        "{} ({} publishers, {} subscribers), {} connections with requests",
        sessions["active"],
        of_role("publisher"),
        of_role("subscriber"),
        sessions["http"]
    )
}

/// A limit that is used by more than a half.
fn limit_used(limit: &Value) -> Option<String> {
    let (most, used) = (limit["most"].as_f64()?, limit["used"].as_f64()?);
    let reached = if used >= most { " (reached)" } else { "" };
    (used > most / 2.0).then(|| format!("{used} of limits.{} = {most}{reached}", text(&limit["key"])))
}

fn answers(answers: &Value) -> String {
    let count = |name: &str| answers[name].as_u64().unwrap_or_default();
    let stored = count("hit") + count("missing_hit");
    let asked = stored + count("miss") + count("collapsed") + count("bypass") + count("failed");
    let share =
        if asked == 0 { String::new() } else { format!(" ({:.0} %)", 100.0 * stored as f64 / asked as f64) };
    format!("{} stored; {stored} of {asked} questions answered from memory{share}", answers["stored"])
}

/// Whether a stream manager answers, since when, and why not.
fn manager(manager: &Value) -> String {
    let since = span(manager["since_seconds"].as_f64().unwrap_or_default());
    let fault = &manager["last_fault"];
    let cause = fault["text"].as_str().map(|text| format!(": {text}")).unwrap_or_default();
    let state = match (manager["up"].as_bool(), manager["rank"].as_str()) {
        (Some(true), Some("settling")) => format!("up again since {since}, asked after the others for now"),
        (Some(true), Some("out")) => format!("asked after the others{cause}"),
        (Some(true), _) => format!("up since {since}"),
        (Some(false), _) => format!("DOWN since {since}, {} questions failed{cause}", manager["failed"]),
        (None, _) => "not asked yet".to_owned(),
    };
    format!("{} {state}", text(&manager["url"]))
}

fn nodes_in_short(nodes: &Value) -> String {
    let all = nodes["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let failing = all.iter().filter(|node| nodes::is_failing(node)).count();
    format!("{} known, {failing} failing", all.len())
}

fn ends(ends: &Value) -> Vec<(String, u64)> {
    let all = ends.as_array().into_iter().flatten();
    let one =
        |end: &Value| Some((format!("{} {}", text(&end["by"]), text(&end["how"])), end["count"].as_u64()?));
    all.filter_map(one).collect()
}

fn refusals(refusals: &Value) -> Vec<(String, u64)> {
    let all = refusals.as_object().into_iter().flatten();
    all.filter_map(|(code, count)| Some((code.clone(), count.as_u64()?))).collect()
}

/// The most frequent ones, each with its number; `none` if there are none.
fn most_frequent(mut all: Vec<(String, u64)>) -> String {
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let others: u64 = all.iter().skip(KINDS_MAX).map(|(_, count)| count).sum();
    let mut shown: Vec<_> =
        all.iter().take(KINDS_MAX).map(|(kind, count)| format!("{count} {kind}")).collect();
    if others > 0 {
        shown.push(format!("{others} others"));
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// The phase; of a drain also what began it, for how long it may go on, and whether it can be taken back.
fn phase(status: &Value) -> String {
    let (mut phase, drain) = (text(&status["phase"]), &status["drain"]);
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
    use crate::proto::refusal::Refusal;
    use crate::proto::websocket::relay::{By, How};
    use serde_json::json;
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
            let shown = lifecycle::Shown { state, recorder: Arc::default() };
            let served = lifecycle::serve(Kind::Monitoring, Bound::Tcp(tcp), shown, closed, ended);
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
        state.metrics[0].refusals.of(Refusal::TooMany).add(4);
        state.metrics[0].ends[By::Node as usize][How::Lost as usize].add(2);
        let answer = client::request(&serve(state), Method::GET, "/api/status").expect("answered");
        let lines = lines(&serde_json::from_slice(&answer).expect("JSON"), &Value::Null);
        for line in [
            "phase       serving\n",
            "sessions    3 (3 publishers, 0 subscribers), 0 connections with requests\n",
            "workers     2, 0 to 3 sessions each, at most 0.0 ms behind\n",
            "refused     4 too_many\n",
            "ends        2 origin lost\n",
            "nodes       0 known, 0 failing\n",
            "certificate a.example,",
        ] {
            assert!(lines.contains(line), "{lines}");
        }
    }

    #[test]
    fn what_needs_attention_is_told_with_its_cause() {
        let status = json!({
            "phase": "serving", "version": "1", "pid": 7, "uptime_seconds": 7_300, "revision": 4, "driver": "epoll",
            "driver_reason": "io_uring can't be had: EPERM", "listening": ["0.0.0.0:443"], "workers": [],
            "reload": { "good": false, "problems": ["tidegate.toml:3: unknown key"] }, "needs_restart": ["gateway.pin"],
            "sessions": { "active": 0, "http": 2 },
            "answers": { "stored": 5, "hit": 3, "miss": 1 },
            "totals": { "limits": [{ "key": "sessions", "most": 10.0, "used": 10.0 }, { "key": "handshakes", "most": 9.0, "used": 1.0 }],
                "ends": [], "refusals": { "a": 1, "b": 9, "c": 2, "d": 3, "e": 4, "f": 5, "g": 6 } },
            "managers": [{ "url": "http://10.0.0.2", "up": false, "since_seconds": 12, "failed": 3,
                "last_fault": { "text": "connection refused" } }],
        });
        let fault = json!({ "text": "no answer in time", "seconds_ago": 3.0, "failing": true });
        let lines = lines(
            &status,
            &json!({ "nodes": [{ "node": "10.0.0.5", "last_fault": fault }, { "node": "10.0.0.6" }] }),
        );
        for line in [
            "uptime      2h\n",
            "revision    4\n",
            "reload      refused: tidegate.toml:3: unknown key\n",
            "restart     needed for gateway.pin\n",
            "driver      epoll: io_uring can't be had: EPERM\n",
            "limit       10 of limits.sessions = 10 (reached)\n",
            "answers     5 stored; 3 of 4 questions answered from memory (75 %)\n",
            "manager     http://10.0.0.2 DOWN since 12s, 3 questions failed: connection refused\n",
            "nodes       2 known, 1 failing\n",
            "node        10.0.0.5 no answer in time, 3s ago\n",
            "ends        none\n",
            "refused     9 b, 6 g, 5 f, 4 e, 3 d, 2 c, 1 others\n",
        ] {
            assert!(lines.contains(line), "{line}: {lines}");
        }
        assert!(!lines.contains("limits.handshakes"), "{lines}");
    }
}
