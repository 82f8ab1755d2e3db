//! What an operator can do to a running gateway, through the admin listener and by command, and that web pages of other
//! sites cannot do it.

use crate::harness::connection::End;
use crate::harness::gateway::text_of;
use crate::harness::{Frame, Gateway, Reply, Request, TestBed, eventually};
use serde_json::Value;

/// All sessions that the admin listener lists.
#[track_caller]
fn listed(gateway: &Gateway) -> Vec<Value> {
    let answer = gateway.admin_get("/api/sessions");
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.json()["sessions"].as_array().unwrap().clone()
}

#[track_caller]
fn id_of(session: &Value) -> String {
    session["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn done(gateway: &Gateway, method: &str, target: &str) -> Value {
    let answer = gateway.send_admin(&gateway.admin_request(method, target));
    assert!((200..300).contains(&answer.status()), "{answer:?}");
    answer.json()
}

#[test]
fn a_session_is_listed_with_its_details_and_without_secrets() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let mut client = bed.client();
    client
        .send_request(&Request::upgrade(&format!("{}&token=hunter2&context=room1", bed.websocket_target(1))));
    let mut node = listener.accept();
    node.accept_upgrade();
    let id = client.read_response().field("x-tidegate-session").unwrap().to_owned();
    client.send_frame(Frame::text("three"));
    node.read_frame();
    let mut sessions = Vec::new();
    eventually("its frame is counted", || {
        sessions = listed(&bed.gateway);
        sessions[0]["frames"]["client"] == 1
    });
    let [session] = &sessions[..] else { panic!("{sessions:?}") };
    let expected = [
        ("id", id.as_str()),
        ("route", "two_step"),
        ("role", "publisher"),
        ("state", "open"),
        ("app", "live/room1"),
        ("stream", "stream1"),
        ("client", &client.tcp().local_addr().unwrap().to_string()),
        ("node", &bed.workspace.node(1).to_string()),
    ];
    for (key, value) in expected {
        assert_eq!(session[key], value, "{session}");
    }
    assert_eq!((&session["bytes"]["client"], &session["frames"]["node"]), (&11.into(), &0.into()));
    assert!(session["age_seconds"].as_f64() >= session["idle_seconds"].as_f64());
    assert!(!session.to_string().contains("hunter"), "{session}");
    client.reset();
    eventually("the session leaves the list", || listed(&bed.gateway).is_empty());
}

#[test]
fn one_step_sessions_are_listed_and_http_connections_where_they_are_asked_for() {
    let bed = TestBed::start();
    bed.manager_names(1);
    let listener = bed.node(1);
    let (_client, mut node, head) = bed.pending_upgrade(
        &listener,
        &Request::upgrade("/as/v1/proxy/ws/subscribe/live/stream7?nodeGroup=ng1"),
    );
    let sessions = listed(&bed.gateway);
    assert_eq!((&sessions[0]["route"], &sessions[0]["state"]), (&"one_step".into(), &"opening".into()));
    node.answer_upgrade(&head, "");
    assert_eq!((&sessions[0]["role"], &sessions[0]["stream"]), (&"subscriber".into(), &"stream7".into()));
    eventually("the session is open", || listed(&bed.gateway)[0]["state"] == "open");
    let mut asking = bed.client();
    asking.get("/nowhere");
    assert_eq!(listed(&bed.gateway).len(), 1, "a connection with requests is no session");
    let http = bed.gateway.admin_get("/api/sessions?route=http").json();
    let [http] = &http["sessions"].as_array().unwrap()[..] else { panic!("{http}") };
    assert!(http["node"].is_null() && http["state"] == "open" && http["role"].is_null());
}

#[test]
fn many_sessions_are_listed_in_pages() {
    let bed = TestBed::start();
    let mut clients: Vec<_> = (0..25).map(|_| bed.client()).collect();
    let mut ids: Vec<_> = clients
        .iter_mut()
        .map(|client| client.get("/nowhere").field("x-tidegate-session").unwrap().to_owned())
        .collect();
    ids.sort();
    let (mut path, mut seen) = ("/api/sessions?route=http&limit=10".to_owned(), Vec::new());
    loop {
        let page = bed.gateway.admin_get(&path).json();
        let rows = page["sessions"].as_array().unwrap();
        assert!(rows.len() <= 10 && page["active"] == 25);
        seen.extend(rows.iter().map(id_of));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/sessions?route=http&limit=10&after={next}");
    }
    assert_eq!(seen, ids, "each session once, in the order of ids, from both workers");
    for wrong in
        ["limit=0", "limit=1001", "limit=x", "after=x", "role=x", "route=x", "node=x", "client=x", "x=x"]
    {
        assert_eq!(bed.gateway.admin_get(&format!("/api/sessions?{wrong}")).status(), 400, "{wrong}");
    }
    let listed: Value =
        serde_json::from_str(&text_of(&bed.gateway.command(&["sessions", "--route", "http", "--json"]), 0))
            .unwrap();
    assert!(listed["sessions"].as_array().unwrap().iter().map(id_of).eq(ids));
}

