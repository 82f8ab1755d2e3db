//! Hostile TLS records in open sessions: floods of what TLS permits, and records that it forbids. Regular clients are
//! served meanwhile.

use crate::harness::flood::{Attack, BUSY_KIB, FloodBed, ScriptedNode, send_while, wait_until_ended};
use crate::harness::tls_records::{self, ALERT, APPLICATION_DATA, HANDSHAKE, HEARTBEAT, TlsRecords};
use crate::harness::{Frame, eventually};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

/// A flood bed whose second node reads everything and sends nothing.
fn flood_with_silent_node() -> (FloodBed, ScriptedNode) {
    let flood = FloodBed::start(|_| {});
    let node = ScriptedNode::silent(flood.bed.workspace.node(2));
    (flood, node)
}

fn attack(name: &'static str, outcome: &'static str) -> Attack {
    // enough attackers to make other clients wait for seconds, if a turn of the worker had no bound
    Attack { name, attackers: 4, kib_each: BUSY_KIB, outcome }
}

/// Runs every attacker on a thread of its own.
fn all_at_once(attack: &Attack, attacker: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..attack.attackers {
            scope.spawn(&attacker);
        }
    });
}

/// Sends batches of records until the flood is over. Returns whether the gateway ended the session.
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
fn key_update_floods_from_a_client_that_never_reads_are_held_back() {
    let (flood, _node) = flood_with_silent_node();
    // in a debug build one update takes as long as a hundred records
    let attack = Attack {
        attackers: 2,
        ..attack("KeyUpdates that request one, never reading (1.3)", "none; memory stays constant")
    };
    let updates = AtomicU64::new(0);
    flood.run(&attack, || {
        all_at_once(&attack, || {
            let mut client = flood.relay(&flood.attacker().with(tls_records::config()));
            let began = Instant::now();
            let (_, ended) = send_while(
                || flood.is_running(began),
                || {
                    // 32 updates without data between them end the session
                    (0..30).for_each(|_| client.renew_keys());
                    updates.fetch_add(30, SeqCst);
                    client.try_send(&Frame::text("x").masked([1, 2, 3, 4])).map(|()| 1)
                },
            );
            assert!(!ended, "the gateway ended a session that broke no rule");
        });
    });
    println!("{} updates", updates.load(SeqCst));
}

#[test]
fn key_updates_without_data_end_the_session() {
    let (flood, _node) = flood_with_silent_node();
    let attack = attack("KeyUpdates without data (1.3)", "alert; `ends{by=\"client\",how=\"lost\"}`");
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

/// Waits until the metrics count this many attackers as lost.
#[track_caller]
fn lost(flood: &FloodBed, attackers: usize) {
    let labels = [("by", "client"), ("how", "lost")];
    flood.bed.gateway.wait_for_metric("tidegate_ends_total", &labels, attackers as f64);
}

#[test]
fn endless_empty_records_end_the_session() {
    let (flood, _node) = flood_with_silent_node();
    for (n, is_12) in [false, true].into_iter().enumerate() {
        let name = if is_12 { "empty records (1.2)" } else { "empty records (1.3)" };
        let attack = attack(name, "alert; `ends{by=\"client\",how=\"lost\"}`");
        flood.run(&attack, || {
            all_at_once(&attack, || {
                let batch = |records: &mut TlsRecords| {
                    (0..100).flat_map(|_| records.seal(APPLICATION_DATA, b"")).collect()
                };
                assert!(
                    send_batches(&flood, is_12, batch, &AtomicU64::new(0)),
                    "the gateway did not end the session"
                );
            });
        });
        lost(&flood, (n + 1) * attack.attackers);
    }
}

#[test]
fn empty_records_between_bytes_do_not_starve_other_sessions() {
    let (flood, _node) = flood_with_silent_node();
    let attack = attack("30 empty records for each byte (1.3)", "none; `frames{from=\"client\"}`");
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
            assert!(
                !send_batches(&flood, false, batch, &AtomicU64::new(0)),
                "the gateway ended a session that broke no rule"
            );
        });
    });
}

#[test]
fn frames_in_records_of_one_byte_do_not_starve_other_sessions() {
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
            assert!(
                !send_batches(&flood, false, batch, &sent),
                "the gateway ended a session that broke no rule"
            );
        });
    });
    // a frame has ten bytes, and each byte takes a record of 23 bytes
    let frames = sent.load(SeqCst) as f64 / 230.0;
    eventually("all frames are forwarded", || {
        flood.bed.gateway.metric("tidegate_frames_total", &[("from", "client")]) >= frames
    });
}

#[test]
fn records_that_tls_forbids_in_a_session_end_it() {
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
                assert!(
                    send_batches(&flood, is_12, batch, &AtomicU64::new(0)),
                    "{name}: the gateway did not end the session"
                );
            });
        });
        lost(&flood, (n + 1) * attack.attackers);
    }
}

#[test]
fn one_request_for_renegotiation_is_declined_and_the_session_goes_on() {
    let (flood, _node) = flood_with_silent_node();
    let hello = [&[1, 0, 0, 44, 3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0]].concat();
    let mut records = TlsRecords::take_over(flood.relay(&flood.attacker().with(tls_records::config_12())));
    records.write_record(HANDSHAKE, &hello);
    records.write_record(APPLICATION_DATA, &Frame::close(1000, "").masked([1, 2, 3, 4]));
    let labels = [("by", "client"), ("how", "close")];
    let before = flood.bed.gateway.metric("tidegate_ends_total", &labels);
    drop(flood.bed.relay(&flood.bed.node(3)));
    eventually("the Close after it is read", || {
        flood.bed.gateway.metric("tidegate_ends_total", &labels) > before
    });
    let handshakes = [("version", "1.2")];
    assert_eq!(
        flood.bed.gateway.metric("tidegate_tls_handshakes_total", &handshakes),
        1.0,
        "one handshake, not two"
    );
}
