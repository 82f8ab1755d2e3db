//! Hostile sessions: floods of the smallest frames, peers that never read, and closes without an end of the connection.
//! Regular clients are served meanwhile.

use crate::harness::flood::{
    Attack, BUSY_KIB, FloodBed, ScriptedNode, discard_input, flood_duration, send_while, size,
    wait_until_ended,
};
use crate::harness::{Connection, Frame, eventually};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Allowed time between a deadline and its effect: the gateway checks four times a second, and two cores are busy.
const TOLERANCE: Duration = Duration::from_secs(3);

/// Number of frames in one write.
const BATCH: usize = 1000;

/// A batch of the same frame, masked as by a client or unmasked as by a node.
fn batch(frame: &Frame, masked: bool) -> Vec<u8> {
    let bytes = if masked { frame.masked([1, 2, 3, 4]) } else { frame.bare() };
    bytes.repeat(BATCH)
}

/// Runs every attacker on a thread of its own.
fn all_at_once(attack: &Attack, attacker: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..attack.attackers {
            scope.spawn(&attacker);
        }
    });
}

/// Number of frames that the gateway has forwarded from this side.
fn passed(flood: &FloodBed, from: &str) -> f64 {
    flood.bed.gateway.metric("tidegate_frames_total", &[("from", from)])
}

