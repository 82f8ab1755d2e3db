//! A reload: what it changes and when, what it leaves alone, and that a bad one changes nothing.

use crate::harness::{Config, DEADLINE, Frame, Gateway, HttpPeer, Place, Reply, Request, Town, eventually};
use crate::questions::answers::SUBSCRIBE;
use std::os::unix::net::UnixDatagram;

/// A town, and the configuration that its gateway runs with.
fn town_with(change: impl FnOnce(&mut Config)) -> (Town, Config) {
    let mut kept = None;
    let town = Town::with(|config, _| {
        change(config);
        kept = Some(config.clone());
    });
    (town, kept.expect("it was called"))
}

impl Town {
    /// Writes another configuration and reloads it; all is well.
    #[track_caller]
    fn reload(&self, config: &Config) {
        config.write(&self.place);
        let (code, said) = self.gateway.reload();
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn whoever_asks_gets_a_newer_revision() {
    let (town, _) = town_with(|_| {});
    assert_eq!(town.gateway.revision(), 1);
    town.gateway.hang_up();
    town.gateway.wait_for_revision(2);
    assert_eq!(town.gateway.reload(), (Some(0), "serves revision 3\n".to_owned()));
    let answer = town.gateway.ask_admin(&town.gateway.to_admin("POST", "/api/reload"));
    assert_eq!((answer.status(), &answer.json()["revision"]), (200, &4.into()));
    assert_eq!(town.gateway.metric("tidegate_info", &[("revision", "4")]), 1.0);
    let status = town.gateway.admin("/api/status").json();
    assert_eq!((&status["reload"]["good"], &status["reload"]["by"]), (&true.into(), &"admin".into()));
    let json = town.gateway.command(&["reload", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["revision"], 5);
    assert_eq!(town.gateway.admin("/api/reload").status(), 405, "reading changes nothing");
}

#[test]
fn a_socket_file_takes_a_reload_too() {
    let place = Place::claim();
    let mut config = Config::new(&place);
    let socket = format!("unix:{}", place.file("admin.sock").display());
    config.set("admin.listen", socket.as_str());
    let _gateway = Gateway::spawn(&place, &config);
    let reload = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["reload", "--admin", &socket]).output().expect("it starts")
    };
    eventually("a reload", || reload().status.success());
    assert_eq!(reload().stdout, b"serves revision 3\n");
}

#[test]
fn other_pages_can_not_reload() {
    let (town, _) = town_with(|_| {});
    let reload = town.gateway.to_admin("POST", "/api/reload");
    for (name, value) in
        [("Origin", "https://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")]
    {
        assert_eq!(
            town.gateway.ask_admin(&reload.clone().with(name, value)).status(),
            403,
            "{name}: {value}"
        );
    }
    assert_eq!(town.gateway.revision(), 1);
    let own = format!("http://{}", town.place.admin());
    assert_eq!(town.gateway.ask_admin(&reload.with("Origin", &own)).status(), 200);
}

/// One thing wrong with a configuration, and what has to be said of it.
type Wrong = (&'static str, fn(&mut Config, &Place), &'static str);

const WRONG: [Wrong; 7] = [
    ("an unknown key", |config, _| config.set("origins.strickt", true), "strickt"),
    ("a bad value", |config, _| config.set("answers.subscribe_ttl", "soon"), "answers.subscribe_ttl"),
    (
        "no certificate",
        |config, place| set_certificate(config, place, "nothing.pem", "ecdsa.key.pem"),
        "nothing.pem",
    ),
    (
        "a key of another certificate",
        |config, place| set_certificate(config, place, "ecdsa.chain.pem", "rsa.key.pem"),
        "is not the key of that certificate",
    ),
    ("no CA bundle", |config, place| set_file(config, "stream_manager.ca", place, ""), "stream_manager.ca"),
    (
        "no secret",
        |config, place| set_file(config, "stream_manager.authorization", place, "file:"),
        "stream_manager.authorization",
    ),
    ("no folder for the log", |config, place| set_file(config, "log.access", place, ""), "log.access"),
];

fn set_certificate(config: &mut Config, place: &Place, chain: &str, key: &str) {
    let path = |name| toml::Value::from(place.file(name).to_str().unwrap());
    let pair = toml::Table::from_iter([("chain".to_owned(), path(chain)), ("key".to_owned(), path(key))]);
    config.set("tls.certificates", vec![toml::Value::Table(pair)]);
}

fn set_file(config: &mut Config, key: &str, place: &Place, before: &str) {
    config.set(key, format!("{before}{}", place.file("nowhere/file").display()));
}

#[test]
fn a_refused_reload_says_why_and_changes_nothing() {
    let (mut town, good) = town_with(|_| {});
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    for (what, spoil, told) in WRONG {
        let mut config = good.clone();
        // would be seen if any of it came through
        config.set("origins.apps", vec!["other"]);
        spoil(&mut config, &town.place);
        config.write(&town.place);
        let (code, said) = town.gateway.reload();
        assert_eq!(code, Some(78), "{what}: {said}");
        assert!(said.contains(told) && said.contains("nothing has changed"), "{what}: {said}");
        let status = town.gateway.admin("/api/status").json();
        assert_eq!((&status["revision"], &status["reload"]["good"]), (&1.into(), &false.into()), "{what}");
        assert!(status["reload"]["problems"].to_string().contains(told), "{what}: {status}");
        let shown = String::from_utf8(town.gateway.command(&["status"]).stdout).unwrap();
        assert!(shown.contains("reload      refused: ") && shown.contains(told), "{shown}");
        eventually("a line in the log", || town.gateway.stderr().contains(told));
        town.relay(&origin);
        client.say(Frame::text(what));
        assert_eq!(node.hear(), Frame::text(what));
    }
    std::fs::write(town.place.file("tidegate.toml"), "listen = [").unwrap();
    assert!(town.gateway.reload().1.contains("a mistake of syntax"));
    std::fs::remove_file(town.place.file("tidegate.toml")).unwrap();
    assert!(town.gateway.reload().1.contains("can't read the configuration"));
    assert_eq!(town.gateway.revision(), 1);
    town.reload(&good);
    assert_eq!(town.gateway.revision(), 2);
    assert_eq!(town.gateway.admin("/api/status").json()["reload"]["good"], true);
    town.gateway.assert_sound();
}

#[test]
fn a_session_keeps_what_it_began_with_and_the_next_goes_by_the_new() {
    let (town, mut config) = town_with(|_| {});
    let origin = town.node(1);
    let (mut old_client, mut old_node) = town.relay(&origin);
    config.set("websocket.message_max", "1KiB");
    town.reload(&config);
    let (mut client, mut node) = town.relay(&origin);
    let large = Frame::binary(vec![7; 2000]);
    client.say(large.clone());
    client.told(1009);
    node.told(1001);
    old_client.say(large.clone());
    assert_eq!(old_node.hear(), large);
}

#[test]
fn a_kept_connection_goes_by_the_new_at_its_next_request() {
    let (town, mut config) = town_with(|config| config.set("cors.allow_origins", vec!["https://a.example"]));
    town.manager.answer("", Reply::json(200, "[]"));
    let mut client = town.client();
    let question = Request::get(SUBSCRIBE).by_page("https://a.example");
    let allowed =
        |response: &crate::harness::Response| response.field("access-control-allow-origin").is_some();
    assert!(allowed(&client.exchange(&question)));
    config.set("cors.allow_origins", vec!["https://b.example"]);
    config.set("limits.target_size", "1KiB");
    town.reload(&config);
    assert!(!allowed(&client.exchange(&question)), "the same connection");
    let long = format!("{SUBSCRIBE}&x={}", "x".repeat(1100));
    client.get(&long).assert_refusal(414, "target_too_long");
}

#[test]
fn apps_nodes_and_limits_change_for_the_next() {
    let (town, mut config) = town_with(|config| config.set("limits.sessions_per_ip", "off"));
    let origin = town.node(1);
    let _inside = town.relay(&origin);
    config.set("origins.apps", vec!["live", "second"]);
    config.set("origins.networks", vec![town.ip(1).to_string()]);
    config.set("limits.sessions_per_ip", 2);
    town.reload(&config);
    let target = town.socket_target(1).replace("app=live", "app=second");
    let (mut client, mut node, head) = town.asked(&origin, &Request::upgrade(&target));
    node.agree_to(&head, "");
    assert_eq!(client.read_response().status(), 101);
    // the one from before counts too
    town.refused(&Request::upgrade(&town.socket_target(1))).assert_refusal(429, "too_many");
    config.set("limits.sessions_per_ip", "off");
    town.reload(&config);
    town.refused(&Request::upgrade(&town.socket_target(2))).assert_refusal(403, "origin_not_admitted");
    town.relay(&origin);
}

#[test]
fn a_drain_goes_by_the_newest_for_old_sessions_too() {
    let (mut town, mut config) = town_with(|_| {});
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    config.set("gateway.drain_close_code", 4321);
    town.reload(&config);
    town.gateway.terminate();
    client.told(4321);
    node.told(4321);
    client.part(4321);
    node.part(4321);
    assert!(town.gateway.wait_for_exit().success());
}

#[test]
fn answers_stay_and_new_ones_live_as_long_as_configured_now() {
    let (town, mut config) = town_with(|config| {
        config.set("answers.subscribe_ttl", "60s");
        config.set("answers.subscribe_uses", 1000);
    });
    town.manager.answer("", Reply::node(town.ip(1)));
    town.get(SUBSCRIBE);
    config.set("answers.subscribe_uses", 1);
    config.set("answers.capacity", "1MiB");
    town.reload(&config);
    let hit = town.get(SUBSCRIBE);
    assert!(hit.field("cache-status").is_some_and(|status| status.contains("hit")), "{hit:?}");
    assert_eq!(town.manager.count(), 1, "what was remembered stays, in a memory of another size too");
    let other = SUBSCRIBE.replace("stream1", "stream2");
    town.get(&other);
    town.get(&other);
    assert_eq!(town.manager.count(), 3, "what is new is used up at once");
}

#[test]
fn another_stream_manager_is_asked_and_the_old_one_forgotten() {
    let (town, mut config) = town_with(|config| config.set("answers.subscribe_ttl", "60s"));
    town.manager.answer("", Reply::json(200, r#"["old"]"#));
    assert_eq!(town.get(SUBSCRIBE).text(), r#"["old"]"#);
    let mut address = town.place.manager();
    address.set_port(5081);
    let other = HttpPeer::start(address);
    other.answer("", Reply::json(200, r#"["new"]"#));
    config.set("stream_manager.url", format!("http://{address}"));
    config.set("stream_manager.authorization", "Bearer other");
    town.reload(&config);
    assert_eq!(town.get(SUBSCRIBE).text(), r#"["new"]"#);
    assert_eq!(other.questions()[0].field("authorization"), Some("Bearer other"));
    assert_eq!(town.manager.count(), 1);
}

#[test]
fn what_needs_a_restart_is_told_and_all_else_changes() {
    let (town, mut config) = town_with(|_| {});
    config.set("gateway.workers", 5);
    config.set("admin.listen", "127.0.0.1:1");
    config.set("origins.apps", vec!["other"]);
    config.write(&town.place);
    let (code, said) = town.gateway.reload();
    assert_eq!(code, Some(0));
    assert!(said.contains("gateway.workers differs: it needs a restart"), "{said}");
    let status = town.gateway.admin("/api/status").json();
    assert_eq!(status["needs_restart"], serde_json::json!(["gateway.workers", "admin.listen"]));
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2));
    let shown = String::from_utf8(town.gateway.command(&["status"]).stdout).unwrap();
    assert!(shown.contains("restart     needed for gateway.workers, admin.listen\n"), "{shown}");
    town.refused(&Request::upgrade(&town.socket_target(1))).assert_refusal(403, "app_not_allowed");
    config.set("gateway.workers", 2);
    config.set("admin.listen", town.place.admin().to_string());
    town.reload(&config);
    assert_eq!(town.gateway.admin("/api/status").json()["needs_restart"], serde_json::json!([]));
}

#[test]
fn the_logs_change_and_a_rotated_file_is_opened_anew() {
    let (town, mut config) = town_with(|_| {});
    let file = town.place.file("access.log");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    town.get("/nowhere");
    config.set("log.access", file.to_str().unwrap());
    town.reload(&config);
    town.get("/nowhere");
    eventually("a line", || lines() == 1);
    std::fs::rename(&file, town.place.file("access.log.1")).unwrap();
    town.reload(&config);
    town.get("/nowhere");
    eventually("a line in the new file", || lines() == 1);
    config.set("log.access", "stderr");
    config.set("log.format", "json");
    town.reload(&config);
    town.get("/nowhere");
    eventually("a line of JSON", || {
        town.gateway.stderr().lines().any(|line| line.starts_with('{') && line.contains("/nowhere"))
    });
    assert_eq!(lines(), 1);
}

#[test]
fn systemd_hears_when_a_reload_begins_and_ends() {
    let place = Place::claim();
    let path = place.file("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = |what: &str| {
        let mut room = [0; 4096];
        loop {
            let n = systemd.recv(&mut room).unwrap_or_else(|e| panic!("{e}, waiting for {what}"));
            let said = String::from_utf8(room[..n].to_vec()).unwrap();
            if said.contains(what) {
                return said;
            }
        }
    };
    let mut config = Config::new(&place);
    config.environment("NOTIFY_SOCKET", path.to_str().unwrap());
    let gateway = Gateway::spawn(&place, &config);
    hear("READY=1");
    for good in [true, false] {
        if !good {
            std::fs::write(place.file("tidegate.toml"), "?").unwrap();
        }
        gateway.hang_up();
        assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
        hear("READY=1");
    }
    hear("the last reload was refused");
}

#[test]
fn a_gateway_that_drains_reloads_no_more() {
    let (mut town, _) = town_with(|config| config.set("websocket.close_timeout", "5s"));
    let origin = town.node(1);
    let (mut client, _node) = town.relay(&origin);
    town.gateway.terminate();
    client.told(1001);
    assert_eq!(town.gateway.ask_admin(&town.gateway.to_admin("POST", "/api/reload")).status(), 503);
    let (code, said) = town.gateway.reload();
    assert!(code == Some(71) && said.contains("the gateway is draining"), "{said}");
    assert_eq!(town.gateway.revision(), 1);
    town.gateway.terminate();
    town.gateway.wait_for_exit();
}
