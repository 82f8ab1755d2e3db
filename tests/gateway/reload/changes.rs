//! A reload: what it changes and when, what it leaves alone, and that an invalid configuration changes nothing.

use crate::harness::{
    Config, DEADLINE, Frame, Gate, Gateway, HttpPeer, Reply, Request, TestBed, Workspace, eventually,
};
use crate::questions::answers::SUBSCRIBE;
use std::os::unix::net::UnixDatagram;

/// A test bed, and the configuration of its gateway.
fn bed_with_config(change: impl FnOnce(&mut Config)) -> (TestBed, Config) {
    let mut kept = None;
    let bed = TestBed::with(|config, _| {
        change(config);
        kept = Some(config.clone());
    });
    (bed, kept.expect("the closure was called"))
}

impl TestBed {
    /// Writes another configuration and reloads it successfully.
    #[track_caller]
    fn reload(&self, config: &Config) {
        config.write(&self.workspace);
        let (code, output) = self.gateway.reload();
        assert_eq!(code, Some(0), "{output}");
    }
}

#[test]
fn every_way_to_reload_serves_a_new_revision() {
    let (bed, _) = bed_with_config(|_| {});
    assert_eq!(bed.gateway.revision(), 1);
    bed.gateway.send_sighup();
    bed.gateway.wait_for_revision(2);
    assert_eq!(bed.gateway.reload(), (Some(0), "serves revision 3\n".to_owned()));
    let answer = bed.gateway.send_admin(&bed.gateway.admin_request("POST", "/api/reload"));
    assert_eq!((answer.status(), &answer.json()["revision"]), (200, &4.into()));
    assert_eq!(bed.gateway.metric("tidegate_info", &[("revision", "4")]), 1.0);
    let status = bed.gateway.admin_get("/api/status").json();
    assert_eq!((&status["reload"]["good"], &status["reload"]["by"]), (&true.into(), &"admin".into()));
    let json = bed.gateway.command(&["reload", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["revision"], 5);
    assert_eq!(bed.gateway.admin_get("/api/reload").status(), 405, "GET reloads nothing");
}

/// One mistake in a configuration, and the text that must report it.
type Mistake = (&'static str, fn(&mut Config, &Workspace), &'static str);

const MISTAKES: [Mistake; 7] = [
    ("an unknown key", |config, _| config.set("origins.strickt", true), "strickt"),
    ("a bad value", |config, _| config.set("answers.subscribe_ttl", "soon"), "answers.subscribe_ttl"),
    (
        "no certificate",
        |config, workspace| set_certificate(config, workspace, "nothing.pem", "ecdsa.key.pem"),
        "nothing.pem",
    ),
    (
        "a key of another certificate",
        |config, workspace| set_certificate(config, workspace, "ecdsa.chain.pem", "rsa.key.pem"),
        "is not the key of that certificate",
    ),
    (
        "no CA bundle",
        |config, workspace| set_file(config, "stream_manager.ca", workspace, ""),
        "stream_manager.ca",
    ),
    (
        "no secret",
        |config, workspace| set_file(config, "stream_manager.authorization", workspace, "file:"),
        "stream_manager.authorization",
    ),
    (
        "no folder for the log",
        |config, workspace| set_file(config, "log.access", workspace, ""),
        "log.access",
    ),
];

fn set_certificate(config: &mut Config, workspace: &Workspace, chain: &str, key: &str) {
    let path = |name| toml::Value::from(workspace.file(name).to_str().unwrap());
    let pair = toml::Table::from_iter([("chain".to_owned(), path(chain)), ("key".to_owned(), path(key))]);
    config.set("tls.certificates", vec![toml::Value::Table(pair)]);
}

fn set_file(config: &mut Config, key: &str, workspace: &Workspace, before: &str) {
    config.set(key, format!("{before}{}", workspace.file("nowhere/file").display()));
}

#[test]
fn a_refused_reload_says_why_and_changes_nothing() {
    let (mut bed, good) = bed_with_config(|_| {});
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    for (what, spoil, expected) in MISTAKES {
        let mut config = good.clone();
        // visible if any part of the configuration were applied
        config.set("origins.apps", vec!["other"]);
        spoil(&mut config, &bed.workspace);
        config.write(&bed.workspace);
        let (code, output) = bed.gateway.reload();
        assert_eq!(code, Some(78), "{what}: {output}");
        assert!(output.contains(expected) && output.contains("nothing has changed"), "{what}: {output}");
        let status = bed.gateway.admin_get("/api/status").json();
        assert_eq!((&status["revision"], &status["reload"]["good"]), (&1.into(), &false.into()), "{what}");
        assert!(status["reload"]["problems"].to_string().contains(expected), "{what}: {status}");
        let shown = String::from_utf8(bed.gateway.command(&["status"]).stdout).unwrap();
        assert!(shown.contains("reload      refused: ") && shown.contains(expected), "{shown}");
        eventually("a line in the log", || bed.gateway.stderr().contains(expected));
        bed.relay(&listener);
        client.send_frame(Frame::text(what));
        assert_eq!(node.read_frame(), Frame::text(what));
    }
    std::fs::write(bed.workspace.file("tidegate.toml"), "listen = [").unwrap();
    assert!(bed.gateway.reload().1.contains("a syntax error"));
    std::fs::remove_file(bed.workspace.file("tidegate.toml")).unwrap();
    assert!(bed.gateway.reload().1.contains("can't read the configuration"));
    assert_eq!(bed.gateway.revision(), 1);
    bed.reload(&good);
    assert_eq!(bed.gateway.revision(), 2);
    assert_eq!(bed.gateway.admin_get("/api/status").json()["reload"]["good"], true);
    bed.gateway.assert_healthy();
}

#[test]
fn an_open_session_keeps_its_revision_and_the_next_uses_the_new_one() {
    let (bed, mut config) = bed_with_config(|_| {});
    let listener = bed.node(1);
    let (mut old_client, mut old_node) = bed.relay(&listener);
    config.set("websocket.message_max", "1KiB");
    bed.reload(&config);
    let (mut client, mut node) = bed.relay(&listener);
    let large = Frame::binary(vec![7; 2000]);
    client.send_frame(large.clone());
    client.expect_close(1009);
    node.expect_close(1001);
    old_client.send_frame(large.clone());
    assert_eq!(old_node.read_frame(), large);
}

#[test]
fn a_kept_connection_uses_the_new_revision_from_its_next_request_on() {
    let (bed, mut config) =
        bed_with_config(|config| config.set("cors.allow_origins", vec!["https://a.example"]));
    bed.manager.answer("", Reply::json(200, "[]"));
    let mut client = bed.client();
    let question = Request::get(SUBSCRIBE).by_page("https://a.example");
    let allowed =
        |response: &crate::harness::Response| response.field("access-control-allow-origin").is_some();
    assert!(allowed(&client.exchange(&question)));
    config.set("cors.allow_origins", vec!["https://b.example"]);
    config.set("limits.target_size", "1KiB");
    bed.reload(&config);
    assert!(!allowed(&client.exchange(&question)), "the same connection");
    let long = format!("{SUBSCRIBE}&x={}", "x".repeat(1100));
    client.get(&long).assert_refusal(414, "target_too_long");
}

#[test]
fn apps_nodes_and_limits_change_for_the_next_session() {
    let (bed, mut config) = bed_with_config(|config| config.set("limits.sessions_per_ip", "off"));
    let listener = bed.node(1);
    let _inside = bed.relay(&listener);
    config.set("origins.apps", vec!["live", "second"]);
    config.set("origins.networks", vec![bed.ip(1).to_string()]);
    config.set("limits.sessions_per_ip", 2);
    bed.reload(&config);
    let target = bed.websocket_target(1).replace("app=live", "app=second");
    let (mut client, mut node, head) = bed.pending_upgrade(&listener, &Request::upgrade(&target));
    node.answer_upgrade(&head, "");
    assert_eq!(client.read_response().status(), 101);
    // the session from before the reload counts too
    bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(429, "too_many");
    config.set("limits.sessions_per_ip", "off");
    bed.reload(&config);
    bed.exchange(&Request::upgrade(&bed.websocket_target(2))).assert_refusal(403, "origin_not_admitted");
    bed.relay(&listener);
}

#[test]
fn a_drain_uses_the_newest_revision_for_old_sessions_too() {
    let (mut bed, mut config) = bed_with_config(|_| {});
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    config.set("gateway.drain_close_code", 4321);
    bed.reload(&config);
    bed.gateway.terminate();
    client.expect_close(4321);
    node.expect_close(4321);
    client.answer_close(4321);
    node.answer_close(4321);
    assert!(bed.gateway.wait_for_exit().success());
}

#[test]
fn stored_answers_stay_and_new_ones_follow_the_new_configuration() {
    let (bed, mut config) = bed_with_config(|config| {
        config.set("answers.subscribe_ttl", "60s");
        config.set("answers.subscribe_uses", 1000);
    });
    bed.manager.answer("", Reply::node(bed.ip(1)));
    bed.get(SUBSCRIBE);
    config.set("answers.subscribe_uses", 1);
    config.set("answers.capacity", "1MiB");
    bed.reload(&config);
    let hit = bed.get(SUBSCRIBE);
    assert!(hit.field("cache-status").is_some_and(|status| status.contains("hit")), "{hit:?}");
    assert_eq!(bed.manager.count(), 1, "stored answers stay, also in a store of another size");
    let other = SUBSCRIBE.replace("stream1", "stream2");
    bed.get(&other);
    bed.get(&other);
    assert_eq!(bed.manager.count(), 3, "new answers are used up at once");
}

#[test]
fn after_a_change_of_manager_the_old_answers_are_forgotten() {
    let (bed, mut config) = bed_with_config(|config| config.set("answers.subscribe_ttl", "60s"));
    bed.manager.answer("", Reply::json(200, r#"["old"]"#));
    assert_eq!(bed.get(SUBSCRIBE).text(), r#"["old"]"#);
    let mut address = bed.workspace.manager();
    address.set_port(5081);
    let other = HttpPeer::start(address);
    other.answer("", Reply::json(200, r#"["new"]"#));
    config.set("stream_manager.url", format!("http://{address}"));
    config.set("stream_manager.authorization", "Bearer other");
    bed.reload(&config);
    assert_eq!(bed.get(SUBSCRIBE).text(), r#"["new"]"#);
    assert_eq!(other.received_heads()[0].field("authorization"), Some("Bearer other"));
    assert_eq!(bed.manager.count(), 1);
}

/// A second stream manager, and the configuration that asks it.
fn another_manager(bed: &TestBed, config: &Config) -> (HttpPeer, Config) {
    let mut address = bed.workspace.manager();
    address.set_port(5081);
    let mut config = config.clone();
    config.set("stream_manager.url", format!("http://{address}"));
    (HttpPeer::start(address), config)
}

#[test]
fn nodes_that_only_a_replaced_manager_named_are_forgotten() {
    let (bed, old) = bed_with_config(|config| config.set("origins.strict", true));
    let nodes = [1, 2].map(|n| bed.node(n));
    bed.manager.answer("", Reply::node(nodes[0].ip()));
    bed.get(SUBSCRIBE);
    bed.relay(&nodes[0]);
    let (manager, new) = another_manager(&bed, &old);
    manager.answer("", Reply::node(nodes[1].ip()));
    bed.reload(&new);
    for n in [1, 2] {
        let target = bed.websocket_target(n);
        bed.exchange(&Request::upgrade(&target)).assert_refusal(403, "origin_not_admitted");
    }
    bed.get(SUBSCRIBE);
    bed.relay(&nodes[1]);
    // a reload that leaves the stream manager as it is forgets nothing
    bed.reload(&new);
    bed.relay(&nodes[1]);
    // a stream manager that comes back has to name its nodes again
    bed.reload(&old);
    for n in [1, 2] {
        let target = bed.websocket_target(n);
        bed.exchange(&Request::upgrade(&target)).assert_refusal(403, "origin_not_admitted");
    }
}

#[test]
fn a_question_after_a_change_of_manager_gets_no_answer_of_the_former_one() {
    let (bed, mut config) = bed_with_config(|config| {
        config.set("origins.strict", true);
        config.set("answers.subscribe_ttl", "60s");
    });
    let nodes = [1, 2].map(|n| bed.node(n));
    let gate = Gate::default();
    bed.manager.answer("", Reply::node(nodes[0].ip()).held(&gate));
    // enough connections that every worker waits for the flight
    let mut before: Vec<_> = (0..8).map(|_| bed.client()).collect();
    before.iter_mut().for_each(|client| client.send_request(&Request::get(SUBSCRIBE)));
    bed.manager.wait_for_requests(1);
    let manager;
    (manager, config) = another_manager(&bed, &config);
    manager.answer("", Reply::node(nodes[1].ip()));
    bed.reload(&config);
    let named = |text: &str, n: usize| text.contains(&nodes[n].ip().to_string());
    for _ in 0..8 {
        let text = bed.get(SUBSCRIBE).text();
        assert!(named(&text, 1), "{text}");
    }
    gate.open();
    for client in &mut before {
        let text = client.read_response().text();
        assert!(named(&text, 0), "the answer to a question of that time stays valid: {text}");
    }
    let text = bed.get(SUBSCRIBE).text();
    assert!(named(&text, 1), "the late answer is not stored: {text}");
    assert_eq!((bed.manager.count(), manager.count()), (1, 1));
    // nor does it teach
    let target = bed.websocket_target(1);
    bed.exchange(&Request::upgrade(&target)).assert_refusal(403, "origin_not_admitted");
    bed.relay(&nodes[1]);
}

#[test]
fn keys_that_need_a_restart_are_reported_and_all_others_change() {
    let (bed, mut config) = bed_with_config(|_| {});
    config.set("gateway.workers", 5);
    config.set("monitoring.listen", "127.0.0.1:1");
    config.set("admin.listen", "auto");
    config.set("origins.apps", vec!["other"]);
    config.write(&bed.workspace);
    let (code, output) = bed.gateway.reload();
    assert_eq!(code, Some(0));
    assert!(output.contains("gateway.workers differs: it needs a restart"), "{output}");
    let status = bed.gateway.admin_get("/api/status").json();
    assert_eq!(
        status["needs_restart"],
        serde_json::json!(["gateway.workers", "monitoring.listen", "admin.listen"])
    );
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2));
    let shown = String::from_utf8(bed.gateway.command(&["status"]).stdout).unwrap();
    assert!(
        shown.contains("restart     needed for gateway.workers, monitoring.listen, admin.listen\n"),
        "{shown}"
    );
    bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(403, "app_not_allowed");
    config.set("gateway.workers", 2);
    config.set("monitoring.listen", bed.workspace.monitoring().to_string());
    config.set("admin.listen", bed.gateway.admin());
    bed.reload(&config);
    assert_eq!(bed.gateway.admin_get("/api/status").json()["needs_restart"], serde_json::json!([]));
}

#[test]
fn the_log_changes_and_a_rotated_file_is_reopened() {
    let (bed, mut config) = bed_with_config(|_| {});
    let file = bed.workspace.file("access.log");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    bed.get("/nowhere");
    config.set("log.access", file.to_str().unwrap());
    bed.reload(&config);
    bed.get("/nowhere");
    eventually("a line", || lines() == 1);
    std::fs::rename(&file, bed.workspace.file("access.log.1")).unwrap();
    bed.reload(&config);
    bed.get("/nowhere");
    eventually("a line in the new file", || lines() == 1);
    config.set("log.access", "stderr");
    config.set("log.format", "json");
    bed.reload(&config);
    bed.get("/nowhere");
    eventually("a line of JSON", || {
        bed.gateway.stderr().lines().any(|line| line.starts_with('{') && line.contains("/nowhere"))
    });
    assert_eq!(lines(), 1);
}

#[test]
fn systemd_is_notified_when_a_reload_begins_and_ends() {
    let workspace = Workspace::claim();
    let path = workspace.file("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = |what: &str| {
        let mut room = [0; 4096];
        loop {
            let n = systemd.recv(&mut room).unwrap_or_else(|e| panic!("{e}, waiting for {what}"));
            let output = String::from_utf8(room[..n].to_vec()).unwrap();
            if output.contains(what) {
                return output;
            }
        }
    };
    let mut config = Config::new(&workspace);
    config.set_env("NOTIFY_SOCKET", path.to_str().unwrap());
    let gateway = Gateway::spawn(&workspace, &config);
    hear("READY=1");
    for good in [true, false] {
        if !good {
            std::fs::write(workspace.file("tidegate.toml"), "?").unwrap();
        }
        gateway.send_sighup();
        assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
        hear("READY=1");
    }
    hear("the last reload was refused");
}

#[test]
fn a_draining_gateway_refuses_a_reload() {
    let (mut bed, _) = bed_with_config(|config| config.set("websocket.close_timeout", "5s"));
    let listener = bed.node(1);
    let (mut client, _node) = bed.relay(&listener);
    bed.gateway.terminate();
    client.expect_close(1001);
    assert_eq!(bed.gateway.send_admin(&bed.gateway.admin_request("POST", "/api/reload")).status(), 503);
    let (code, output) = bed.gateway.reload();
    assert!(code == Some(71) && output.contains("the gateway is draining"), "{output}");
    assert_eq!(bed.gateway.revision(), 1);
    bed.gateway.terminate();
    bed.gateway.wait_for_exit();
}
