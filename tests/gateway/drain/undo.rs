//! A drain that is taken back: the workers accept again, sessions that were not told stay, and no accepted client is lost.

use crate::harness::connection::talk;
use crate::harness::gateway::text_of;
use crate::harness::predecessor::listener;
use crate::harness::systemd::{Activation, ServiceManager};
use crate::harness::takeover::{self, Takeover};
use crate::harness::{ClientBuilder, Config, Gateway, HttpPeer, TestBed, Workspace, eventually};
use rustix::process::Signal;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Waits until the log says this once more than `before` times.
#[track_caller]
fn wait_for_log(gateway: &Gateway, text: &str, before: usize) {
    eventually(text, || gateway.stderr().matches(text).count() > before);
}

/// Begins a drain by command and waits until the workers were told.
#[track_caller]
fn begin_drain(gateway: &Gateway) {
    let before = gateway.stderr().matches("draining for at most").count();
    text_of(&gateway.command(&["drain"]), 0);
    assert_eq!(gateway.ready(), Some(503));
    wait_for_log(gateway, "draining for at most", before);
}

#[track_caller]
fn undo(gateway: &Gateway) -> String {
    let said = text_of(&gateway.command(&["drain", "--undo"]), 0);
    assert_eq!(gateway.ready(), Some(200), "ready as soon as the command returns");
    said
}

/// Checks that new clients are served, and on both workers.
#[track_caller]
fn both_workers_serve(bed: &TestBed) {
    let sessions = |worker| bed.gateway.metric("tidegate_worker_sessions", &[("worker", worker)]);
    let (zero, one) = (sessions("0"), sessions("1"));
    let mut clients = Vec::new();
    // the kernel spreads connections by their ports
    eventually("both workers accept", || {
        let mut client = bed.client();
        client.get("/nowhere").assert_refusal(404, "no_such_route");
        clients.push(client);
        sessions("0") > zero && sessions("1") > one
    });
}

#[test]
fn after_a_drain_is_taken_back_the_gateway_serves_as_before() {
    let bed = TestBed::with(|config, _| {
        config.set("gateway.drain", "60s");
        config.set("gateway.health_path", "/healthz");
    });
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let mut idle = bed.client();
    assert_eq!(idle.get("/healthz").status(), 200);
    for _ in 0..3 {
        begin_drain(&bed.gateway);
        eventually("clients are refused", || TcpStream::connect(bed.workspace.gateway()).is_err());
        assert_eq!(undo(&bed.gateway), "drain taken back: 2 sessions stay\n");
        talk(&mut client, &mut node);
        both_workers_serve(&bed);
    }
    assert_eq!(idle.get("/healthz").status(), 200, "an idle connection stays too");
    let (mut another, mut its_node) = bed.relay(&listener);
    talk(&mut another, &mut its_node);
    assert_eq!(bed.gateway.reload().0, Some(0), "a reload works again");
    assert_eq!(bed.gateway.metric("tidegate_ends_total", &[("how", "drain")]), 0.0);
    let again = text_of(&bed.gateway.command(&["drain", "--undo"]), 1);
    assert!(again.contains("no drain is under way"), "{again}");
}

#[test]
fn sessions_that_were_told_end_and_all_others_stay() {
    let bed = TestBed::with(|config, _| {
        config.set("gateway.drain", "10s");
        // no Ping is taken for a Close
        config.set("websocket.ping_interval", "off");
    });
    let listener = bed.node(1);
    let mut sessions: Vec<_> = (0..12).map(|_| bed.relay(&listener)).collect();
    let began = Instant::now();
    begin_drain(&bed.gateway);
    let ended = || bed.gateway.metric("tidegate_ends_total", &[("how", "drain")]);
    eventually("a session ends", || ended() > 0.0);
    undo(&bed.gateway);
    // longer than the window: nothing of the drain goes on
    std::thread::sleep(Duration::from_secs(12).saturating_sub(began.elapsed()));
    let left = bed.gateway.admin_get("/api/sessions").json()["sessions"].as_array().unwrap().len();
    assert!((1..12).contains(&left) && ended() == 12.0 - left as f64, "{left} left, {} ended", ended());
    let mut talking = 0;
    for (client, node) in &mut sessions {
        // a session that was told has its Close here
        if client.receives_within(Duration::from_millis(1)) {
            client.expect_close(1001);
        } else {
            talk(client, node);
            talking += 1;
        }
    }
    assert_eq!(talking, left);
}

/// The program as a service of this manager, with a window of a minute.
fn service(workspace: &Workspace, manager: &ServiceManager) -> (Gateway, Config) {
    let mut config = Config::new(workspace);
    config.set("gateway.drain", "60s");
    (manager.service().start(workspace, &config), config)
}

