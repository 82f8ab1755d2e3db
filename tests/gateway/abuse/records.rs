//! Hostile records in sessions that stand: floods of what TLS permits, and what it does not, while the decent are served.

use crate::harness::flood::{Attack, BUSY_KIB, FloodBed, ScriptedNode, send_while, wait_until_ended};
use crate::harness::tls_records::{self, ALERT, APPLICATION_DATA, HANDSHAKE, HEARTBEAT, TlsRecords};
use crate::harness::{Frame, eventually};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

/// A siege whose second node hears everything and says nothing.
fn flood_with_silent_node() -> (FloodBed, ScriptedNode) {
    let flood = FloodBed::start(|_| {});
    let node = ScriptedNode::silent(flood.bed.workspace.node(2));
    (flood, node)
}

fn attack(name: &'static str, outcome: &'static str) -> Attack {
    // as many as it takes for others to wait for seconds, if a turn of the worker had no bound
    Attack { name, attackers: 4, each: BUSY_KIB, outcome }
}

/// Every attacker in a thread of its own.
fn all_at_once(attack: &Attack, attacker: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..attack.attackers {
            scope.spawn(&attacker);
        }
    });
}

/// Sends such records again and again; whether the gateway had enough of it.
fn send_batches(
    flood: &FloodBed,
    is_12: bool,
    batch: impl Fn(&mut TlsRecords) -> Vec<u8>,
    sent: &AtomicU64,
) -> bool {
    let config = if is_12 { tls_records::config_12() } else { tls_records::config() };
    let mut records = TlsRecords::take_over(flood.relay(&flood.attacker().with(config)));
    let began = Instant::now();
    let (bytes, ended) = send_while(
        || flood.is_running(began),
        || {
            let batch = batch(&mut records);
            records.tcp().write_all(&batch).map(|()| batch.len())
        },
    );
    sent.fetch_add(bytes, SeqCst);
    if ended {
        wait_until_ended(&[records.tcp().try_clone().unwrap()]);
    }
    ended
}

#[test]
fn requests_for_new_keys_in_floods_by_one_who_never_reads_are_held_back() {
    let (flood, _node) = flood_with_silent_node();
    // in a debug build one update takes as long as a hundred records
    let attack = Attack {
        attackers: 2,
        ..attack("KeyUpdates that ask for one, never reading (1.3)", "none; memory stays")
    };
    let updates = AtomicU64::new(0);
    flood.run(&attack, || {
        all_at_once(&attack, || {
            let mut client = flood.relay(&flood.attacker().with(tls_records::config()));
            let began = Instant::now();
            let (_, ended) = send_while(
                || flood.is_running(began),
                || {
                    // 32 without data between them end the session
                    (0..30).for_each(|_| client.renew_keys());
                    updates.fetch_add(30, SeqCst);
                    client.try_send(&Frame::text("x").masked([1, 2, 3, 4])).map(|()| 1)
                },
            );
            assert!(!ended, "it broke no rule");
        });
    });
    println!("{} updates", updates.load(SeqCst));
}

#[test]
fn new_keys_and_nothing_else_end_the_session() {
    let (flood, _node) = flood_with_silent_node();
    let attack = attack("KeyUpdates and nothing else (1.3)", "alert; `ends{by=\"client\",how=\"lost\"}`");
    flood.run(&attack, || {
        all_at_once(&attack, || {
            let mut client = flood.relay(&flood.attacker().with(tls_records::config()));
            let tcp = client.tcp().try_clone().unwrap();
            (0..40).for_each(|_| client.renew_keys());
            client.try_send(&Frame::text("x").masked([1, 2, 3, 4])).ok();
            wait_until_ended(&[tcp]);
        });
    });
    lost(&flood, attack.attackers);
}

/// So many attackers were lost, in the words of the metrics.
#[track_caller]
fn lost(flood: &FloodBed, attackers: usize) {
    let labels = [("by", "client"), ("how", "lost")];
    flood.bed.gateway.wait_for_metric("tidegate_ends_total", &labels, attackers as f64);
}

#[test]
fn records_of_nothing_without_end_end_the_session() {
    let (flood, _node) = flood_with_silent_node();
    for (n, is_12) in [false, true].into_iter().enumerate() {
        let name = if is_12 { "records of nothing (1.2)" } else { "records of nothing (1.3)" };
        let attack = attack(name, "alert; `ends{by=\"client\",how=\"lost\"}`");
        flood.run(&attack, || {
            all_at_once(&attack, || {
                let batch = |records: &mut TlsRecords| {
                    (0..100).flat_map(|_| records.seal(APPLICATION_DATA, b"")).collect()
                };
                assert!(send_batches(&flood, is_12, batch, &AtomicU64::new(0)), "nothing ended it");
            });
        });
        lost(&flood, (n + 1) * attack.attackers);
    }
}

