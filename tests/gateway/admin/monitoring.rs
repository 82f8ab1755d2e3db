//! What the operator sees: monitoring, metrics, and logs that name sessions without telling secrets.

use crate::harness::whip::{ANSWER, SDP, post};
use crate::harness::{Frame, Gate, Reply, Request, TestBed, eventually};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

#[test]
fn the_log_names_the_session_and_tells_no_secret() {
    for format in ["text", "json"] {
        let bed = TestBed::with(|config, _| {
            config.set("log.level", "trace");
            config.set("log.format", format);
            config.set("log.access", "stderr");
            config.set("stream_manager.authorization", "Bearer hunter1");
        });
        let listener = bed.node(1);
        bed.manager.answer("/stream1", Reply::node(listener.ip()));
        bed.get(
            "/streammanager/api/4.0/event/live/stream1?action=subscribe&username=hunter2&password=hunter3",
        );
        let target = format!("{}&token=hunter4&Password=hunter5", bed.websocket_target(1));
        let mut client = bed.client();
        client.send_request(
            &Request::upgrade(&target).with("Authorization", "Basic hunter6").with("Cookie", "a=hunter7"),
        );
        let mut node = listener.accept();
        node.accept_upgrade();
        let id = client.read_response().field("x-tidegate-session").unwrap().to_owned();
        client.send_frame(Frame::text("payload hunter8"));
        node.read_frame();
        client.shutdown_write();
        eventually("a log line about the session", || bed.gateway.stderr().contains(&id));
        bed.gateway.wait_for_metric("tidegate_worker_sessions", &[], 0.0);
        let log = bed.gateway.stderr();
        assert!(!log.contains("hunter"), "{log}");
    }
}

#[test]
fn every_answer_has_a_session_id_of_its_own() {
    let bed = TestBed::start();
    let mut ids: Vec<String> =
        (0..20).map(|_| bed.get("/nowhere").field("x-tidegate-session").expect("an id").to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn the_monitoring_listener_answers_monitoring() {
    let bed = TestBed::start();
    assert_eq!(bed.gateway.monitoring_get("/livez").status(), 200);
    assert_eq!(bed.gateway.monitoring_get("/readyz").status(), 200);
    assert_eq!(bed.gateway.monitoring_get("/nowhere").status(), 404);
    let status = bed.gateway.monitoring_get("/api/status");
    assert_eq!(status.status(), 200);
    assert!(status.json().is_object());
    bed.get("/nowhere").assert_refusal(404, "no_such_route");
    let page = bed.gateway.monitoring_get("/metrics");
    assert!(page.field("content-type").is_some_and(|t| t.contains("text")));
    assert_eq!(bed.gateway.metric("tidegate_refusals_total", &[("code", "no_such_route")]), 1.0);
}

#[test]
fn idle_connections_to_the_monitoring_listener_are_bounded_and_keep_no_other_out() {
    let bed = TestBed::start();
    let open_files = || bed.gateway.metric("process_open_fds", &[]);
    let before = open_files();
    let idle: Vec<_> = (0..300).map(|_| TcpStream::connect(bed.workspace.monitoring()).unwrap()).collect();
    eventually("the oldest connections make room", || {
        bed.gateway.metric("tidegate_admin_connections_cut_total", &[("how", "limit")]) >= 230.0
    });
    assert_eq!(bed.gateway.monitoring_get("/readyz").status(), 200);
    let grown = open_files() - before;
    assert!(grown < 100.0, "{grown} descriptors for 300 connections");
    drop(idle);
}

#[test]
fn log_lines_that_wait_for_a_slow_reader_are_bounded_in_bytes_and_lost_ones_are_counted() {
    // a pipe that is not read takes 64 KiB
    let (mut reader, writer) = std::io::pipe().unwrap();
    let bed = TestBed::with(|config, _| {
        config.set("log.access", format!("/proc/{}/fd/{}", std::process::id(), writer.as_raw_fd()));
    });
    drop(writer);
    // a line of about a kilobyte
    let request = Request::get(&format!("/{}", "x".repeat(500)));
    let request = request.with("User-Agent", &"y".repeat(160)).with("Origin", "https://app.example").bytes();
    let pipelined = request.repeat(8);
    let mut client = bed.client();
    let mut ask = |n: usize| {
        for _ in 0..n / 8 {
            client.send(&pipelined);
            for _ in 0..8 {
                assert_eq!(client.read_response().status(), 404);
            }
        }
    };
    let dropped = || bed.gateway.metric("tidegate_log_lines_dropped_total", &[]);
    ask(40);
    assert_eq!(dropped(), 0.0);
    let before = bed.gateway.memory();
    ask(40_000);
    let grown = bed.gateway.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "memory grew by {grown} bytes for 40 MB of lines");
    assert!(dropped() > 800.0, "{} lines", dropped());
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let reports = || bed.gateway.stderr().matches(" lines were lost").count();
    eventually("the loss is reported", || reports() > 0);
    assert_eq!(bed.get("/nowhere").status(), 404);
    assert_eq!(reports(), 1, "it is said once");
    drop(bed);
    reading.join().unwrap().unwrap();
}

#[test]
fn lines_of_an_access_log_on_a_full_disk_are_counted() {
    let bed = TestBed::with(|config, _| config.set("log.access", "/dev/full"));
    bed.get("/nowhere").assert_refusal(404, "no_such_route");
    bed.gateway.wait_for_metric("tidegate_log_lines_dropped_total", &[], 1.0);
}

#[test]
fn frames_and_bytes_are_counted_by_side() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    for _ in 0..10 {
        client.send_frame(Frame::text("to the node"));
        node.read_frame();
    }
    for _ in 0..3 {
        node.send_frame(Frame::text("to the client"));
        client.read_frame();
    }
    bed.gateway.wait_for_metric("tidegate_frames_total", &[("from", "client")], 10.0);
    bed.gateway.wait_for_metric("tidegate_frames_total", &[("from", "origin")], 3.0);
    // with or without the headers of the frames
    let bytes = |from| bed.gateway.metric("tidegate_bytes_total", &[("from", from)]);
    assert!((10.0 * 11.0..=10.0 * 17.0).contains(&bytes("client")));
    assert!((3.0 * 13.0..=3.0 * 15.0).contains(&bytes("origin")));
}

