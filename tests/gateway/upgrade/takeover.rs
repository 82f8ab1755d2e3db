//! A new process takes the place of the running one: clients go on, nobody is refused, nothing is left behind.

use crate::harness::connection::{End, Side};
use crate::harness::takeover::{self, Reign};
use crate::harness::whip::{ANSWER, post};
use crate::harness::{Frame, Link, Reply, Request, Town, eventually};
use rustix::process::Signal;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;

/// One message each way.
#[track_caller]
fn talk(client: &mut Link, node: &mut Link) {
    client.say(Frame::text("to the node"));
    assert_eq!(node.hear(), Frame::text("to the node"));
    node.say(Frame::text("to the client"));
    assert_eq!(client.hear(), Frame::text("to the client"));
}

#[test]
fn a_new_process_serves_and_the_old_one_drains() {
    let mut reign = Reign::begin(|config, _| config.set("gateway.drain", "30s"));
    let origin = reign.town.node(1);
    let (mut client, mut node, rest) = reign.town.held_back(&origin);
    let first = reign.town.gateway.pid();
    let second = reign.upgrade();
    assert_ne!(first, second);
    // systemd's to wait for, not the old one's
    assert_eq!(takeover::parent(second), std::process::id());
    let (mut newcomer, mut its_node) = reign.town.relay(&origin);
    talk(&mut newcomer, &mut its_node);
    assert!(takeover::is_running(first), "it still drains");
    node.send(&rest);
    assert_eq!(client.take(rest.len()), rest);
    assert!(client.told(1001).starts_with("draining"));
    assert!(node.told(1001).starts_with("draining"));
    client.part(1001);
    node.part(1001);
    drop((client, node));
    assert_eq!(reign.town.gateway.retired().code(), Some(0));
    talk(&mut newcomer, &mut its_node);
    takeover::signal(second, Signal::TERM);
    newcomer.told(1001);
    newcomer.part(1001);
    its_node.told(1001);
    drop((newcomer, its_node));
    assert_eq!(reign.exit_of(second), Some(0));
}

#[test]
fn who_was_just_let_in_is_seen_through_its_beginning() {
    let reign = Reign::begin(|config, _| config.set("gateway.drain", "30s"));
    let origin = reign.town.node(1);
    let mut fresh = reign.town.client();
    fresh.send(b"GET /");
    let mut asks_later = reign.town.client();
    let mut monitor = plain(reign.town.place.admin());
    assert_eq!(monitor.exchange(&Request::get("/livez").instead("Host", "localhost")).status(), 200);
    reign.upgrade();
    // the old process has nothing more to wait for but them
    assert_eq!(monitor.ended(), End::Clean);
    asks_later.ask(&Request::upgrade(&reign.town.socket_target(1)));
    let mut node = origin.accept();
    node.agree();
    assert_eq!(asks_later.read_response().status(), 101, "no newcomer is refused because of an upgrade");
    fresh.send(b"nowhere HTTP/1.1\r\nHost: gateway.test:8443\r\n\r\n");
    fresh.read_response().assert_refusal(404, "no_such_route");
}

#[test]
fn what_clients_were_told_before_holds_afterwards() {
    let reign = Reign::begin(|config, _| config.set("origins.strict", true));
    let (known, unknown) = (reign.town.node(1), reign.town.node(2));
    reign.town.manager.answer("/stream1", Reply::node(known.ip()));
    reign.town.get("/streammanager/api/4.0/event/live/stream1?action=broadcast");
    reign.upgrade();
    reign.upgrade();
    let (mut client, mut node) = reign.town.relay(&known);
    talk(&mut client, &mut node);
    let target = reign.town.socket_target(2);
    reign.town.refused(&Request::upgrade(&target)).assert_refusal(403, "origin_not_admitted");
    assert_eq!(unknown.dials(), 0);
}

#[test]
fn whip_sessions_find_their_node_again() {
    let reign = Reign::begin(|_, _| {});
    let node = reign.town.whip_node(1);
    let made = |n| Reply::created(&format!("/live/whip/resource/made{n}"), ANSWER);
    node.answer_in_turn("POST ", [made(1), made(2)]);
    node.answer("DELETE ", Reply::empty(200));
    let endpoint = "/as/v1/proxy/whip/live/s?nodeGroup=ng1";
    let locations = [(); 2].map(|()| {
        let response = reign.town.client().exchange(&post(endpoint));
        response.field("location").expect("a session was made").to_owned()
    });
    reign.upgrade();
    for (location, made) in locations.iter().zip(1..) {
        let answer = reign.town.client().exchange(&Request::new("DELETE", location));
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(node.lines().last().unwrap(), &format!("DELETE /live/whip/resource/made{made}"));
    }
}

#[test]
fn the_old_process_holds_no_listener_any_more() {
    let reign = Reign::begin(|config, place| {
        config.set("gateway.drain", "30s");
        config.set("gateway.listen", vec![place.gateway().to_string(), place.second().to_string()]);
    });
    let origin = reign.town.node(1);
    let first = reign.town.gateway.pid();
    assert_eq!(listeners(first).len(), 5, "two workers, two addresses, and the admin page");
    let _held = reign.town.held_back(&origin);
    let second = reign.upgrade();
    let aside = aside(&reign);
    eventually("only its own admin page", || listeners(first) == [aside]);
    assert_eq!(listeners(second).len(), 5);
}

/// The addresses a process listens on.
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

/// A connection without TLS, to an admin listener.
fn plain(address: SocketAddr) -> Link {
    Link::new(Box::new(TcpStream::connect(address).unwrap()), Side::Client)
}

