//! A stream manager that goes and comes back: one line each, with its URL and the cause.

use crate::harness::certs::Identity;
use crate::harness::{
    ClientBuilder, Config, Gateway, HttpPeer, Reply, TestBed, Workspace, eventually, skipped,
};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

const SUBSCRIBE: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";

/// The lines of the log that contain all of `words`.
fn lines(gateway: &Gateway, words: &[&str]) -> Vec<String> {
    let log = gateway.stderr();
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(has_all).map(str::to_owned).collect()
}

/// The only line that says that a stream manager is gone, once it is there.
#[track_caller]
fn gone(gateway: &Gateway) -> String {
    eventually("the line that it is gone", || !lines(gateway, &["is gone: "]).is_empty());
    let lines = lines(gateway, &["is gone: "]);
    assert!(lines.len() == 1 && lines[0].contains(" WARN "), "{lines:?}");
    lines[0].clone()
}

/// The stream manager as `/api/status` shows it.
fn status(gateway: &Gateway) -> serde_json::Value {
    gateway.admin_get("/api/status").json()["managers"][0].clone()
}

#[test]
fn a_manager_that_goes_and_comes_back_is_one_line_each() {
    let mut bed = TestBed::start();
    let address = bed.workspace.manager();
    let labels = [("cluster", "default"), ("manager", &*address.to_string())];
    assert_eq!(status(&bed.gateway)["up"], serde_json::Value::Null, "it was not asked yet");
    assert_eq!(bed.get(SUBSCRIBE).status(), 404);
    assert_eq!(status(&bed.gateway)["up"], true);
    bed.manager = HttpPeer::start((bed.workspace.ip(3), 5080).into());
    for n in 0..20 {
        bed.get(&SUBSCRIBE.replace("stream1", &format!("s{n}"))).assert_refusal(502, "manager_failed");
    }
    let line = gone(&bed.gateway);
    assert!(line.contains(&format!("http://{address} is gone: it refuses connections")), "{line}");
    assert_eq!(bed.gateway.metric("tidegate_manager_up", &labels), 0.0);
    let found = status(&bed.gateway);
    assert_eq!((&found["up"], &found["last_fault"]["cause"]), (&false.into(), &"refused".into()));
    assert_eq!((&found["failed"], &found["url"]), (&20.into(), &format!("http://{address}").into()));
    bed.manager = HttpPeer::start(address);
    // no client asks: a question of the gateway's own finds out
    eventually("it is back", || bed.gateway.metric("tidegate_manager_up", &labels) == 1.0);
    eventually("its line", || !lines(&bed.gateway, &["answers again"]).is_empty());
    let back = lines(&bed.gateway, &["answers again"]);
    assert!(back.len() == 1 && back[0].contains(" INFO ") && back[0].contains("failed=20"), "{back:?}");
    gone(&bed.gateway);
    assert_eq!(status(&bed.gateway)["up"], true);
    let of = |outcome| {
        let [cluster, manager] = labels;
        bed.gateway.metric("tidegate_manager_requests_total", &[cluster, manager, ("outcome", outcome)])
    };
    assert!(of("answered") >= 2.0 && of("refused") >= 20.0 && of("timeout") == 0.0);
    assert_eq!(
        bed.gateway.metric("tidegate_manager_seconds_count", &labels),
        of("answered") + of("refused"),
        "each question has its time"
    );
}

#[test]
fn readiness_tells_of_a_manager_that_is_gone_for_long_if_a_key_says_so() {
    for limit in ["off", "1s"] {
        let mut bed = TestBed::with(|config, _| config.set("monitoring.ready_without_manager", limit));
        let address = bed.workspace.manager();
        bed.manager = HttpPeer::start((bed.workspace.ip(3), 5080).into());
        bed.get(SUBSCRIBE).assert_refusal(502, "manager_failed");
        assert_eq!(bed.gateway.ready(), Some(200), "it has just gone");
        if limit == "off" {
            std::thread::sleep(Duration::from_millis(1500));
            assert_eq!(bed.gateway.ready(), Some(200), "{limit}");
            continue;
        }
        eventually("readiness ends", || bed.gateway.ready() == Some(503));
        assert_eq!(bed.gateway.admin_get("/readyz").text(), "no stream manager\n");
        bed.manager = HttpPeer::start(address);
        eventually("readiness is back, without a client", || bed.gateway.ready() == Some(200));
    }
}

