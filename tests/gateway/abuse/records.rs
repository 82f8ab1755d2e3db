//! Hostile records in sessions that stand: floods of what TLS permits, and what it does not, while the decent are served.

use crate::harness::flood::{Attack, BUSY, Crowd, Siege, all_over, pour};
use crate::harness::tls_records::{self, ALERT, APPLICATION_DATA, HANDSHAKE, HEARTBEAT, Records};
use crate::harness::{Frame, eventually};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

/// A siege whose second node hears everything and says nothing.
fn siege() -> (Siege, Crowd) {
    let siege = Siege::open(|_| {});
    let node = Crowd::that_listens(siege.town.place.node(2));
    (siege, node)
}

fn attack(name: &'static str, outcome: &'static str) -> Attack {
    // as many as it takes for others to wait for seconds, if a turn of the worker had no bound
    Attack { name, attackers: 4, each: BUSY, outcome }
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
fn flood(siege: &Siege, is_12: bool, batch: impl Fn(&mut Records) -> Vec<u8>, sent: &AtomicU64) -> bool {
    let config = if is_12 { tls_records::config_12() } else { tls_records::config() };
    let mut records = Records::take_over(siege.relay(&siege.door().with(config)));
    let began = Instant::now();
    let (bytes, ended) = pour(
        || siege.goes_on(began),
        || {
            let batch = batch(&mut records);
            records.tcp().write_all(&batch).map(|()| batch.len())
        },
    );
    sent.fetch_add(bytes, SeqCst);
    if ended {
        all_over(&[records.tcp().try_clone().unwrap()]);
    }
    ended
}

#[test]
fn requests_for_new_keys_in_floods_by_one_who_never_reads_are_held_back() {
    let (siege, _node) = siege();
    // in a debug build one update takes as long as a hundred records
    let attack = Attack {
        attackers: 2,
        ..attack("KeyUpdates that ask for one, never reading (1.3)", "none; memory stays")
    };
    let updates = AtomicU64::new(0);
    siege.endure(&attack, || {
        all_at_once(&attack, || {
            let mut client = siege.relay(&siege.door().with(tls_records::config()));
            let began = Instant::now();
            let (_, ended) = pour(
                || siege.goes_on(began),
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
    let (siege, _node) = siege();
    let attack = attack("KeyUpdates and nothing else (1.3)", "alert; `ends{by=\"client\",how=\"lost\"}`");
    siege.endure(&attack, || {
        all_at_once(&attack, || {
            let mut client = siege.relay(&siege.door().with(tls_records::config()));
            let tcp = client.tcp().try_clone().unwrap();
            (0..40).for_each(|_| client.renew_keys());
            client.try_send(&Frame::text("x").masked([1, 2, 3, 4])).ok();
            all_over(&[tcp]);
        });
    });
    lost(&siege, attack.attackers);
}

/// So many attackers were lost, in the words of the metrics.
#[track_caller]
fn lost(siege: &Siege, attackers: usize) {
    let labels = [("by", "client"), ("how", "lost")];
    siege.town.gateway.wait_for_metric("tidegate_ends_total", &labels, attackers as f64);
}

#[test]
fn records_of_nothing_without_end_end_the_session() {
    let (siege, _node) = siege();
    for (n, is_12) in [false, true].into_iter().enumerate() {
        let name = if is_12 { "records of nothing (1.2)" } else { "records of nothing (1.3)" };
        let attack = attack(name, "alert; `ends{by=\"client\",how=\"lost\"}`");
        siege.endure(&attack, || {
            all_at_once(&attack, || {
                let batch = |records: &mut Records| {
                    (0..100).flat_map(|_| records.seal(APPLICATION_DATA, b"")).collect()
                };
                assert!(flood(&siege, is_12, batch, &AtomicU64::new(0)), "nothing ended it");
            });
        });
        lost(&siege, (n + 1) * attack.attackers);
    }
}

#[test]
fn records_of_nothing_between_bytes_leave_room_for_others() {
    let (siege, _node) = siege();
    let attack = attack("30 records of nothing for each byte (1.3)", "none; `frames{from=\"client\"}`");
    siege.endure(&attack, || {
        all_at_once(&attack, || {
            let frame = Frame::binary([7; 4]).masked([1, 2, 3, 4]);
            let batch = |records: &mut Records| {
                let mut batch = Vec::new();
                for byte in std::iter::repeat_n(&frame, 3).flatten() {
                    (0..30).for_each(|_| batch.extend(records.seal(APPLICATION_DATA, b"")));
                    batch.extend(records.seal(APPLICATION_DATA, &[*byte]));
                }
                batch
            };
            assert!(!flood(&siege, false, batch, &AtomicU64::new(0)), "it broke no rule");
        });
    });
}

#[test]
fn frames_in_records_of_one_byte_leave_room_for_others() {
    let (siege, _node) = siege();
    let attack = attack("each byte of a frame in a record (1.3)", "none; `frames{from=\"client\"}`");
    let sent = AtomicU64::new(0);
    siege.endure(&attack, || {
        all_at_once(&attack, || {
            let frame = Frame::binary([7; 4]).masked([1, 2, 3, 4]);
            let batch = |records: &mut Records| {
                let bytes = std::iter::repeat_n(&frame, 100).flatten();
                bytes.flat_map(|byte| records.seal(APPLICATION_DATA, &[*byte])).collect()
            };
            assert!(!flood(&siege, false, batch, &sent), "it broke no rule");
        });
    });
    // ten bytes, 23 for each
    let frames = sent.load(SeqCst) as f64 / 230.0;
    eventually("all of them pass", || {
        siege.town.gateway.metric("tidegate_frames_total", &[("from", "client")]) >= frames
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
    let (siege, _node) = siege();
    for (n, (name, is_12, kind, content)) in cases.into_iter().enumerate() {
        let attack = attack(name, "alert; `ends{by=\"client\",how=\"lost\"}`");
        siege.endure(&attack, || {
            all_at_once(&attack, || {
                let batch =
                    |records: &mut Records| (0..10).flat_map(|_| records.seal(kind, content)).collect();
                assert!(flood(&siege, is_12, batch, &AtomicU64::new(0)), "{name}: nothing ended it");
            });
        });
        lost(&siege, (n + 1) * attack.attackers);
    }
}

#[test]
fn a_client_may_ask_for_renegotiation_once_and_does_not_get_it() {
    let (siege, _node) = siege();
    let hello = [&[1, 0, 0, 44, 3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0]].concat();
    let mut records = Records::take_over(siege.relay(&siege.door().with(tls_records::config_12())));
    records.write_record(HANDSHAKE, &hello);
    records.write_record(APPLICATION_DATA, &Frame::close(1000, "").masked([1, 2, 3, 4]));
    let labels = [("by", "client"), ("how", "close")];
    let before = siege.town.gateway.metric("tidegate_ends_total", &labels);
    drop(siege.town.relay(&siege.town.node(3)));
    eventually("the Close behind it is read", || {
        siege.town.gateway.metric("tidegate_ends_total", &labels) > before
    });
    let handshakes = [("version", "1.2")];
    assert_eq!(siege.town.gateway.metric("tidegate_tls_handshakes_total", &handshakes), 1.0, "one, not two");
}
