//! What an operator can do to a running gateway, at its admin listener and by command, and what nobody else can.

use crate::harness::connection::End;
use crate::harness::{Frame, Gateway, Reply, Request, Town, eventually};
use serde_json::Value;
use std::process::Output;

/// All sessions that the admin listener lists.
#[track_caller]
fn listed(gateway: &Gateway) -> Vec<Value> {
    let answer = gateway.admin("/api/sessions");
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.json()["sessions"].as_array().unwrap().clone()
}

#[track_caller]
fn id_of(session: &Value) -> String {
    session["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn done(gateway: &Gateway, method: &str, target: &str) -> Value {
    let answer = gateway.ask_admin(&gateway.to_admin(method, target));
    assert!((200..300).contains(&answer.status()), "{answer:?}");
    answer.json()
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    out + &err
}

#[test]
fn a_session_is_listed_with_what_a_person_wants_and_without_secrets() {
    let town = Town::open();
    let origin = town.node(1);
    let mut client = town.client();
    client.ask(&Request::upgrade(&format!("{}&token=hunter2&context=room1", town.socket_target(1))));
    let mut node = origin.accept();
    node.agree();
    let id = client.read_response().field("x-tidegate-session").unwrap().to_owned();
    client.say(Frame::text("three"));
    node.hear();
    let mut sessions = Vec::new();
    eventually("its frame is counted", || {
        sessions = listed(&town.gateway);
        sessions[0]["frames"]["client"] == 1
    });
    let [session] = &sessions[..] else { panic!("{sessions:?}") };
    let expected = [
        ("id", id.as_str()),
        ("route", "two_step"),
        ("state", "open"),
        ("app", "live/room1"),
        ("stream", "stream1"),
        ("client", &client.tcp().local_addr().unwrap().to_string()),
        ("node", &town.place.node(1).to_string()),
    ];
    for (key, value) in expected {
        assert_eq!(session[key], value, "{session}");
    }
    assert_eq!((&session["bytes"]["client"], &session["frames"]["origin"]), (&11.into(), &0.into()));
    assert!(session["age_seconds"].as_f64() >= session["idle_seconds"].as_f64());
    assert!(!session.to_string().contains("hunter"), "{session}");
    client.abort();
    eventually("it leaves the list", || listed(&town.gateway).is_empty());
}

#[test]
fn a_one_step_session_and_a_question_are_listed_too() {
    let town = Town::open();
    town.manager_names(1);
    let origin = town.node(1);
    let (_client, mut node, head) =
        town.asked(&origin, &Request::upgrade("/as/v1/proxy/ws/subscribe/live/stream7?nodeGroup=ng1"));
    let sessions = listed(&town.gateway);
    assert_eq!((&sessions[0]["route"], &sessions[0]["state"]), (&"one_step".into(), &"opening".into()));
    node.agree_to(&head, "");
    eventually("it is open", || listed(&town.gateway)[0]["stream"] == "stream7");
    let mut asking = town.client();
    asking.get("/nowhere");
    let http = listed(&town.gateway).into_iter().find(|session| session["route"] == "http");
    assert!(http.is_some_and(|http| http["node"].is_null() && http["state"] == "open"));
}

#[test]
fn many_sessions_are_listed_in_pages() {
    let town = Town::open();
    let mut clients: Vec<_> = (0..25).map(|_| town.client()).collect();
    let mut ids: Vec<_> = clients
        .iter_mut()
        .map(|client| client.get("/nowhere").field("x-tidegate-session").unwrap().to_owned())
        .collect();
    ids.sort();
    let (mut path, mut seen) = ("/api/sessions?limit=10".to_owned(), Vec::new());
    loop {
        let page = town.gateway.admin(&path).json();
        let rows = page["sessions"].as_array().unwrap();
        assert!(rows.len() <= 10 && page["active"] == 25);
        seen.extend(rows.iter().map(id_of));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/sessions?limit=10&after={next}");
    }
    assert_eq!(seen, ids, "each once, by id, from both workers");
    for wrong in ["limit=0", "limit=1001", "limit=x", "after=x"] {
        assert_eq!(town.gateway.admin(&format!("/api/sessions?{wrong}")).status(), 400, "{wrong}");
    }
    let listed: Value =
        serde_json::from_str(&said(&town.gateway.command(&["sessions", "--json"]), 0)).unwrap();
    assert!(listed["sessions"].as_array().unwrap().iter().map(id_of).eq(ids));
}

#[test]
fn a_kick_ends_one_session_well_and_no_other() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let id = id_of(&listed(&town.gateway)[0]);
    let (mut other, mut other_node) = town.relay(&origin);
    assert_eq!(done(&town.gateway, "DELETE", &format!("/api/sessions/{id}"))["kicked"], id.as_str());
    for leg in [&mut client, &mut node] {
        assert_eq!(leg.told(1001), format!("kicked {id}"));
    }
    client.part(1001);
    assert_eq!(node.ended(), End::Clean);
    town.gateway.wait_for_metric("tidegate_ends_total", &[("by", "gateway"), ("how", "kicked")], 1.0);
    other.say(Frame::text("still here"));
    assert_eq!(other_node.hear(), Frame::text("still here"));
    for nobody in [id.as_str(), "0000000000000000", "x", "%2e%2e"] {
        let request = town.gateway.to_admin("DELETE", &format!("/api/sessions/{nobody}"));
        assert_eq!(town.gateway.ask_admin(&request).status(), 404, "{nobody}");
    }
}

