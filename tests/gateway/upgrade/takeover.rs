//! A successor takes over from the running process: sessions go on, no client is refused, nothing is left behind.

use crate::harness::connection::{End, Side, talk};
use crate::harness::takeover::{self, Takeover};
use crate::harness::whip::{ANSWER, post};
use crate::harness::{Connection, HttpPeer, Reply, Request, TestBed, eventually};
use rustix::process::Signal;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

#[test]
fn a_successor_serves_and_the_old_process_drains() {
    let mut takeover = Takeover::start(|config, _| config.set_drains("30s"));
    let listener = takeover.bed.node(1);
    let (mut client, mut node, rest) = takeover.bed.relay_mid_frame(&listener);
    let first = takeover.bed.gateway.pid();
    let second = takeover.upgrade();
    assert_ne!(first, second);
    // the parent must be systemd, not the old process
    assert_eq!(takeover::parent(second), std::process::id());
    let (mut new_client, mut its_node) = takeover.bed.relay(&listener);
    talk(&mut new_client, &mut its_node);
    assert!(takeover::is_running(first), "the old process still drains");
    node.send(&rest);
    assert_eq!(client.read_bytes(rest.len()), rest);
    assert!(client.expect_close(1001).starts_with("draining"));
    assert!(node.expect_close(1001).starts_with("draining"));
    client.answer_close(1001);
    node.answer_close(1001);
    drop((client, node));
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
    talk(&mut new_client, &mut its_node);
    takeover::signal(second, Signal::TERM);
    new_client.expect_close(1001);
    new_client.answer_close(1001);
    its_node.expect_close(1001);
    drop((new_client, its_node));
    assert_eq!(takeover.wait_for_exit_of(second), Some(0));
}

#[test]
fn a_client_accepted_before_an_upgrade_is_served_through_its_first_request() {
    let takeover = Takeover::start(|config, _| config.set_drains("30s"));
    let listener = takeover.bed.node(1);
    let mut fresh = takeover.bed.client();
    fresh.send(b"GET /");
    let mut asks_later = takeover.bed.client();
    let mut monitor = plain(takeover.bed.workspace.monitoring());
    assert_eq!(monitor.exchange(&Request::get("/livez").instead("Host", "localhost")).status(), 200);
    takeover.upgrade();
    // the old process waits for these clients only
    assert_eq!(monitor.expect_end(), End::Clean);
    asks_later.send_request(&Request::upgrade(&takeover.bed.websocket_target(1)));
    let mut node = listener.accept();
    node.accept_upgrade();
    assert_eq!(asks_later.read_response().status(), 101, "no new client is refused because of an upgrade");
    fresh.send(b"nowhere HTTP/1.1\r\nHost: gateway.test:8443\r\n\r\n");
    fresh.read_response().assert_refusal(404, "no_such_route");
}

#[test]
fn learned_nodes_are_known_to_the_successor() {
    let takeover = Takeover::start(|config, _| config.set("origins.strict", true));
    let (known, unknown) = (takeover.bed.node(1), takeover.bed.node(2));
    takeover.bed.manager.answer("/stream1", Reply::node(known.ip()));
    takeover.bed.get("/streammanager/api/4.0/event/live/stream1?action=broadcast");
    takeover.upgrade();
    takeover.upgrade();
    let (mut client, mut node) = takeover.bed.relay(&known);
    talk(&mut client, &mut node);
    let target = takeover.bed.websocket_target(2);
    takeover.bed.exchange(&Request::upgrade(&target)).assert_refusal(403, "origin_not_admitted");
    assert_eq!(unknown.dials(), 0);
}

#[test]
fn nodes_that_another_manager_named_are_not_known_to_the_successor() {
    let takeover = Takeover::start(|config, _| config.set("origins.strict", true));
    let node = takeover.bed.node(1);
    takeover.bed.manager.answer("/stream1", Reply::node(node.ip()));
    takeover.bed.get("/streammanager/api/4.0/event/live/stream1?action=broadcast");
    let mut other = takeover.bed.workspace.manager();
    other.set_port(5081);
    takeover.configure(|config| config.set("stream_manager.url", format!("http://{other}")));
    takeover.upgrade();
    let target = takeover.bed.websocket_target(1);
    takeover.bed.exchange(&Request::upgrade(&target)).assert_refusal(403, "origin_not_admitted");
    assert_eq!(node.dials(), 0);
}

