//! Load over the limits: which clients are served, which are refused, which wait, and that open sessions do not suffer.

use crate::harness::node::EchoNode;
use crate::harness::{Connection, DEADLINE, Frame, Gate, NodeListener, Request, TestBed, eventually};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Whether the test runs in the size of the documented promise instead of a quick size.
fn full_size() -> bool {
    std::env::var_os("TIDEGATE_TEST_FULL").is_some()
}

/// The two-step request of a player, as SDKs write it.
fn player(bed: &TestBed, n: usize) -> Request {
    let target = format!("/streammanager/?id=subscriber-{n:04x}&host={}&app=live", bed.ip(1));
    Request::upgrade(&target)
}

fn publisher(bed: &TestBed) -> Request {
    Request::upgrade(&bed.websocket_target(1))
}

/// A session, or `None` if the gateway refuses it as overloaded.
#[track_caller]
fn try_session(
    bed: &TestBed,
    listener: &NodeListener,
    request: &Request,
) -> Option<(Connection, Connection)> {
    let mut client = bed.client();
    client.send_request(request);
    let mut node = None;
    eventually("a dial or a refusal", || {
        node = listener.try_accept();
        node.is_some() || client.receives_within(Duration::from_millis(1))
    });
    let Some(mut node) = node else {
        client.read_response().assert_refusal(503, "overloaded");
        return None;
    };
    node.accept_upgrade();
    assert_eq!(client.read_response().status(), 101);
    Some((client, node))
}

#[test]
fn players_are_refused_before_publishers_and_open_sessions_never_end() {
    // one slot of twenty is reserved for publishers
    let bed = TestBed::with(|config, _| config.set("limits.sessions", 40));
    let listener = bed.node(1);
    let mut inside: Vec<_> = (0..38)
        .map(|n| try_session(&bed, &listener, &player(&bed, n)).expect("there are free slots"))
        .collect();
    for n in 0..5 {
        assert!(try_session(&bed, &listener, &player(&bed, n)).is_none(), "players reach the limit first");
    }
    bed.get("/streammanager/api/4.0/event/list").assert_refusal(503, "overloaded");
    for _ in 0..2 {
        inside
            .push(try_session(&bed, &listener, &publisher(&bed)).expect("slots are reserved for publishers"));
    }
    assert!(try_session(&bed, &listener, &publisher(&bed)).is_none(), "the limit holds for publishers too");
    for (client, node) in &mut inside {
        client.send_frame(Frame::text("here"));
        assert_eq!(node.read_frame(), Frame::text("here"));
    }
    bed.gateway.wait_for_metric("tidegate_refusals_total", &[("code", "overloaded")], 7.0);

    // a player leaves: its slot goes to a publisher and not to the next player
    drop(inside.remove(0));
    bed.gateway.wait_for_metric("tidegate_worker_sessions", &[], 39.0);
    assert!(try_session(&bed, &listener, &player(&bed, 0)).is_none());
    // requests for an existing WHIP session are admitted too
    let ending = Request::new("DELETE", "/as/v1/proxy/whep/live/stream1?requestId=none");
    assert_eq!(bed.exchange(&ending).status(), 404);
    eventually("the slot is free again", || try_session(&bed, &listener, &publisher(&bed)).is_some());
}