#[test]
fn a_kick_ends_a_connection_that_waits() {
    let town = Town::open();
    let mut client = town.client();
    let id = client.get("/nowhere").field("x-tidegate-session").unwrap().to_owned();
    done(&town.gateway, "DELETE", &format!("/api/sessions/{id}"));
    assert_eq!(client.ended(), End::Clean);
}

#[test]
fn commands_do_the_same_and_say_what_came_of_it() {
    let mut town = Town::open();
    let origin = town.node(1);
    let (mut client, _node) = town.relay(&origin);
    let (mut drained, _drained_node) = town.relay(&origin);
    let table = said(&town.gateway.command(&["sessions"]), 0);
    assert!(table.starts_with("SESSION ") && table.lines().count() == 3, "{table}");
    let row = table.lines().find(|row| row.contains(&client.tcp().local_addr().unwrap().to_string()));
    let row: Vec<_> = row.expect("a row for the client").split_whitespace().collect();
    assert_eq!(row[1..4], ["two_step", "open", "live/stream1"], "{table}");
    assert_eq!(said(&town.gateway.command(&["kick", row[0]]), 0), format!("kicked {}\n", row[0]));
    assert!(client.told(1001).starts_with("kicked "));
    client.part(1001);
    eventually("it leaves the list", || listed(&town.gateway).len() == 1);
    let no = said(&town.gateway.command(&["kick", row[0]]), 1);
    assert!(no.contains("no such session"), "{no}");
    assert!(said(&town.gateway.command(&["kick", "me"]), 64).contains("sixteen hexadecimal digits"));
    assert_eq!(said(&town.gateway.command(&["drain"]), 0), "draining: 1 sessions, for at most 5.0 s\n");
    drained.told(1001);
    drained.part(1001);
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
    let nobody = said(&town.gateway.command(&["drain"]), 71);
    assert!(nobody.contains("no gateway answers on"), "{nobody}");
}