#[test]
fn records_of_nothing_between_bytes_leave_room_for_others() {
    let (flood, _node) = flood_with_silent_node();
    let attack = attack("30 records of nothing for each byte (1.3)", "none; `frames{from=\"client\"}`");
    flood.run(&attack, || {
        all_at_once(&attack, || {
            let frame = Frame::binary([7; 4]).masked([1, 2, 3, 4]);
            let batch = |records: &mut TlsRecords| {
                let mut batch = Vec::new();
                for byte in std::iter::repeat_n(&frame, 3).flatten() {
                    (0..30).for_each(|_| batch.extend(records.seal(APPLICATION_DATA, b"")));
                    batch.extend(records.seal(APPLICATION_DATA, &[*byte]));
                }
                batch
            };
            assert!(!send_batches(&flood, false, batch, &AtomicU64::new(0)), "it broke no rule");
        });
    });
}

#[test]
fn frames_in_records_of_one_byte_leave_room_for_others() {
    let (flood, _node) = flood_with_silent_node();
    let attack = attack("each byte of a frame in a record (1.3)", "none; `frames{from=\"client\"}`");
    let sent = AtomicU64::new(0);
    flood.run(&attack, || {
        all_at_once(&attack, || {
            let frame = Frame::binary([7; 4]).masked([1, 2, 3, 4]);
            let batch = |records: &mut TlsRecords| {
                let bytes = std::iter::repeat_n(&frame, 100).flatten();
                bytes.flat_map(|byte| records.seal(APPLICATION_DATA, &[*byte])).collect()
            };
            assert!(!send_batches(&flood, false, batch, &sent), "it broke no rule");
        });
    });
    // ten bytes, 23 for each
    let frames = sent.load(SeqCst) as f64 / 230.0;
    eventually("all of them pass", || {
        flood.bed.gateway.metric("tidegate_frames_total", &[("from", "client")]) >= frames
    });
}

#[test]
fn what_tls_forbids_in_a_session_ends_it() {
    let hello = [&[1, 0, 0, 44, 3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0]].concat();
    let cases: [(&'static str, bool, u8, &[u8]); 5] = [
        ("warnings (1.2)", true, ALERT, &[1, 90]),
        ("renegotiation (1.2)", true, HANDSHAKE, &hello),
        ("a second hello (1.3)", false, HANDSHAKE, &hello),
        ("heartbeats (1.2)", true, HEARTBEAT, &[1, 0x40, 0]),
        ("heartbeats (1.3)", false, HEARTBEAT, &[1, 0x40, 0]),
    ];
    let (flood, _node) = flood_with_silent_node();
    for (n, (name, is_12, kind, content)) in cases.into_iter().enumerate() {
        let attack = attack(name, "alert; `ends{by=\"client\",how=\"lost\"}`");
        flood.run(&attack, || {
            all_at_once(&attack, || {
                let batch =
                    |records: &mut TlsRecords| (0..10).flat_map(|_| records.seal(kind, content)).collect();
                assert!(send_batches(&flood, is_12, batch, &AtomicU64::new(0)), "{name}: nothing ended it");
            });
        });
        lost(&flood, (n + 1) * attack.attackers);
    }
}

#[test]
fn a_client_may_ask_for_renegotiation_once_and_does_not_get_it() {
    let (flood, _node) = flood_with_silent_node();
    let hello = [&[1, 0, 0, 44, 3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0]].concat();
    let mut records = TlsRecords::take_over(flood.relay(&flood.attacker().with(tls_records::config_12())));
    records.write_record(HANDSHAKE, &hello);
    records.write_record(APPLICATION_DATA, &Frame::close(1000, "").masked([1, 2, 3, 4]));
    let labels = [("by", "client"), ("how", "close")];
    let before = flood.bed.gateway.metric("tidegate_ends_total", &labels);
    drop(flood.bed.relay(&flood.bed.node(3)));
    eventually("the Close behind it is read", || {
        flood.bed.gateway.metric("tidegate_ends_total", &labels) > before
    });
    let handshakes = [("version", "1.2")];
    assert_eq!(flood.bed.gateway.metric("tidegate_tls_handshakes_total", &handshakes), 1.0, "one, not two");
}