#[test]
fn nodes_of_managers_that_stay_in_the_list_are_known_to_the_successor() {
    let mut second = None;
    let takeover = Takeover::start(|config, workspace| {
        config.set("origins.strict", true);
        config.unset("stream_manager.url");
        let address = (workspace.ip(4), 5080).into();
        second = Some(HttpPeer::start(address));
        let urls = [workspace.manager(), address].map(|address| format!("http://{address}"));
        config.set("stream_manager.urls", urls.to_vec());
    });
    let second = second.expect("a stream manager");
    let (by_first, by_second) = (takeover.bed.node(1), takeover.bed.node(2));
    takeover.bed.manager.answer("/stream1", Reply::node(by_first.ip()));
    takeover.bed.manager.answer("/stream2", Reply::json(500, "{}"));
    second.answer("/stream2", Reply::node(by_second.ip()));
    for stream in ["stream1", "stream2"] {
        let target = format!("/streammanager/api/4.0/event/live/{stream}?action=broadcast");
        assert_eq!(takeover.bed.get(&target).status(), 200);
    }
    let address = (takeover.bed.workspace.ip(4), 5080);
    takeover.configure(|config| {
        config.set("stream_manager.urls", vec![format!("http://{}:{}", address.0, address.1)])
    });
    takeover.upgrade();
    let (mut client, mut node) = takeover.bed.relay(&by_second);
    talk(&mut client, &mut node);
    let target = takeover.bed.websocket_target(1);
    takeover.bed.exchange(&Request::upgrade(&target)).assert_refusal(403, "origin_not_admitted");
}

#[test]
fn whip_sessions_still_reach_their_node_after_an_upgrade() {
    let takeover = Takeover::start(|_, _| {});
    let node = takeover.bed.whip_node(1);
    let made = |n| Reply::created(&format!("/live/whip/resource/made{n}"), ANSWER);
    node.answer_in_turn("POST ", [made(1), made(2)]);
    node.answer("DELETE ", Reply::empty(200));
    let endpoint = "/as/v1/proxy/whip/live/s?nodeGroup=ng1";
    let locations = [(); 2].map(|()| {
        let response = takeover.bed.client().exchange(&post(endpoint));
        response.field("location").expect("a session was made").to_owned()
    });
    takeover.upgrade();
    for (location, made) in locations.iter().zip(1..) {
        let answer = takeover.bed.client().exchange(&Request::new("DELETE", location));
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(node.lines().last().unwrap(), &format!("DELETE /live/whip/resource/made{made}"));
    }
}

#[test]
fn the_old_process_holds_no_public_listener_any_more() {
    let takeover = Takeover::start(|config, workspace| {
        config.set_drains("30s");
        config.set(
            "gateway.listen",
            vec![workspace.gateway().to_string(), workspace.second_gateway().to_string()],
        );
    });
    let listener = takeover.bed.node(1);
    let first = takeover.bed.gateway.pid();
    assert_eq!(listeners(first).len(), 5, "two workers with two addresses each, and the admin listener");
    let _held = takeover.bed.relay_mid_frame(&listener);
    let second = takeover.upgrade();
    let separate_admin = separate_monitoring(&takeover);
    eventually("only its own admin listener", || listeners(first) == [separate_admin]);
    assert_eq!(listeners(second).len(), 5);
}

/// The addresses on which a process listens.
fn listeners(pid: u32) -> Vec<SocketAddr> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open: std::collections::HashSet<_> =
        files.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect();
    let listener = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let socket = format!("socket:[{}]", fields[9]);
        (fields[3] == "0A" && open.contains(std::path::Path::new(&socket))).then(|| {
            let (ip, port) = fields[1].split_once(':').unwrap();
            let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
            SocketAddr::from((ip, u16::from_str_radix(port, 16).unwrap()))
        })
    };
    table.lines().skip(1).filter_map(listener).collect()
}

/// A connection without TLS, to a monitoring listener.
fn plain(address: SocketAddr) -> Connection {
    Connection::new(Box::new(TcpStream::connect(address).unwrap()), Side::Client)
}

/// The address of the old process's monitoring listener during its drain.
#[track_caller]
fn separate_monitoring(takeover: &Takeover) -> SocketAddr {
    let find = || {
        let log = takeover.bed.gateway.stderr();
        let addresses = log.lines().filter_map(|line| line.split_once("monitoring listener on http://"));
        let mut addresses =
            addresses.map(|(_, rest)| rest.trim_end_matches('/').parse::<SocketAddr>().unwrap());
        addresses.find(|address| *address != takeover.bed.workspace.monitoring())
    };
    eventually("a separate monitoring listener", || find().is_some());
    find().unwrap()
}