#[test]
fn commands_reach_a_socket_file() {
    let town = Town::open();
    let path = town.place.file("admin.sock");
    let place = crate::harness::Place::claim();
    let mut config = crate::harness::Config::new(&place);
    let admin = format!("unix:{}", path.display());
    config.set("admin.listen", admin.as_str());
    let mut gateway = Gateway::spawn(&place, &config);
    let ask = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(words).args(["--admin", &admin]).output().unwrap()
    };
    eventually("it answers", || ask(&["sessions"]).status.success());
    assert!(said(&ask(&["sessions", "--json"]), 0).contains("\"sessions\":[]"));
    said(&ask(&["drain"]), 0);
    assert_eq!(gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn a_drain_by_order_is_a_drain_and_the_first_signal_does_not_cut_it() {
    let mut town = Town::with(|config, _| config.set("gateway.drain", "60s"));
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let frame = Frame::text("one half and the other").bare();
    node.send(&frame[..10]);
    client.take(10);
    for _ in 0..2 {
        let begun = done(&town.gateway, "POST", "/api/drain");
        assert_eq!((&begun["phase"], &begun["sessions"]), (&"draining".into(), &1.into()));
        assert_eq!(town.gateway.ready(), Some(503), "from this moment on");
    }
    // as service managers do whatever was done before
    town.gateway.terminate();
    // the node hears its Close, so the gateway went on after all that
    node.told(1001);
    node.send(&frame[10..]);
    client.take(frame.len() - 10);
    client.told(1001);
    client.part(1001);
    drop(node);
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn answers_are_forgotten_by_order() {
    let town = Town::with(|config, _| config.set("answers.broadcast_ttl", "60s"));
    town.manager.answer("", Reply::node(town.ip(1)));
    let ask = || town.get("/streammanager/api/4.0/event/live/stream1?action=broadcast").status();
    assert_eq!((ask(), ask(), town.manager.count()), (200, 200, 1));
    assert!(done(&town.gateway, "DELETE", "/api/answers")["forgotten"].is_u64());
    assert_eq!((ask(), town.manager.count()), (200, 2), "asked anew");
    // the node stays known
    let origin = town.node(1);
    town.relay(&origin);
}

#[test]
fn a_page_of_another_site_gets_nothing_done() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let id = id_of(&listed(&town.gateway)[0]);
    let target = format!("/api/sessions/{id}");
    let orders = [("POST", "/api/drain"), ("DELETE", target.as_str()), ("DELETE", "/api/answers")];
    for (method, target) in orders {
        let order = town.gateway.to_admin(method, target);
        let foreign = [
            order.clone().with("Origin", "https://evil.example"),
            order.clone().with("Origin", "null"),
            order.clone().with("Sec-Fetch-Site", "cross-site"),
            order.clone().with("Sec-Fetch-Site", "same-site"),
        ];
        for request in foreign {
            assert_eq!(town.gateway.ask_admin(&request).status(), 403, "{method} {target}");
        }
        // a name of the attacker's that points here now: the page is of the same site, but its name is foreign
        let rebound = order.instead("Host", "evil.example:9180").with("Origin", "http://evil.example:9180");
        assert_eq!(town.gateway.ask_admin(&rebound).status(), 421, "{method} {target}");
        // a link or a picture
        let get = town.gateway.ask_admin(&town.gateway.to_admin("GET", target));
        assert_eq!(get.status(), 405, "{method} {target}");
    }
    assert_eq!(town.gateway.ready(), Some(200));
    client.say(Frame::text("still here"));
    assert_eq!(node.hear(), Frame::text("still here"));
    let preflight = town.gateway.to_admin("OPTIONS", &target).with("Origin", "https://evil.example");
    let answer = town.gateway.ask_admin(&preflight.with("Access-Control-Request-Method", "DELETE"));
    assert!(answer.field("access-control-allow-origin").is_none() && !(200..300).contains(&answer.status()));
    let own = town.gateway.to_admin("DELETE", &target).with("Sec-Fetch-Site", "same-origin");
    let own = own.with("Origin", &format!("http://{}", town.place.admin()));
    assert_eq!(town.gateway.ask_admin(&own).status(), 200, "our own page may");
}
