//! Slow and silent peers: held back without loss and with bounded memory, pinged, and let go in time.

use crate::harness::{Frame, Link, Request, Town, eventually};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Waits until the count stands still for a while; says where.
fn wait_until_stuck(count: &AtomicUsize) -> usize {
    let (mut last, mut since) = (usize::MAX, Instant::now());
    eventually("the writer stands still", || {
        let now = count.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    last
}

/// What a peer that does not listen may cost on average. It costs some buffers, but allocators take memory in steps of
/// several megabytes; without a bound it would cost all that was said, 12 MB and more.
const SLOW_PEER_MAX: u64 = 4 << 20;

/// Which end of a session talks; the other one does not listen.
type Ends = fn((Link, Link)) -> (Link, Link);

/// Talkers are held back by bounded memory, and nothing of what they said is lost.
#[track_caller]
fn hold_back(ends: Ends) {
    const FRAMES: usize = 400;
    const SIZE: usize = 48 << 10;
    // Who does not listen does not answer pings either.
    let town = Town::with(|config, _| {
        config.set("websocket.ping_interval", "off");
        // with two, the later sessions might be the first ones of a worker and bring what it needs once
        config.set("gateway.workers", 1);
    });
    let origin = town.node(1);
    let said = AtomicUsize::new(0);
    let talk = |talker: &mut Link| {
        for n in 0..FRAMES {
            talker.say(Frame::binary(vec![n as u8; SIZE]));
            said.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let mut listeners = Vec::new();
        let mut memory = Vec::new();
        // The first sessions bring what each worker needs once; what counts is what further ones add.
        for sessions in [4, 8] {
            while listeners.len() < sessions {
                let (mut talker, listener) = ends(town.relay(&origin));
                listeners.push(listener);
                scope.spawn(move || talk(&mut talker));
            }
            assert!(wait_until_stuck(&said) < sessions * FRAMES, "never held back");
            memory.push(town.gateway.memory());
        }
        let each = memory[1].saturating_sub(memory[0]) / 4;
        for listener in &mut listeners {
            for n in 0..FRAMES {
                assert!(listener.hear() == Frame::binary(vec![n as u8; SIZE]), "frame {n}");
            }
        }
        assert!(each < SLOW_PEER_MAX, "{each} bytes for one slow peer");
    });
}

#[test]
fn a_client_that_stops_reading_stops_the_node_and_loses_nothing() {
    hold_back(|(client, node)| (node, client));
}

#[test]
fn a_node_that_stops_reading_stops_the_client_and_loses_nothing() {
    hold_back(|(client, node)| (client, node));
}

#[test]
fn a_client_that_talks_before_its_101_is_held_back_and_loses_nothing() {
    const FRAMES: usize = 200;
    let town = Town::with(|config, _| {
        config.set("origins.upgrade_timeout", "60s");
        config.set("websocket.ping_interval", "off");
        config.set("gateway.workers", 1);
    });
    let origin = town.node(1);
    let said = AtomicUsize::new(0);
    let talk = |client: &mut Link| {
        for n in 0..FRAMES {
            client.say(Frame::binary(vec![n as u8; 60_000]));
            said.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let mut nodes = Vec::new();
        let mut memory = Vec::new();
        for sessions in [4, 8] {
            while nodes.len() < sessions {
                let (mut client, node, head) = town.asked(&origin, &Request::upgrade(&town.socket_target(1)));
                nodes.push((node, head));
                scope.spawn(move || {
                    talk(&mut client);
                    assert_eq!(client.read_response().status(), 101);
                });
            }
            assert!(wait_until_stuck(&said) < sessions * FRAMES, "never held back");
            memory.push(town.gateway.memory());
        }
        let each = memory[1].saturating_sub(memory[0]) / 4;
        for (node, head) in &mut nodes {
            node.agree_to(head, "");
            for n in 0..FRAMES {
                assert!(node.hear() == Frame::binary(vec![n as u8; 60_000]), "frame {n}");
            }
        }
        assert!(each < SLOW_PEER_MAX, "{each} bytes for one hasty client");
    });
}

#[test]
fn a_client_that_asks_and_never_reads_is_held_back() {
    const QUESTIONS: usize = 20_000;
    let town = Town::open();
    let mut client = town.client();
    assert_eq!(client.get("/nowhere").status(), 404);
    let before = town.gateway.memory();
    let questions = Request::get("/nowhere").bytes().repeat(QUESTIONS / 100);
    let asked = AtomicUsize::new(0);
    // It never listens, so it can be stopped only from outside.
    let tcp = client.tcp().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while client.try_send(&questions).is_ok() {
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert!(wait_until_stuck(&asked) < 1000, "never held back");
        let grown = town.gateway.memory().saturating_sub(before);
        tcp.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(grown < 6 << 20, "{grown} bytes for one client that never reads");
    });
}