#[test]
fn no_client_is_refused_or_reset_where_systemd_keeps_the_sockets() {
    let workspace = Workspace::claim();
    let mut manager = ServiceManager::listen(workspace.file("notify"));
    let (gateway, _) = service(&workspace, &manager);
    let peer = HttpPeer::start(workspace.manager());
    let bed = TestBed { workspace, manager: peer, gateway };
    manager.wait_until("both sockets are stored", |manager| manager.stored.len() == 2);
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !done.load(Ordering::SeqCst) {
                        let mut client = bed.client();
                        let status = client.get("/nowhere").status();
                        assert!(status == 404 || status == 503, "{status}");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for _ in 0..5 {
            begin_drain(&bed.gateway);
            std::thread::sleep(Duration::from_millis(100));
            undo(&bed.gateway);
            std::thread::sleep(Duration::from_millis(100));
        }
        done.store(true, Ordering::SeqCst);
        for asking in asking {
            assert!(asking.join().unwrap() > 0);
        }
    });
    talk(&mut client, &mut node);
    both_workers_serve(&bed);
    manager.take_all();
    let told = manager.messages.iter().any(|message| message.contains("STOPPING=1"));
    assert!(!told, "systemd takes that back as little as a signal: {:?}", manager.messages);
    // a signal makes a drain one that ends
    begin_drain(&bed.gateway);
    bed.gateway.terminate();
    manager.wait_for("STOPPING=1");
    let refused = text_of(&bed.gateway.command(&["drain", "--undo"]), 1);
    assert!(refused.contains("by a signal"), "{refused}");
    bed.gateway.terminate();
}

#[test]
fn sockets_of_a_socket_unit_are_accepted_from_again() {
    let workspace = Workspace::claim();
    // one socket of systemd for two workers, and an address that the gateway opened itself
    let sockets = [listener(workspace.gateway())];
    let mut config = Config::new(&workspace);
    config.set("gateway.drain", "60s");
    let own = workspace.second_gateway();
    config.set("gateway.listen", vec![workspace.gateway().to_string(), own.to_string()]);
    let service = Activation::new(&sockets, &["tidegate.socket"], ":");
    let gateway = service.start(&workspace, &config);
    let peer = HttpPeer::start(workspace.manager());
    let bed = TestBed { workspace, manager: peer, gateway };
    let nodes = bed.node(1);
    let (mut client, mut node) = bed.relay(&nodes);
    begin_drain(&bed.gateway);
    let waiting = ClientBuilder::to(bed.workspace.gateway()).connect_tcp();
    eventually("the other address refuses clients", || TcpStream::connect(own).is_err());
    undo(&bed.gateway);
    let mut waited = ClientBuilder::to(bed.workspace.gateway()).handshake_on(waiting);
    waited.get("/nowhere").assert_refusal(404, "no_such_route");
    ClientBuilder::to(own).connect_tls().get("/nowhere").assert_refusal(404, "no_such_route");
    both_workers_serve(&bed);
    talk(&mut client, &mut node);
}

#[test]
fn a_drain_that_another_cause_began_is_not_taken_back() {
    let mut bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let listener = bed.node(1);
    let _held = bed.relay_mid_frame(&listener);
    bed.gateway.terminate();
    eventually("not ready any more", || bed.gateway.ready() == Some(503));
    let refused = text_of(&bed.gateway.command(&["drain", "--undo"]), 1);
    assert!(refused.contains("the gateway refused") && refused.contains("by a signal"), "{refused}");
    assert_eq!(bed.gateway.ready(), Some(503));
    bed.gateway.terminate();
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));

    let takeover = Takeover::start(|config, _| config.set_drains("60s"));
    let listener = takeover.bed.node(1);
    let _held = takeover.bed.relay_mid_frame(&listener);
    let first = takeover.serving_pid();
    let second = takeover.upgrade();
    let socket = takeover.bed.workspace.file(&format!("admin.sock.{first}"));
    eventually("the old process answers beside", || socket.exists());
    let admin = format!("unix:{}", socket.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let refused = text_of(&command.args(["drain", "--undo", "--admin", &admin]).output().unwrap(), 1);
    assert!(refused.contains(&format!("process {second} serves now")), "{refused}");
    takeover::signal(second, Signal::TERM);
}

#[test]
fn a_port_that_another_program_took_meanwhile_is_a_reason_and_the_drain_goes_on() {
    let bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    begin_drain(&bed.gateway);
    let mut other = None;
    eventually("the port is free", || {
        other = TcpListener::bind(bed.workspace.gateway()).ok();
        other.is_some()
    });
    let refused = text_of(&bed.gateway.command(&["drain", "--undo"]), 1);
    assert!(refused.contains("another program listens there"), "{refused}");
    assert_eq!(bed.gateway.ready(), Some(503));
    talk(&mut client, &mut node);
    drop(other);
    undo(&bed.gateway);
    both_workers_serve(&bed);
    talk(&mut client, &mut node);
}

#[test]
fn a_drain_that_is_waited_for_returns_at_its_end_or_when_it_is_taken_back() {
    let mut bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let listener = bed.node(1);
    let (mut client, mut node, rest) = bed.relay_mid_frame(&listener);
    let waiting = |bed: &TestBed| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["drain", "--wait", "--admin", &bed.gateway.admin()]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let command = waiting(&bed);
    eventually("the drain begins", || bed.gateway.ready() == Some(503));
    undo(&bed.gateway);
    let said = text_of(&command.wait_with_output().unwrap(), 1);
    assert!(said.contains("draining: 1 sessions") && said.contains("taken back"), "{said}");
    let mut command = waiting(&bed);
    eventually("the drain begins again", || bed.gateway.ready() == Some(503));
    assert!(command.try_wait().unwrap().is_none(), "it waits");
    node.send(&rest);
    client.read_bytes(rest.len());
    for side in [&mut client, &mut node] {
        side.expect_close(1001);
        side.answer_close(1001);
    }
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
    let said = text_of(&command.wait_with_output().unwrap(), 0);
    assert!(said.contains("drained after"), "{said}");
}