#[test]
fn failed_requests_are_in_the_access_log_too() {
    let bed = TestBed::with(|config, _| config.set("log.access", "stderr"));
    let node = bed.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    let endpoint = |stream: &str| format!("/as/v1/proxy/whip/live/{stream}?nodeGroup=ng1");
    let huge = Request::new("POST", &endpoint("huge")).with("Content-Type", SDP);
    bed.exchange(&huge.with("Content-Length", "9999999")).assert_refusal(413, "body_too_large");
    let mut client = bed.client();
    client.send_request(&post(&endpoint("gone")));
    node.wait_for_requests(1);
    client.reset();
    for (stream, status) in [("huge", "413"), ("gone", "499")] {
        eventually("a line in the access log", || {
            bed.gateway.stderr().lines().any(|line| line.contains(stream) && line.contains(status))
        });
    }
    gate.open();
}

#[test]
fn what_happens_at_each_node_is_counted() {
    let bed = TestBed::with(|config, _| config.set("origins.quarantine", "1h"));
    let node = bed.workspace.node(1).ip().to_string();
    let node = [("cluster", "default"), ("node", node.as_str())];
    bed.get(&bed.websocket_target(1)).assert_refusal(426, "upgrade_required");
    bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(502, "origin_refused");
    let metric = |name| bed.gateway.metric(name, &node);
    assert_eq!(metric("tidegate_node_dials_total"), 1.0);
    let refused = [node[0], node[1], ("outcome", "refused")];
    assert_eq!(bed.gateway.metric("tidegate_node_failures_total", &refused), 1.0);
    assert_eq!(metric("tidegate_node_failures_total"), 1.0, "of all outcomes");
    assert_eq!(metric("tidegate_node_quarantined"), 1.0);

    let listener = bed.node(1);
    let (client, _node) = bed.relay(&listener);
    bed.gateway.wait_for_metric("tidegate_node_sessions_active", &node, 1.0);
    assert_eq!(metric("tidegate_node_dials_total"), 2.0);
    assert_eq!(metric("tidegate_node_dial_seconds_count"), 2.0);
    assert_eq!(bed.gateway.metric("tidegate_node_dials_total", &[("node", "other")]), 0.0);
    drop(client);
    bed.gateway.wait_for_metric("tidegate_node_sessions_active", &node, 0.0);
}

#[test]
fn whip_requests_are_counted_at_their_node() {
    let bed = TestBed::start();
    let _node = bed.whip_node(1);
    assert_eq!(bed.exchange(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1")).status(), 201);
    let name = bed.workspace.node(1).ip().to_string();
    assert_eq!(bed.gateway.metric("tidegate_node_dials_total", &[("node", &name)]), 1.0);
    assert_eq!(bed.gateway.metric("tidegate_node_failures_total", &[("node", &name)]), 0.0);
    assert_eq!(bed.gateway.metric("tidegate_node_sessions_active", &[("node", &name)]), 1.0);
}

#[test]
fn metrics_tell_the_limits_the_phase_the_certificates_and_the_last_reload() {
    let mut kept = None;
    let bed = TestBed::with(|config, _| {
        config.set("limits.sessions", 500);
        config.set("limits.new_per_ip", "120/m");
        kept = Some(config.clone());
    });
    let mut config = kept.expect("the closure was called");
    let metric = |name, labels: &[(&str, &str)]| bed.gateway.metric(name, labels);
    assert_eq!(metric("tidegate_limit", &[("limit", "sessions")]), 500.0);
    assert_eq!(metric("tidegate_limit", &[("limit", "new_per_ip")]), 2.0);
    assert_eq!(metric("tidegate_limit", &[("limit", "requests_per_ip")]), f64::INFINITY);
    assert_eq!(metric("tidegate_phase", &[("phase", "serving")]), 1.0);
    assert_eq!(metric("tidegate_phase", &[]), 1.0, "no other phase");
    assert!(metric("tidegate_certificate_not_after_seconds", &[("name", "gateway.test")]) > 1e9);
    let mut client = bed.client();
    client.send_request(&Request::get("/nowhere"));
    client.read_response();
    assert_eq!(metric("tidegate_limit_used", &[("limit", "sessions")]), 1.0);

    let (good, at) =
        ("tidegate_config_last_reload_successful", "tidegate_config_last_reload_success_timestamp_seconds");
    let started = metric(at, &[]);
    assert_eq!(metric(good, &[]), 1.0, "the start");
    assert!((started - metric("process_start_time_seconds", &[])).abs() < 30.0);
    config.set("limits.headers", "many");
    config.write(&bed.workspace);
    assert_eq!(bed.gateway.reload().0, Some(78));
    assert_eq!((metric(good, &[]), metric(at, &[])), (0.0, started));
    config.set("limits.headers", 50);
    config.set("limits.sessions", 600);
    config.write(&bed.workspace);
    assert_eq!(bed.gateway.reload().0, Some(0));
    assert_eq!(metric(good, &[]), 1.0);
    assert!(metric(at, &[]) > started);
    assert_eq!(metric("tidegate_limit", &[("limit", "sessions")]), 600.0);
}