/// Where the old process shows its pages during its drain.
#[track_caller]
fn aside(reign: &Reign) -> SocketAddr {
    let find = || {
        let log = reign.town.gateway.stderr();
        let addresses = log.lines().filter_map(|line| line.split_once("admin page on http://"));
        let mut addresses =
            addresses.map(|(_, rest)| rest.trim_end_matches('/').parse::<SocketAddr>().unwrap());
        addresses.find(|address| *address != reign.town.place.admin())
    };
    eventually("an admin page aside", || find().is_some());
    find().unwrap()
}

#[test]
fn monitoring_sees_no_gap_and_can_watch_the_drain() {
    let reign = Reign::begin(|config, _| config.set("gateway.drain", "30s"));
    let origin = reign.town.node(1);
    let _held = reign.town.held_back(&origin);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let town = &reign.town.gateway;
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(town.ready(), Some(200));
                looks += 1;
            }
            looks
        });
        let before = reign.serving();
        reign.ask();
        eventually("another one serves", || reign.serving() != before);
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(looking.join().unwrap() > 0);
    });
    let mut old = plain(aside(&reign));
    let request = Request::get("/readyz").instead("Host", "localhost");
    eventually("not ready any more", || old.exchange(&request).status() == 503);
    let request = Request::get("/api/status").instead("Host", "localhost");
    let status = old.exchange(&request).json();
    assert_eq!((&status["phase"], &status["sessions"]["active"]), (&"draining".into(), &1.into()));
}

#[test]
fn a_socket_file_of_the_admin_listener_stays() {
    use std::io::{Read, Write};
    let reign = Reign::begin(|config, _| config.set("gateway.drain", "30s"));
    let file = reign.town.place.file("admin.sock");
    let setting = format!("unix:{}", file.display());
    reign.configure(|config| config.set("admin.listen", setting));
    // the first one still has its own; from the second one on it is the file
    let origin = reign.town.node(1);
    let first = reign.town.gateway.pid();
    reign.ask();
    let pid = || {
        let mut stream = UnixStream::connect(&file).ok()?;
        stream.write_all(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some(serde_json::from_str::<serde_json::Value>(body).ok()?["pid"].as_u64()? as u32)
    };
    eventually("the second one serves", || pid().is_some_and(|pid| pid != first));
    let second = pid().unwrap();
    let _held = reign.town.held_back(&origin);
    takeover::signal(second, Signal::USR2);
    eventually("the third one serves", || pid().expect("never refused") != second);
    let aside = reign.town.place.file(&format!("admin.sock.{second}"));
    eventually("a file aside", || aside.exists());
    takeover::signal(second, Signal::TERM);
    eventually("and it is removed", || !aside.exists());
    assert!(pid().is_some(), "the file itself stays");
}

#[test]
fn a_replaced_binary_is_what_comes_next() {
    let place = crate::harness::Place::claim();
    let (program, next) = (place.file("tidegate"), place.file("next"));
    std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    std::fs::copy(&program, &next).unwrap();
    let config = crate::harness::Config::new(&place);
    let manager = crate::harness::HttpPeer::start(place.manager());
    let gateway = crate::harness::Gateway::spawn_by(Command::new(&program), &place, &config).begun();
    let reign = Reign::of(Town { place, manager, gateway }, config);
    let new = std::fs::metadata(&next).unwrap();
    std::fs::rename(&next, &program).unwrap();
    let old = std::fs::read_link(format!("/proc/{}/exe", reign.town.gateway.pid())).unwrap();
    assert!(old.to_str().unwrap().ends_with(" (deleted)"), "{old:?}");
    let words = |pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let started = words(reign.town.gateway.pid());
    let second = reign.upgrade();
    let running = std::fs::metadata(format!("/proc/{second}/exe")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&running), std::os::unix::fs::MetadataExt::ino(&new));
    assert_eq!(words(second), started);
    assert_eq!(std::fs::read_to_string(format!("/proc/{second}/comm")).unwrap(), "tidegate\n");
}

#[test]
fn only_so_many_old_processes_drain_and_none_is_cut_for_another() {
    let mut reign = Reign::begin(|config, _| config.set("gateway.drain", "60s"));
    let origin = reign.town.node(1);
    let first = reign.town.gateway.pid();
    let (_one, _its_node, _) = reign.town.held_back(&origin);
    let second = reign.upgrade();
    let (_two, _its_node, _) = reign.town.held_back(&origin);
    let third = reign.upgrade();
    reign.ask();
    reign.wait_for_word("still drain");
    assert!(reign.town.gateway.stderr().contains(&format!("{first} and {second} still drain")));
    assert_eq!(reign.serving(), third);
    // somebody decides which one has drained long enough
    takeover::signal(first, Signal::TERM);
    assert_eq!(reign.town.gateway.retired().code(), Some(0));
    let fourth = reign.upgrade();
    assert_ne!(fourth, third);
    assert!(takeover::is_running(second));
}

#[test]
fn the_last_one_waits_for_those_that_drain() {
    let mut reign = Reign::begin(|config, _| config.set("gateway.drain", "30s"));
    let origin = reign.town.node(1);
    let (mut client, mut node, rest) = reign.town.held_back(&origin);
    let second = reign.upgrade();
    takeover::signal(second, Signal::TERM);
    reign.wait_for_word("drained");
    assert!(takeover::is_running(second), "systemd would cut the other one with it");
    node.send(&rest);
    client.take(rest.len());
    node.told(1001);
    node.part(1001);
    client.told(1001);
    client.part(1001);
    drop((client, node));
    assert_eq!(reign.exit_of(second), Some(0));
    assert_eq!(reign.town.gateway.retired().code(), Some(0));
}