#[test]
fn monitoring_sees_no_gap_and_can_watch_the_drain() {
    let takeover = Takeover::start(|config, _| config.set_drains("30s"));
    let listener = takeover.bed.node(1);
    let _held = takeover.bed.relay_mid_frame(&listener);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let bed = &takeover.bed.gateway;
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(bed.ready(), Some(200));
                looks += 1;
            }
            looks
        });
        let before = takeover.serving_pid();
        takeover.request_successor();
        eventually("the successor serves", || takeover.serving_pid() != before);
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(looking.join().unwrap() > 0);
    });
    let mut old = plain(separate_monitoring(&takeover));
    let request = Request::get("/readyz").instead("Host", "localhost");
    eventually("not ready any more", || old.exchange(&request).status() == 503);
    let request = Request::get("/api/status").instead("Host", "localhost");
    let status = old.exchange(&request).json();
    assert_eq!((&status["phase"], &status["sessions"]["active"]), (&"draining".into(), &1.into()));
}

#[test]
fn the_socket_file_of_the_admin_listener_stays() {
    use std::io::{Read, Write};
    let takeover = Takeover::start(|config, _| config.set_drains("30s"));
    let file = takeover.bed.workspace.admin_socket();
    let listener = takeover.bed.node(1);
    let first = takeover.bed.gateway.pid();
    takeover.request_successor();
    let pid = || {
        let mut stream = UnixStream::connect(&file).ok()?;
        stream.write_all(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some(serde_json::from_str::<serde_json::Value>(body).ok()?["pid"].as_u64()? as u32)
    };
    eventually("the second process serves", || pid().is_some_and(|pid| pid != first));
    let second = pid().unwrap();
    let _held = takeover.bed.relay_mid_frame(&listener);
    takeover::signal(second, Signal::USR2);
    eventually("the third process serves", || pid().expect("the file is never refused") != second);
    let separate_admin = takeover.bed.workspace.file(&format!("admin.sock.{second}"));
    eventually("a separate socket file", || separate_admin.exists());
    takeover.end_at_once(second);
    eventually("the separate file is removed", || !separate_admin.exists());
    assert!(pid().is_some(), "the file itself stays");
}

#[test]
fn an_upgrade_starts_the_binary_that_replaced_the_running_one() {
    let workspace = crate::harness::Workspace::claim();
    let (program, next) = (workspace.file("tidegate"), workspace.file("next"));
    std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    std::fs::copy(&program, &next).unwrap();
    let config = crate::harness::Config::new(&workspace);
    let manager = HttpPeer::start(workspace.manager());
    let gateway =
        crate::harness::Gateway::spawn_by(Command::new(&program), &workspace, &config).wait_until_ready();
    let takeover = Takeover::from_parts(TestBed { workspace, manager, gateway }, config);
    let new = std::fs::metadata(&next).unwrap();
    std::fs::rename(&next, &program).unwrap();
    let old = std::fs::read_link(format!("/proc/{}/exe", takeover.bed.gateway.pid())).unwrap();
    assert!(old.to_str().unwrap().ends_with(" (deleted)"), "{old:?}");
    let words = |pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let started = words(takeover.bed.gateway.pid());
    let second = takeover.upgrade();
    let running = std::fs::metadata(format!("/proc/{second}/exe")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&running), std::os::unix::fs::MetadataExt::ino(&new));
    assert_eq!(words(second), started);
    assert_eq!(std::fs::read_to_string(format!("/proc/{second}/comm")).unwrap(), "tidegate\n");
}

#[test]
fn at_most_two_old_processes_drain_and_none_is_cut_for_another() {
    let mut takeover = Takeover::start(|config, _| config.set_drains("60s"));
    let listener = takeover.bed.node(1);
    let first = takeover.bed.gateway.pid();
    let (_one, _its_node, _) = takeover.bed.relay_mid_frame(&listener);
    let second = takeover.upgrade();
    let (_two, _its_node, _) = takeover.bed.relay_mid_frame(&listener);
    let third = takeover.upgrade();
    takeover.request_successor();
    takeover.wait_for_log("still drain");
    assert!(takeover.bed.gateway.stderr().contains(&format!("{first} and {second} still drain")));
    assert_eq!(takeover.serving_pid(), third);
    // the operator decides which one has drained long enough
    takeover.end_at_once(first);
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
    let fourth = takeover.upgrade();
    assert_ne!(fourth, third);
    assert!(takeover::is_running(second));
}

#[test]
fn the_serving_process_exits_after_the_draining_ones() {
    let mut takeover = Takeover::start(|config, _| config.set_drains("30s"));
    let listener = takeover.bed.node(1);
    let (mut client, mut node, rest) = takeover.bed.relay_mid_frame(&listener);
    let second = takeover.upgrade();
    takeover::signal(second, Signal::TERM);
    takeover.wait_for_log("drained");
    assert!(takeover::is_running(second), "systemd would kill the draining process with it");
    node.send(&rest);
    client.read_bytes(rest.len());
    node.expect_close(1001);
    node.answer_close(1001);
    client.expect_close(1001);
    client.answer_close(1001);
    drop((client, node));
    assert_eq!(takeover.wait_for_exit_of(second), Some(0));
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
}