#[test]
fn each_cause_is_named() {
    let garbage = Reply::json(200, "<html>not what was asked for</html>");
    for (reply, cause) in [
        (Reply::json(503, "{}"), "it answers with a server error (status 503)"),
        (Reply::hang_up(), "it closes connections before an answer is whole"),
        (garbage, "what it answers is no JSON that can be read"),
    ] {
        let bed = TestBed::start();
        bed.manager.answer("", reply);
        bed.get(SUBSCRIBE);
        // one that can be reached is gone only when the gateway's own questions fail too
        let line = gone(&bed.gateway);
        assert!(line.contains(cause), "expected {cause} in {line}");
    }
}

#[test]
fn one_that_fails_with_one_question_only_is_not_gone() {
    let bed = TestBed::start();
    bed.manager.answer("/stream1", Reply::json(500, "{}"));
    for _ in 0..10 {
        assert_eq!(bed.get(SUBSCRIBE).status(), 500);
    }
    // longer than a question of the gateway's own takes to come
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(lines(&bed.gateway, &["stream manager", "gone"]), [""; 0]);
    assert_eq!(status(&bed.gateway)["up"], true);
    let errors = bed.gateway.metric("tidegate_manager_requests_total", &[("outcome", "server_error")]);
    assert_eq!(errors, 10.0);
}

#[test]
fn one_that_speaks_something_else_is_named() {
    let workspace = Workspace::claim();
    let config = Config::new(&workspace);
    let listener = TcpListener::bind(workspace.manager()).unwrap();
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let mut tcp = tcp;
            let _ = tcp.read(&mut [0; 1024]);
            let _ = tcp.write_all(b"220 mail.example ESMTP\r\n\r\n");
        }
    });
    let gateway = Gateway::start(&workspace, &config);
    ClientBuilder::to(workspace.gateway()).connect_tls().get(SUBSCRIBE).assert_refusal(502, "manager_failed");
    let line = gone(&gateway);
    assert!(line.contains("what it answers is not HTTP"), "{line}");
}

#[test]
fn one_with_the_wrong_certificate_is_named() {
    let workspace = Workspace::claim();
    let address = (workspace.ip(2), 5443).into();
    let impostor = Identity::for_address(workspace.ip(3).into());
    let ca = workspace.file("manager-ca.pem");
    std::fs::write(&ca, &impostor.chain_pem).unwrap();
    let mut config = Config::new(&workspace);
    config.set("stream_manager.ca", ca.to_str().unwrap());
    config.set("stream_manager.url", format!("https://{address}"));
    let _manager = HttpPeer::start_tls(address, &impostor);
    let gateway = Gateway::start(&workspace, &config);
    ClientBuilder::to(workspace.gateway()).connect_tls().get(SUBSCRIBE).assert_refusal(502, "manager_failed");
    let line = gone(&gateway);
    assert!(line.contains(&format!("https://{address} is gone: TLS with it fails (")), "{line}");
    assert!(line.contains("certificate"), "{line}");
}

#[test]
fn one_whose_name_does_not_resolve_is_named() {
    if !rustix::process::geteuid().is_root() {
        return skipped("one_whose_name_does_not_resolve_is_named", "another resolv.conf needs root");
    }
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    config.set("stream_manager.url", "http://manager.invalid:5080");
    // no name server listens there, so that no question leaves the machine
    let resolver = workspace.file("resolv.conf");
    std::fs::write(&resolver, format!("nameserver {}\n", workspace.ip(3))).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
    command.args(["--mount", "--propagation=private", "sh", "-c", script, "sh"]).arg(&resolver);
    command.arg(env!("CARGO_BIN_EXE_tidegate"));
    let gateway = Gateway::spawn_by(command, &workspace, &config).wait_until_ready();
    ClientBuilder::to(workspace.gateway()).connect_tls().get(SUBSCRIBE).assert_refusal(502, "manager_failed");
    let line = gone(&gateway);
    assert!(line.contains("http://manager.invalid:5080 is gone: its name does not resolve ("), "{line}");
}