#[test]
fn floods_of_the_smallest_client_frames_do_not_starve_other_sessions() {
    let piece = Frame::new(Frame::CONTINUATION, "").unfinished();
    let floods: [(&'static str, Option<Frame>, Frame); 5] = [
        ("frames of one byte", None, Frame::binary([7])),
        ("empty frames", None, Frame::binary([])),
        ("a message in empty fragments", Some(Frame::text("").unfinished()), piece),
        ("pings of clients", None, Frame::ping("")),
        ("pongs of clients", None, Frame::pong("")),
    ];
    let flood = FloodBed::start(|_| {});
    let _node = ScriptedNode::silent(flood.bed.workspace.node(2));
    for (name, first, frame) in floods {
        let outcome = "none; `frames{from=\"client\"}`";
        let attack = Attack { name, attackers: size(2, 4), kib_each: BUSY_KIB, outcome };
        let before = passed(&flood, "client");
        flood.run(&attack, || {
            all_at_once(&attack, || {
                let mut client = flood.relay(&flood.attacker());
                first.iter().for_each(|frame| client.send_frame(frame.clone()));
                let batch = batch(&frame, true);
                let began = Instant::now();
                let (sent, ended) =
                    send_while(|| flood.is_running(began), || client.try_send(&batch).map(|()| BATCH));
                assert!(sent > 0 && !ended, "the gateway ended a session that broke no rule");
            });
        });
        let frames = passed(&flood, "client") - before;
        println!("{frames} frames");
        assert!(frames > BATCH as f64, "{name}: {frames} frames");
    }
}

#[test]
fn floods_of_the_smallest_node_frames_do_not_starve_other_sessions() {
    let flood = FloodBed::start(|_| {});
    for (name, frame) in [("pings of nodes", Frame::ping("")), ("pongs of nodes", Frame::pong(""))] {
        let batch = batch(&frame, false);
        let _node = ScriptedNode::listen(flood.bed.workspace.node(2), move |mut node| {
            let began = Instant::now();
            send_while(|| began.elapsed() < 2 * flood_duration(), || node.try_send(&batch).map(|()| BATCH));
        });
        let outcome = "none; `frames{from=\"origin\"}`";
        let attack = Attack { name, attackers: size(2, 4), kib_each: BUSY_KIB, outcome };
        let before = passed(&flood, "origin");
        flood.run(&attack, || {
            // the node ends the session when its flood is over
            all_at_once(&attack, || drop(discard_input(flood.relay(&flood.attacker()).tcp())));
        });
        let frames = passed(&flood, "origin") - before;
        println!("{frames} frames");
        assert!(frames > BATCH as f64, "{name}: {frames} frames");
    }
}

/// A flood bed whose gateway soon ends silent sessions.
fn with_short_timeouts() -> FloodBed {
    FloodBed::start(|config| {
        // longer than a regular client stays silent while it waits for its own turn
        config.set("websocket.ping_interval", "700ms");
        config.set("websocket.pong_timeout", "700ms");
        config.set("websocket.close_timeout", "500ms");
    })
}

#[test]
fn clients_that_never_read_are_ended_in_time() {
    let flood = with_short_timeouts();
    let frame = Frame::binary(vec![7; 16_000]).bare();
    let _node = ScriptedNode::listen(
        flood.bed.workspace.node(2),
        move |mut node| while node.try_send(&frame).is_ok() {},
    );
    let attackers = size(20, 200);
    let outcome = "silent; `ends{by=\"gateway\",how=\"silent\"}`, or `{by=\"client\",how=\"lost\"}`";
    // half a megabyte that arrived at once, and the allocator's overhead
    let attack =
        Attack { name: "clients never read, a node sends without pause", attackers, kib_each: 1024, outcome };
    let began = Instant::now();
    flood.run(&attack, || {
        let connections: Vec<Connection> = (0..attackers).map(|_| flood.relay(&flood.attacker())).collect();
        ended(&flood, connections);
    });
    let making = Duration::from_millis(50 * attackers as u64);
    assert!(began.elapsed() < Duration::from_millis(1900) + TOLERANCE + making, "{:?}", began.elapsed());
    // ended by the worker's own check, or by the kernel's: nothing was acknowledged for that time
    let of = |by, how| flood.bed.gateway.metric("tidegate_ends_total", &[("by", by), ("how", how)]);
    let ended = || of("gateway", "silent") + of("client", "lost") + of("client", "torn");
    eventually("all sessions are counted", || ended() == attackers as f64);
}

/// Bytes that the gateway keeps for each peer that never reads: one piece of 64 KiB, as TLS records.
const PIECE_KEPT: usize = 66 << 10;

/// Bytes that the gateway keeps in large pieces for peers that read and then stop: 4 MiB, and the piece that goes over it.
const LARGE_KEPT: usize = (4 << 20) + (600 << 10);

/// Starts a gateway of one worker that waits for silent peers as long as they like.
fn patient_bed() -> FloodBed {
    FloodBed::start(|config| {
        config.set("gateway.workers", 1);
        config.set("websocket.ping_interval", "off");
    })
}

/// How many bytes the gateway keeps for peers that do not read, once that does not change any more.
fn kept_at_last(flood: &FloodBed) -> usize {
    let kept = || flood.bed.gateway.metric("tidegate_worker_buffers_lent_bytes", &[]) as usize;
    let (mut last, mut since) = (0, Instant::now());
    eventually("nothing moves any more", || {
        let now = kept();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        last > 0 && since.elapsed() > Duration::from_millis(700)
    });
    last
}

#[test]
fn a_client_that_never_reads_costs_one_small_piece() {
    const CLIENTS: usize = 16;
    let flood = patient_bed();
    let frame = Frame::binary(vec![7; 16_000]).bare().repeat(8);
    let _node = ScriptedNode::listen(
        flood.bed.workspace.node(2),
        move |mut node| while node.try_send(&frame).is_ok() {},
    );
    let never_read: Vec<Connection> = (0..CLIENTS).map(|_| flood.relay(&flood.attacker())).collect();
    let kept = kept_at_last(&flood);
    assert!(kept <= CLIENTS * PIECE_KEPT, "{} bytes for each client that never reads", kept / CLIENTS);
    drop(never_read);
    // these read four megabytes first, so that they are sent large pieces
    let stopped: Vec<Connection> = (0..CLIENTS)
        .map(|_| {
            let mut client = flood.relay(&flood.attacker());
            (0..250).for_each(|_| drop(client.read_frame()));
            client
        })
        .collect();
    let kept = kept_at_last(&flood);
    assert!(kept <= CLIENTS * PIECE_KEPT + LARGE_KEPT, "{kept} bytes for clients that stop reading");
    drop(stopped);
}

#[test]
fn a_node_that_never_reads_costs_one_small_piece() {
    const CLIENTS: usize = 8;
    let flood = patient_bed();
    let (hold, held) = std::sync::mpsc::channel();
    let _node = ScriptedNode::listen(flood.bed.workspace.node(2), move |node| drop(hold.send(node)));
    let frame = Frame::binary(vec![7; 16_000]).masked([1, 2, 3, 4]).repeat(8);
    let clients: Vec<Connection> = (0..CLIENTS).map(|_| flood.relay(&flood.attacker())).collect();
    let tcps: Vec<TcpStream> = clients.iter().map(|client| client.tcp().try_clone().unwrap()).collect();
    std::thread::scope(|scope| {
        for mut client in clients {
            client.tcp().set_write_timeout(Some(Duration::from_secs(20))).unwrap();
            let frame = &frame;
            scope.spawn(move || while client.try_send(frame).is_ok() {});
        }
        let kept = kept_at_last(&flood);
        tcps.iter().for_each(|tcp| drop(tcp.shutdown(std::net::Shutdown::Both)));
        assert!(kept <= CLIENTS * PIECE_KEPT, "{} bytes for each node that never reads", kept / CLIENTS);
    });
    drop(held);
}

/// Waits until only the sessions of regular clients are left. The attackers keep their connections open until then.
fn ended(flood: &FloodBed, connections: Vec<Connection>) {
    eventually("the gateway ends the sessions", || {
        // regular clients hold one long session and one short one at a time
        flood.bed.gateway.metric("tidegate_worker_sessions", &[]) <= 2.0
    });
    drop(connections);
}

#[test]
fn nodes_that_never_read_are_ended_in_time() {
    let flood = with_short_timeouts();
    let (hold, held) = std::sync::mpsc::channel();
    let _node = ScriptedNode::listen(flood.bed.workspace.node(2), move |node| drop(hold.send(node)));
    let attackers = size(10, 100);
    let outcome = "ended; `ends{by=\"origin\",how=\"lost\"}`";
    let attack = Attack {
        name: "a node never reads, clients send without pause",
        attackers,
        kib_each: BUSY_KIB,
        outcome,
    };
    let began = Instant::now();
    flood.run(&attack, || {
        let frame = Frame::binary(vec![7; 16_000]).masked([1, 2, 3, 4]);
        all_at_once(&attack, || {
            let mut client = flood.relay(&flood.attacker());
            client.tcp().set_write_timeout(Some(Duration::from_secs(20))).unwrap();
            while client.try_send(&frame).is_ok() {}
        });
    });
    let making = Duration::from_millis(100 * attackers as u64);
    assert!(began.elapsed() < Duration::from_millis(1900) + TOLERANCE + making, "{:?}", began.elapsed());
    let labels = [("by", "origin"), ("how", "lost")];
    flood.bed.gateway.wait_for_metric("tidegate_ends_total", &labels, attackers as f64);
    drop(held);
}

#[test]
fn a_close_without_an_end_of_the_connection_ends_after_the_close_timeout() {
    let flood = with_short_timeouts();
    let _node = ScriptedNode::listen(flood.bed.workspace.node(2), |mut node| {
        let close = node.read_frame();
        node.send_frame(close);
        discard_input(node.tcp()).ok();
    });
    let attackers = size(40, 400);
    let outcome = "`close_timeout`; `ends{by=\"client\",how=\"close\"}`";
    let attack = Attack { name: "Close, and the connection stays open", attackers, kib_each: 64, outcome };
    let labels = [("by", "client"), ("how", "close")];
    let took = flood.run(&attack, || {
        let said = |_| {
            let mut client = flood.relay(&flood.attacker());
            client.send_frame(Frame::close(1000, "bye"));
            client.tcp().try_clone().map(|tcp| (client, tcp)).unwrap()
        };
        let (connections, tcps): (Vec<Connection>, Vec<TcpStream>) = (0..attackers).map(said).unzip();
        let took = wait_until_ended(&tcps);
        ended(&flood, connections);
        took
    });
    assert!(took < Duration::from_millis(500) + TOLERANCE, "{took:?}");
    assert!(flood.bed.gateway.metric("tidegate_ends_total", &labels) >= attackers as f64);
    for how in ["lost", "torn", "silent"] {
        assert_eq!(flood.bed.gateway.metric("tidegate_ends_total", &[("how", how)]), 0.0, "{how}");
    }
}
