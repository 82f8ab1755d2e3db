//! More than fits: who is served, who is turned away, who has to wait, and that nobody inside pays for it.

use crate::harness::node::EchoNode;
use crate::harness::{Connection, DEADLINE, Frame, Gate, NodeListener, Request, TestBed, eventually};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Whether the sizes of the promises are wanted, or those that are soon done.
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

/// A session, or the refusal that one gets instead.
#[track_caller]
fn try_session(
    bed: &TestBed,
    listener: &NodeListener,
    request: &Request,
) -> Option<(Connection, Connection)> {
    let mut client = bed.client();
    client.send_request(request);
    let mut node = None;
    eventually("a node or a refusal", || {
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
fn publishers_are_shed_after_players_and_who_is_inside_never() {
    // one place of twenty is kept for publishers
    let bed = TestBed::with(|config, _| config.set("limits.sessions", 40));
    let listener = bed.node(1);
    let mut inside: Vec<_> = (0..38)
        .map(|n| try_session(&bed, &listener, &player(&bed, n)).expect("room for everybody"))
        .collect();
    for n in 0..5 {
        assert!(try_session(&bed, &listener, &player(&bed, n)).is_none(), "players come to the end first");
    }
    bed.get("/streammanager/api/4.0/event/list").assert_refusal(503, "overloaded");
    for _ in 0..2 {
        inside.push(try_session(&bed, &listener, &publisher(&bed)).expect("a place was kept"));
    }
    assert!(try_session(&bed, &listener, &publisher(&bed)).is_none(), "a limit is a limit");
    for (client, node) in &mut inside {
        client.send_frame(Frame::text("here"));
        assert_eq!(node.read_frame(), Frame::text("here"));
    }
    bed.gateway.wait_for_metric("tidegate_refusals_total", &[("code", "overloaded")], 7.0);

    // a player leaves: its place goes to a publisher and not to the next player
    drop(inside.remove(0));
    bed.gateway.wait_for_metric("tidegate_sessions_active", &[], 39.0);
    assert!(try_session(&bed, &listener, &player(&bed, 0)).is_none());
    // what belongs to a session that exists is let in too
    let ending = Request::new("DELETE", "/as/v1/proxy/whep/live/stream1?requestId=none");
    assert_eq!(bed.exchange(&ending).status(), 404);
    eventually("its place is free again", || try_session(&bed, &listener, &publisher(&bed)).is_some());
}

#[test]
fn at_twice_the_load_everybody_is_served_who_is_let_in() {
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
                        assert_eq!(client.read_frame(), frame, "who is inside is not disturbed");
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
    assert!(turned_away > 0, "it was never full");
    bed.gateway.wait_for_metric("tidegate_refusals_total", &[], turned_away as f64);
    bed.gateway.wait_for_metric(
        "tidegate_ends_total",
        &[("by", "client"), ("how", "close")],
        (2 * SLOTS * SESSIONS_PER_CLIENT) as f64,
    );
}

#[test]
fn without_descriptors_newcomers_wait_and_every_one_who_is_taken_gets_a_node() {
    const CLIENTS: usize = 80;
    let bed = TestBed::start();
    let _echo = EchoNode::listen(bed.workspace.node(1));
    // room for 30 of them, at two descriptors each
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
        eventually("no more clients are taken", || {
            bed.gateway.metric("tidegate_accept_pauses_total", &[]) >= 1.0 && served.load(SeqCst) >= 10
        });
        assert!(served.load(SeqCst) < CLIENTS);
        gate.open();
    });
    assert_eq!(served.into_inner(), CLIENTS, "it recovers by itself");
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[("outcome", "exhausted")]), 0.0);
    assert_eq!(bed.gateway.metric("tidegate_refusals_total", &[]), 0.0);
    let said = bed.gateway.stderr();
    assert!(said.contains("no new clients are taken for now"), "{said}");
    let lines = said.matches("no new clients").count();
    assert!(lines <= 4, "{lines} lines for two workers in less than {DEADLINE:?}");
    eventually("it says so", || bed.gateway.stderr().contains("new clients are taken again"));
}

/// Waits until a count stands still.
fn wait_until_stuck(count: &AtomicU64) {
    let (mut last, mut since) = (u64::MAX, Instant::now());
    eventually("the nodes stand still", || {
        let now = count.load(SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(700)
    });
}

#[test]
fn nodes_that_blast_at_clients_that_do_not_read_cost_bounded_memory() {
    const FRAME: usize = 60_000;
    // 10 MiB for each of them; in full size 1 GiB for 100
    const FRAMES: usize = (10 << 20) / FRAME + 1;
    let clients = if full_size() { 100 } else { 20 };
    let bed = TestBed::with(|config, _| {
        // who does not read does not answer pings either
        config.set("websocket.ping_interval", "off");
        config.set("limits.sessions_per_ip", "off");
    });
    let listener = bed.node(1);
    let mut pairs: Vec<_> = (0..clients).map(|_| bed.relay(&listener)).collect();
    let (before, said) = (bed.gateway.memory(), AtomicU64::new(0));
    let listeners = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (client, mut node) in pairs.drain(..) {
            listeners.lock().unwrap().push(client);
            let said = &said;
            scope.spawn(move || {
                for n in 0..FRAMES {
                    node.send_frame(Frame::binary(vec![n as u8; FRAME]));
                    said.fetch_add(FRAME as u64, SeqCst);
                }
                // on two busy cores a gigabyte takes its time
                node.tcp().set_read_timeout(Some(6 * DEADLINE)).unwrap();
                assert_eq!(node.read_frame(), Frame::text("all of it"));
            });
        }
        wait_until_stuck(&said);
        let grown = bed.gateway.memory().saturating_sub(before);
        let lent = bed.gateway.metric("tidegate_worker_buffers_lent_bytes", &[]) as u64;
        let (each, all) = ((256 << 10) * clients, FRAMES as u64 * FRAME as u64 * clients);
        assert!(said.load(SeqCst) < all, "nobody was held back");
        for client in listeners.into_inner().unwrap() {
            scope.spawn(move || {
                let mut client = client;
                for n in 0..FRAMES {
                    assert!(client.read_frame() == Frame::binary(vec![n as u8; FRAME]), "frame {n}");
                }
                client.send_frame(Frame::text("all of it"));
            });
        }
        assert!(lent <= each, "{lent} bytes are held for {clients} clients");
        assert!(grown < each + (16 << 20), "{grown} bytes more for {clients} clients");
        println!("{clients} clients, {all} bytes: grown by {grown}, {lent} of them lent");
    });
}