#[test]
fn a_kick_ends_one_session_in_order_and_no_other() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let id = id_of(&listed(&bed.gateway)[0]);
    let (mut other, mut other_node) = bed.relay(&listener);
    assert_eq!(done(&bed.gateway, "DELETE", &format!("/api/sessions/{id}"))["kicked"], id.as_str());
    for leg in [&mut client, &mut node] {
        assert_eq!(leg.expect_close(1001), format!("kicked {id}"));
    }
    client.answer_close(1001);
    assert_eq!(node.expect_end(), End::Clean);
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("by", "gateway"), ("how", "kicked")], 1.0);
    other.send_frame(Frame::text("still here"));
    assert_eq!(other_node.read_frame(), Frame::text("still here"));
    for unknown in [id.as_str(), "0000000000000000", "x", "%2e%2e"] {
        let request = bed.gateway.admin_request("DELETE", &format!("/api/sessions/{unknown}"));
        assert_eq!(bed.gateway.send_admin(&request).status(), 404, "{unknown}");
    }
}

#[test]
fn a_kick_ends_an_idle_connection() {
    let bed = TestBed::start();
    let mut client = bed.client();
    let id = client.get("/nowhere").field("x-tidegate-session").unwrap().to_owned();
    done(&bed.gateway, "DELETE", &format!("/api/sessions/{id}"));
    assert_eq!(client.expect_end(), End::Clean);
}

#[test]
fn commands_act_like_the_api_and_print_the_result() {
    let mut bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, _node) = bed.relay(&listener);
    let id = id_of(&listed(&bed.gateway)[0]);
    let (mut drained, _drained_node) = bed.relay(&listener);
    let table = text_of(&bed.gateway.command(&["sessions"]), 0);
    assert!(table.starts_with("SESSION ") && table.lines().count() == 3, "{table}");
    let row = table.lines().find(|row| row.contains(&id));
    let row: Vec<_> = row.expect("a row for the session").split_whitespace().collect();
    assert_eq!(row[1..5], ["two_step", "pub", "open", "live/stream1"], "{table}");
    assert_eq!(text_of(&bed.gateway.command(&["kick", row[0]]), 0), format!("kicked {}\n", row[0]));
    assert!(client.expect_close(1001).starts_with("kicked "));
    client.answer_close(1001);
    eventually("the session leaves the list", || listed(&bed.gateway).len() == 1);
    let no = text_of(&bed.gateway.command(&["kick", row[0]]), 1);
    assert!(no.contains("no such session"), "{no}");
    assert!(text_of(&bed.gateway.command(&["kick", "me"]), 64).contains("sixteen hexadecimal digits"));
    assert_eq!(text_of(&bed.gateway.command(&["drain"]), 0), "draining: 1 sessions, for at most 5.0 s\n");
    drained.expect_close(1001);
    drained.answer_close(1001);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
    let unreachable = text_of(&bed.gateway.command(&["drain"]), 71);
    assert!(unreachable.contains("no gateway answers on"), "{unreachable}");
}

#[test]
fn the_first_signal_after_a_drain_command_does_not_cut_the_drain() {
    let mut bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let frame = Frame::text("one half and the other").bare();
    node.send(&frame[..10]);
    client.read_bytes(10);
    for _ in 0..2 {
        let begun = done(&bed.gateway, "POST", "/api/drain");
        assert_eq!((&begun["phase"], &begun["sessions"]), (&"draining".into(), &1.into()));
        assert_eq!(bed.gateway.ready(), Some(503), "not ready from this moment on");
    }
    // service managers send it whatever happened before
    bed.gateway.terminate();
    // the node receives its Close, so the drain went on after the signal
    node.expect_close(1001);
    node.send(&frame[10..]);
    client.read_bytes(frame.len() - 10);
    client.expect_close(1001);
    client.answer_close(1001);
    drop(node);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn stored_answers_are_forgotten_on_request() {
    let bed = TestBed::with(|config, _| config.set("answers.broadcast_ttl", "60s"));
    bed.manager.answer("", Reply::node(bed.ip(1)));
    let ask = || bed.get("/streammanager/api/4.0/event/live/stream1?action=broadcast").status();
    assert_eq!((ask(), ask(), bed.manager.count()), (200, 200, 1));
    assert!(done(&bed.gateway, "DELETE", "/api/answers")["forgotten"].is_u64());
    assert_eq!((ask(), bed.manager.count()), (200, 2), "the manager is asked again");
    // the node stays known
    let listener = bed.node(1);
    bed.relay(&listener);
}
