//! The fault drill: each test makes one fault and then asks what an operator would ask, of the log, the metrics behind the
//! alerts, the commands and the API alone. What happened, to what, why, and what to do has to be there in plain words.

mod clients;
mod files;
mod managers;
mod nodes;
mod operators;

use crate::harness::{Gateway, Request, TestBed, eventually};
use serde_json::Value;
use std::collections::HashMap;

/// A secret that clients of the drill send. An operator must find it nowhere.
const SECRET: &str = "drill-s3cret";

/// A player that lets the gateway choose the node.
fn one_step() -> Request {
    Request::upgrade(&format!("/as/v1/proxy/ws/subscribe/live/stream1?nodeGroup=ng1&token={SECRET}"))
}

/// A player or publisher that names the n-th node.
fn two_step(bed: &TestBed, n: u8) -> Request {
    Request::upgrade(&format!("{}&token={SECRET}", bed.websocket_target(n)))
}

/// The lines of the log that contain all of `words`.
fn lines(gateway: &Gateway, words: &[&str]) -> Vec<String> {
    let log = gateway.stderr();
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(has_all).map(str::to_owned).collect()
}

/// The line of this level with all of `words`, once it is there. It is the only one.
#[track_caller]
fn line(gateway: &Gateway, level: &str, words: &[&str]) -> String {
    eventually(&format!("a line with {words:?}"), || !lines(gateway, words).is_empty());
    let found = lines(gateway, words);
    assert!(found.len() == 1 && found[0].contains(&format!(" {level} ")), "{level}: {found:?}");
    found[0].clone()
}

/// What a command prints that succeeds.
#[track_caller]
fn said(gateway: &Gateway, words: &[&str]) -> String {
    let output = gateway.command(words);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    assert!(output.status.success(), "{words:?}: {text}");
    text
}

/// The text in one line, as it was before a command wrapped it.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Why a session ended, by `tidegate why`; the API has the same words.
#[track_caller]
fn why(gateway: &Gateway, id: &str) -> String {
    let verdict = gateway.why_ended(id)["verdict"].as_str().expect("a verdict").to_owned();
    let told = unwrapped(&said(gateway, &["why", id]));
    assert!(told.starts_with(&unwrapped(&verdict)) && !verdict.contains(".."), "{verdict}: {told}");
    told
}

#[track_caller]
fn assert_has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "expected {word:?} in: {text}");
    }
}

/// The last fault of a node, as `/api/nodes` shows it, and the whole row.
#[track_caller]
fn node_fault(bed: &TestBed, n: u8) -> (String, Value) {
    let ip = bed.ip(n).to_string();
    let nodes = bed.gateway.admin_get("/api/nodes").json()["nodes"].as_array().unwrap().clone();
    let row = nodes.into_iter().find(|row| row["node"] == ip.as_str()).expect("the node is listed");
    (row["last_fault"]["text"].as_str().unwrap_or_default().to_owned(), row)
}

/// The only stream manager, as `/api/status` shows it.
fn manager(gateway: &Gateway) -> Value {
    gateway.admin_get("/api/status").json()["managers"][0].clone()
}

/// Reads all of the log as an operator does at night: nothing repeats for each client, nothing warns without a cause, and no
/// page, list or line has a secret.
#[track_caller]
fn assert_calm(gateway: &Gateway) {
    let log = gateway.stderr();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for line in log.lines().filter(|line| !line.contains(" access: ")) {
        // without its time and its fields
        let text: String = line.chars().skip_while(|c| *c != ' ').collect();
        let text = text.split(" code=").next().unwrap_or_default();
        let text: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        *seen.entry(text).or_default() += 1;
    }
    let repeated: Vec<_> = seen.iter().filter(|(_, times)| **times > 2).collect();
    assert!(repeated.is_empty(), "lines that repeat: {repeated:?}\n{log}");
    for line in log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")) {
        assert!(line.contains(": "), "a warning has a cause: {line}");
    }
    let pages = ["/api/status", "/api/sessions", "/api/ends", "/api/nodes", "/metrics"];
    let pages = pages.map(|page| gateway.admin_get(page).text()).concat();
    assert!(!log.contains(SECRET) && !pages.contains(SECRET), "{log}{pages}");
}