#[test]
fn at_twice_the_load_every_admitted_session_is_served() {
    const SLOTS: usize = 40;
    const SESSIONS_PER_CLIENT: usize = 3;
    let bed = TestBed::with(|config, _| config.set("limits.sessions", SLOTS as i64));
    let _echo = EchoNode::listen(bed.workspace.node(1));
    let (served, turned_away) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 * SLOTS {
            scope.spawn(|| {
                for turn in 0..SESSIONS_PER_CLIENT {
                    let mut client = loop {
                        let mut client = bed.client();
                        client.send_request(&publisher(&bed));
                        let response = client.read_response();
                        if response.status() == 101 {
                            break client;
                        }
                        response.assert_refusal(503, "overloaded");
                        turned_away.fetch_add(1, SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                    };
                    for n in 0..20 {
                        let frame = Frame::text(&format!("{turn}, {n}"));
                        client.send_frame(frame.clone());
                        assert_eq!(client.read_frame(), frame, "open sessions are not disturbed");
                    }
                    client.send_frame(Frame::close(1000, "done"));
                    assert_eq!(client.read_frame(), Frame::close(1000, "done"));
                    served.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert_eq!(served.into_inner(), 2 * SLOTS * SESSIONS_PER_CLIENT);
    let turned_away = turned_away.into_inner();
    assert!(turned_away > 0, "the limit was never reached");
    bed.gateway.wait_for_metric("tidegate_refusals_total", &[], turned_away as f64);
    bed.gateway.wait_for_metric(
        "tidegate_ends_total",
        &[("by", "client"), ("how", "close")],
        (2 * SLOTS * SESSIONS_PER_CLIENT) as f64,
    );
}

#[test]
fn without_descriptors_new_clients_wait_and_each_accepted_one_gets_a_node() {
    const CLIENTS: usize = 80;
    let bed = TestBed::start();
    let _echo = EchoNode::listen(bed.workspace.node(1));
    // descriptors for 30 sessions, two each
    bed.gateway.limit_files(116);
    let (gate, served) = (Gate::default(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (bed, gate, served) = (&bed, gate.clone(), &served);
            scope.spawn(move || {
                let mut client = bed.client();
                client.send_request(&publisher(bed));
                assert_eq!(client.read_response().status(), 101);
                served.fetch_add(1, SeqCst);
                gate.pass();
                client.send_frame(Frame::text(&n.to_string()));
                assert_eq!(client.read_frame(), Frame::text(&n.to_string()));
            });
        }
        eventually("no more clients are accepted", || {
            bed.gateway.metric("tidegate_accept_pauses_total", &[]) >= 1.0 && served.load(SeqCst) >= 10
        });
        assert!(served.load(SeqCst) < CLIENTS);
        gate.open();
    });
    assert_eq!(served.into_inner(), CLIENTS, "all clients are served in the end");
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[("outcome", "exhausted")]), 0.0);
    assert_eq!(bed.gateway.metric("tidegate_refusals_total", &[]), 0.0);
    let log = bed.gateway.stderr();
    assert!(log.contains("accepting paused"), "{log}");
    let lines = log.matches("accepting paused").count();
    assert!(lines <= 4, "{lines} lines for two workers in less than {DEADLINE:?}");
    eventually("the log reports the recovery", || bed.gateway.stderr().contains("accepting resumed"));
}

/// Waits until this count does not change any more.
fn wait_until_stuck(count: &AtomicU64) {
    let (mut last, mut since) = (u64::MAX, Instant::now());
    eventually("the nodes are held back", || {
        let now = count.load(SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(700)
    });
}

#[test]
fn nodes_that_flood_clients_that_do_not_read_cost_bounded_memory() {
    const FRAME: usize = 60_000;
    // 10 MiB for each client; in full size 1 GiB for 100
    const FRAMES: usize = (10 << 20) / FRAME + 1;
    let clients = if full_size() { 100 } else { 20 };
    let bed = TestBed::with(|config, _| {
        // a client that does not read does not answer pings either
        config.set("websocket.ping_interval", "off");
        config.set("limits.sessions_per_ip", "off");
    });
    let listener = bed.node(1);
    let mut pairs: Vec<_> = (0..clients).map(|_| bed.relay(&listener)).collect();
    let (before, sent) = (bed.gateway.memory(), AtomicU64::new(0));
    let listeners = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (client, mut node) in pairs.drain(..) {
            listeners.lock().unwrap().push(client);
            let sent = &sent;
            scope.spawn(move || {
                for n in 0..FRAMES {
                    node.send_frame(Frame::binary(vec![n as u8; FRAME]));
                    sent.fetch_add(FRAME as u64, SeqCst);
                }
                // on two busy cores a gigabyte takes long
                node.tcp().set_read_timeout(Some(6 * DEADLINE)).unwrap();
                assert_eq!(node.read_frame(), Frame::text("all of it"));
            });
        }
        wait_until_stuck(&sent);
        let grown = bed.gateway.memory().saturating_sub(before);
        let lent = bed.gateway.metric("tidegate_worker_buffers_lent_bytes", &[]) as u64;
        let (each, all) = ((256 << 10) * clients, FRAMES as u64 * FRAME as u64 * clients);
        assert!(sent.load(SeqCst) < all, "the nodes were not held back");
        for client in listeners.into_inner().unwrap() {
            scope.spawn(move || {
                let mut client = client;
                for n in 0..FRAMES {
                    assert!(client.read_frame() == Frame::binary(vec![n as u8; FRAME]), "frame {n}");
                }
                client.send_frame(Frame::text("all of it"));
            });
        }
        assert!(lent <= each, "{lent} bytes of buffers for {clients} clients");
        assert!(grown < each + (16 << 20), "memory grew by {grown} bytes for {clients} clients");
        println!("{clients} clients, {all} bytes: memory grew by {grown}, {lent} of them in lent buffers");
    });
}
