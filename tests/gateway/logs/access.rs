//! The access log: one line for each request and each session, in each of its formats, and no line lost when its file is moved.

use crate::harness::{Config, Frame, Gateway, HttpPeer, Request, TestBed, Workspace, eventually};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn file(workspace: &Workspace) -> PathBuf {
    workspace.file("access.log")
}

#[test]
fn a_combined_line_is_what_nginx_writes() {
    let mut bed = TestBed::with(|config, workspace| {
        config.set("log.access", file(workspace).to_str().unwrap());
        config.set("log.access_format", "combined");
        config.set_env("TZ", "Asia/Kolkata");
    });
    let listener = bed.node(1);
    let agent = "SDK \"14\" (a\\b)";
    let mut client = bed.client();
    let question = Request::get("/nowhere?token=hunter2&x=\"").with("User-Agent", agent);
    assert_eq!(client.exchange(&question).status(), 404);
    let body = client.exchange(&Request::get("/nowhere").with("User-Agent", agent)).body.len();
    drop(client);
    let (mut client, mut node) = bed.relay(&listener);
    node.send_frame(Frame::text("hello"));
    client.read_frame();
    client.send_frame(Frame::close(1000, ""));
    node.expect_close(1000);
    node.send_frame(Frame::close(1000, ""));
    client.expect_close(1000);
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("how", "close")], 1.0);
    bed.gateway.terminate();
    bed.gateway.wait_for_exit();
    let log = std::fs::read_to_string(file(&bed.workspace)).unwrap();
    let lines: Vec<_> = log.lines().collect();
    let target = format!("/streammanager/?id=stream1&host={}&app=live", bed.ip(1));
    let agent = r"SDK \x2214\x22 (a\x5Cb)";
    for (line, rest) in lines.iter().zip([
        format!(r#""GET /nowhere?token=***&x=\x22 HTTP/1.1" 404 {body} "-" "{agent}""#),
        format!(r#""GET /nowhere HTTP/1.1" 404 {body} "-" "{agent}""#),
        // two frames: seven bytes, and the four of its Close
        format!(r#""GET {target} HTTP/1.1" 101 11 "-" "-""#),
    ]) {
        let (client, line) = line.split_once(" - - [").expect("a client");
        let (time, line) = line.split_once("] ").expect("a time");
        assert_eq!(client, "127.0.0.1");
        // 28/Nov/2026:14:18:41 +0530
        assert!(
            time.len() == 26 && time[2..3] == *"/" && time[11..12] == *":" && time.ends_with(" +0530"),
            "{time}"
        );
        assert_eq!(line, rest);
    }
    assert_eq!(lines.len(), 3, "{log}");
}

#[test]
fn a_request_that_can_not_be_read_has_a_line_of_its_own() {
    let mut bed = TestBed::with(|config, workspace| {
        config.set("log.access", file(workspace).to_str().unwrap());
        config.set("log.format", "json");
    });
    let mut client = bed.client();
    assert_eq!(client.get("/nowhere").status(), 404);
    client.send(b"GET / HTTP/9.9\r\n\r\n");
    let refused = client.read_response();
    assert_eq!(refused.status(), 400);
    drop(client);
    bed.gateway.terminate();
    bed.gateway.wait_for_exit();
    let log = std::fs::read_to_string(file(&bed.workspace)).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |at: usize| {
        (lines[at]["uri"].as_str().unwrap(), lines[at]["status"].as_u64(), lines[at]["code"].as_str())
    };
    assert_eq!((lines.len(), of(0)), (2, ("/nowhere", Some(404), Some("no_such_route"))), "{log}");
    assert_eq!(of(1), ("", Some(400), Some("bad_request")), "{log}");
}

#[test]
fn no_line_is_lost_when_the_file_is_moved_and_the_gateway_reloads() {
    let workspace = Workspace::claim();
    let _manager = HttpPeer::start(workspace.manager());
    let mut config = Config::new(&workspace);
    config.set("log.access", file(&workspace).to_str().unwrap());
    let mut gateway = Gateway::start(&workspace, &config);
    let client = crate::harness::ClientBuilder::to(workspace.gateway());
    let (stop, rotations) = (AtomicBool::new(false), 3_usize);
    let sent = std::thread::scope(|scope| {
        let requests = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(SeqCst) {
                let mut client = client.connect_tls();
                for _ in 0..20 {
                    assert_eq!(client.get("/nowhere").status(), 404);
                    sent += 1;
                }
            }
            sent
        });
        for n in 0..rotations {
            let revision = gateway.revision();
            std::fs::rename(file(&workspace), workspace.file(&format!("access.log.{n}"))).unwrap();
            // the format changes too, so that lines of either are in play
            config.set("log.access_format", if n % 2 == 0 { "combined" } else { "fields" });
            config.write(&workspace);
            gateway.send_sighup();
            gateway.wait_for_revision(revision + 1);
            eventually("the next file is written", || {
                std::fs::metadata(file(&workspace)).is_ok_and(|file| file.len() > 0)
            });
        }
        stop.store(true, SeqCst);
        requests.join().unwrap()
    });
    gateway.terminate();
    gateway.wait_for_exit();
    let files = (0..rotations).map(|n| workspace.file(&format!("access.log.{n}"))).chain([file(&workspace)]);
    let lines: Vec<String> = files
        .flat_map(|file| {
            std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    assert!(lines.iter().all(|line| line.contains("/nowhere") && line.contains("404")), "whole lines");
    assert!(lines.iter().any(|line| line.starts_with("127.0.0.1 - - [")), "combined lines");
    assert!(lines.iter().any(|line| line.contains("access: request")), "lines of fields");
    assert_eq!(lines.len(), sent);
}
