//! Backpressure: a peer that does not read holds the other side back, without loss and with bounded memory.

use crate::harness::{Connection, Frame, Request, TestBed, eventually};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Waits until the count does not change for half a second, and returns it.
fn wait_until_stuck(count: &AtomicUsize) -> usize {
    let (mut last, mut since) = (usize::MAX, Instant::now());
    eventually("the writer is held back", || {
        let now = count.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    last
}

/// Average memory for a peer that does not read. It costs some buffers, but allocators take memory in steps of several
/// megabytes; without a bound it would cost everything that was sent, 12 MB and more.
const SLOW_PEER_MAX: u64 = 4 << 20;

/// Orders the two ends of a session as (writer, reader). The reader does not read.
type Pick = fn((Connection, Connection)) -> (Connection, Connection);

/// Checks that writers are held back with bounded memory, and that nothing they sent is lost.
#[track_caller]
fn assert_held_back(pick: Pick) {
    const FRAMES: usize = 400;
    const SIZE: usize = 48 << 10;
    // a peer that does not read does not answer pings either
    let bed = TestBed::with(|config, _| {
        config.set("websocket.ping_interval", "off");
        // with two workers, the later sessions might be the first ones of a worker and cost what it allocates once
        config.set("gateway.workers", 1);
    });
    let listener = bed.node(1);
    let sent = AtomicUsize::new(0);
    let write = |writer: &mut Connection| {
        for n in 0..FRAMES {
            writer.send_frame(Frame::binary(vec![n as u8; SIZE]));
            sent.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        let mut memory = Vec::new();
        // the first sessions also cost what each worker allocates once; what counts is what further ones add
        for sessions in [4, 8] {
            while readers.len() < sessions {
                let (mut writer, reader) = pick(bed.relay(&listener));
                readers.push(reader);
                scope.spawn(move || write(&mut writer));
            }
            assert!(wait_until_stuck(&sent) < sessions * FRAMES, "the writers were never held back");
            memory.push(bed.gateway.memory());
        }
        let each = memory[1].saturating_sub(memory[0]) / 4;
        for reader in &mut readers {
            for n in 0..FRAMES {
                assert!(reader.read_frame() == Frame::binary(vec![n as u8; SIZE]), "frame {n}");
            }
        }
        assert!(each < SLOW_PEER_MAX, "{each} bytes for one slow peer");
    });
}

#[test]
fn a_client_that_stops_reading_stops_the_node_and_loses_nothing() {
    assert_held_back(|(client, node)| (node, client));
}

#[test]
fn a_node_that_stops_reading_stops_the_client_and_loses_nothing() {
    assert_held_back(|(client, node)| (client, node));
}

#[test]
fn a_client_that_sends_before_its_101_is_held_back_and_loses_nothing() {
    const FRAMES: usize = 200;
    let bed = TestBed::with(|config, _| {
        config.set("origins.upgrade_timeout", "60s");
        config.set("websocket.ping_interval", "off");
        config.set("gateway.workers", 1);
    });
    let listener = bed.node(1);
    let sent = AtomicUsize::new(0);
    let write = |client: &mut Connection| {
        for n in 0..FRAMES {
            client.send_frame(Frame::binary(vec![n as u8; 60_000]));
            sent.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let mut nodes = Vec::new();
        let mut memory = Vec::new();
        for sessions in [4, 8] {
            while nodes.len() < sessions {
                let (mut client, node, head) =
                    bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
                nodes.push((node, head));
                scope.spawn(move || {
                    write(&mut client);
                    assert_eq!(client.read_response().status(), 101);
                });
            }
            assert!(wait_until_stuck(&sent) < sessions * FRAMES, "the clients were never held back");
            memory.push(bed.gateway.memory());
        }
        let each = memory[1].saturating_sub(memory[0]) / 4;
        for (node, head) in &mut nodes {
            node.answer_upgrade(head, "");
            for n in 0..FRAMES {
                assert!(node.read_frame() == Frame::binary(vec![n as u8; 60_000]), "frame {n}");
            }
        }
        assert!(each < SLOW_PEER_MAX, "{each} bytes for one client that sends early");
    });
}

#[test]
fn a_client_that_sends_requests_and_never_reads_is_held_back() {
    const QUESTIONS: usize = 20_000;
    let bed = TestBed::start();
    let mut client = bed.client();
    assert_eq!(client.get("/nowhere").status(), 404);
    let before = bed.gateway.memory();
    let questions = Request::get("/nowhere").bytes().repeat(QUESTIONS / 100);
    let asked = AtomicUsize::new(0);
    // the client never reads, so it can be stopped only from outside
    let tcp = client.tcp().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while client.try_send(&questions).is_ok() {
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert!(wait_until_stuck(&asked) < 1000, "the client was never held back");
        let grown = bed.gateway.memory().saturating_sub(before);
        tcp.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(grown < 6 << 20, "{grown} bytes for one client that never reads");
    });
}
