//! The commands that show what a running gateway does: `status`, `sessions`, `nodes` and `why`.

use crate::harness::{Frame, Gateway, Reply, Request, TestBed, eventually};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

#[track_caller]
fn said(gateway: &Gateway, words: &[&str]) -> String {
    let output = gateway.command(words);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

#[track_caller]
fn assert_lines(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// The same of a table, which has to fit 100 columns.
#[track_caller]
fn assert_has(text: &str, words: &[&str]) {
    assert_lines(text, words);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "lines fit 100 columns: {text}");
}

#[test]
fn why_tells_of_an_open_and_of_an_ended_session() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let id = bed.gateway.ids("/api/sessions")[0].clone();
    let node_address = bed.workspace.node(1).to_string();
    let took = format!("node {node_address} took the request");
    let open = said(&bed.gateway, &["why", &id]);
    assert_has(
        &open,
        &["Open; the last data came", &format!("session     {id} (open)"), "two_step, publisher", &took],
    );
    node.send_frame(Frame::close(1000, ""));
    client.expect_close(1000);
    client.answer_close(1000);
    bed.gateway.why_ended(&id);
    let ended = said(&bed.gateway, &["why", &id]);
    let verdict = format!("The node {node_address} ended it with Close 1000 (normal).");
    assert_has(
        &ended,
        &[&format!("session     {id} (ended)"), "stream      live/stream1", "the node sent Close 1000"],
    );
    assert!(ended.starts_with(&verdict), "the verdict comes first: {ended}");
    let json: Value = serde_json::from_str(&said(&bed.gateway, &["why", &id, "--json"])).unwrap();
    assert_eq!((&json["id"], &json["verdict"]), (&id.as_str().into(), &verdict.as_str().into()));
    let unknown = bed.gateway.command(&["why", "0000000000000000"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no such session"));
    assert_eq!(bed.gateway.command(&["why", "x"]).status.code(), Some(64));
}

#[test]
fn sessions_are_filtered_limited_and_listed_after_their_end() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let mut open = Vec::new();
    for target in ["id=stream1&app=live", "id=stream2&app=live&context=a", "id=subscriber-1&app=live"] {
        let mut client = bed.client();
        client.send_request(&Request::upgrade(&format!("/streammanager/?{target}&host={}", bed.ip(1))));
        let mut node = listener.accept();
        node.accept_upgrade();
        open.push((client.read_response().session_id(), client, node));
    }
    let ids = |words: &[&str]| -> Vec<String> {
        let table = said(&bed.gateway, &[&["sessions"], words].concat());
        assert_has(&table, &["SESSION"]);
        table.lines().skip(1).map(|row| row.split_whitespace().next().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&["--stream", "stream1"]), [open[0].0.as_str()]);
    assert_eq!(ids(&["--app", "live/a"]), [open[1].0.as_str()]);
    assert_eq!(ids(&["--role", "subscriber", "--node", &bed.ip(1).to_string()]), [open[2].0.as_str()]);
    assert_eq!(ids(&["--limit", "2"]).len(), 2);
    assert!(ids(&["--client", "192.0.2.1"]).is_empty() && ids(&["--route", "whep"]).is_empty());
    for wrong in [["--role", "x"], ["--route", "x"], ["--node", "x"], ["--limit", "0"]] {
        assert_eq!(
            bed.gateway.command(&[&["sessions"][..], &wrong].concat()).status.code(),
            Some(64),
            "{wrong:?}"
        );
    }
    let (id, client, _node) = open.remove(0);
    client.reset();
    bed.gateway.why_ended(&id);
    let refused =
        bed.exchange(&Request::upgrade("/streammanager/?id=s&host=10.255.0.1&app=live")).session_id();
    eventually("the request has ended", || ids(&["--ended"]).len() == 2);
    let table = said(&bed.gateway, &["sessions", "--ended"]);
    let row = |id: &str| table.lines().find(|row| row.starts_with(id)).unwrap().to_owned();
    assert!(
        row(&id).ends_with("client lost") && row(&refused).ends_with("403 origin_not_admitted"),
        "{table}"
    );
    let json: Value =
        serde_json::from_str(&said(&bed.gateway, &["sessions", "--ended", "--stream", "s", "--json"]))
            .unwrap();
    assert_eq!(json["sessions"][0]["id"], refused.as_str());
}

#[test]
fn status_and_nodes_tell_what_fails_and_why() {
    let TestBed { workspace, manager, gateway } = TestBed::start();
    let dead = workspace.node(1).ip().to_string();
    manager.answer("", Reply::node(workspace.node(1).ip()));
    let client = crate::harness::ClientBuilder::to(workspace.gateway());
    let websocket = Request::upgrade(&format!("/streammanager/?id=s&host={dead}&app=live"));
    let mut refused = client.connect_tls();
    refused.exchange(&websocket).assert_refusal(502, "origin_refused");
    let question = Request::get("/streammanager/api/4.0/event/live/a?action=subscribe");
    assert_eq!(client.connect_tls().exchange(&question).status(), 200);
    let status = said(&gateway, &["status"]);
    let address = workspace.manager();
    assert_lines(
        &status,
        &[
            "phase       serving",
            "revision    1",
            &format!("manager     http://{address}"),
            "up since",
            "nodes       1 known, 1 failing",
            &format!("node        {dead} "),
            "refused     1 origin_refused",
            "certificate gateway.test",
        ],
    );
    let nodes = said(&gateway, &["nodes"]);
    assert_has(&nodes, &["NODE", "LAST FAULT", "avoided"]);
    let row = nodes.lines().find(|row| row.starts_with(&dead)).unwrap();
    assert!(row.contains("refused"), "{nodes}");
    let json: Value = serde_json::from_str(&said(&gateway, &["nodes", "--json"])).unwrap();
    assert_eq!((&json["nodes"][0]["node"], &json["nodes"][0]["failed"]), (&dead.as_str().into(), &1.into()));
    drop(manager);
    for name in ["b", "c", "d", "e", "f"] {
        let question = Request::get(&format!("/streammanager/api/4.0/event/live/{name}?action=subscribe"));
        client.connect_tls().exchange(&question);
    }
    eventually("the manager is gone", || {
        said(&gateway, &["status"]).contains(&format!("http://{address} DOWN since"))
    });
    assert_lines(
        &said(&gateway, &["status"]),
        &["questions failed: it refuses connections", "manager_failed"],
    );
}

/// Starts a command that watches.
fn watch(command: &mut Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("the program starts");
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// Ends a command that watches.
fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_watched_table_is_appended_where_stdout_is_no_terminal() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let _session = bed.relay(&listener);
    let id = bed.gateway.ids("/api/sessions")[0].clone();
    let program = || Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let (child, out) = watch(program().args(["sessions", "--watch", "--admin", &bed.gateway.admin()]));
    // two tables, each below its time
    let lines: Vec<_> = out.lines().map(Result::unwrap).take(7).collect();
    end(child);
    assert!(
        lines[0].ends_with("GMT") && lines[1].starts_with("SESSION ") && lines[2].starts_with(&id),
        "{lines:?}"
    );
    assert!(lines[3].is_empty() && lines[4].ends_with("GMT") && lines[6].starts_with(&id), "{lines:?}");
    let (child, out) = watch(program().args(["nodes", "--watch", "--json", "--admin", &bed.gateway.admin()]));
    for line in out.lines().map(Result::unwrap).take(2) {
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["nodes"][0]["sessions"], 1, "{answer}");
    }
    // its reader is gone, so it ends by itself
    let mut child = child;
    eventually("it ends", || child.try_wait().unwrap().is_some());
}

#[test]
fn a_watched_table_is_redrawn_in_its_place_on_a_terminal() {
    let bed = TestBed::start();
    let command = format!(
        "stty rows 10 cols 80; {} nodes --watch --admin {}",
        env!("CARGO_BIN_EXE_tidegate"),
        bed.gateway.admin()
    );
    // script(1) runs it on a terminal of its own
    let (child, mut out) =
        watch(Command::new("script").args(["--quiet", "--flush", "--command", &command, "/dev/null"]));
    let mut seen = Vec::new();
    eventually("two screens", || {
        let mut piece = [0; 512];
        let read = out.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..read]);
        String::from_utf8_lossy(&seen).matches("\u{1b}[H").count() >= 2
    });
    end(child);
    let seen = String::from_utf8(seen).unwrap();
    let screen = seen.split("\u{1b}[H").nth(1).unwrap();
    assert!(screen.contains("every 2 s\u{1b}[K") && screen.contains("NODE  STATE"), "{seen:?}");
    assert!(screen.trim_end().ends_with("\u{1b}[J"), "{seen:?}");
}
