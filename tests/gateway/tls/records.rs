//! TLS records in open sessions: key updates, truncated streams, and records that no regular client sends.

use super::link;
use crate::harness::client::config;
use crate::harness::tls_records::{self, APPLICATION_DATA, HANDSHAKE, Records};
use crate::harness::{Frame, Link, Origin, Town};
use std::sync::Arc;

#[test]
fn a_client_may_renew_its_keys_in_mid_session() {
    let town = Town::open();
    let origin = town.node(1);
    let mut client = link(town.door().with(Arc::new(config(&[&rustls::version::TLS13]))).enter_tls());
    let mut node = town.upgrade(&mut client, &origin);
    for n in 0..10 {
        client.renew_keys();
        client.say(Frame::text(&format!("to node {n}")));
        assert_eq!(node.hear(), Frame::text(&format!("to node {n}")));
        node.say(Frame::text(&format!("to client {n}")));
        assert_eq!(client.hear(), Frame::text(&format!("to client {n}")));
    }
}

#[test]
fn a_cut_tls_stream_is_a_lost_client() {
    let town = Town::open();
    let origin = town.node(1);
    let (client, mut node) = town.relay(&origin);
    // FIN without close_notify.
    drop(client);
    assert_eq!(node.hear_close().0, Some(1001));
    node.ended();
    town.gateway.wait_for_metric("tidegate_ends_total", &[("by", "client"), ("how", "lost")], 1.0);
}

/// A town with one worker, and an open session on it whose TLS records are ours to write.
fn raw_session() -> (Town, Origin, Records, Link) {
    let town = Town::with(|config, _| config.set("gateway.workers", 1));
    let origin = town.node(1);
    let mut client = link(town.door().with(tls_records::config()).enter_tls());
    let node = town.upgrade(&mut client, &origin);
    (town, origin, Records::take_over(client), node)
}

/// KeyUpdate, not asking for one back (RFC 8446, 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

#[test]
fn records_by_hand_are_understood() {
    let (_town, _origin, mut records, mut node) = raw_session();
    records.write_record(APPLICATION_DATA, &Frame::text("by hand").masked([1, 2, 3, 4]));
    assert_eq!(node.hear(), Frame::text("by hand"));
    node.say(Frame::text("heard"));
    assert_eq!(records.read_record(), (APPLICATION_DATA, Frame::text("heard").bare()));
}

#[test]
fn a_part_of_a_key_update_harms_nobody() {
    for part in 1..KEY_UPDATE.len() {
        let (mut town, origin, mut records, mut node) = raw_session();
        records.write_record(HANDSHAKE, &KEY_UPDATE[..part]);
        // The gateway has to write while half a message is waiting: here rustls panics if it is asked carelessly.
        node.say(Frame::text("meanwhile"));
        assert_eq!(records.read_record(), (APPLICATION_DATA, Frame::text("meanwhile").bare()));
        records.write_record(HANDSHAKE, &KEY_UPDATE[part..]);
        node.say(Frame::text("afterwards"));
        assert_eq!(records.read_record(), (APPLICATION_DATA, Frame::text("afterwards").bare()));
        let (mut client, mut other) = town.relay(&origin);
        client.say(Frame::text("still here"));
        assert_eq!(other.hear(), Frame::text("still here"));
        town.gateway.assert_sound();
    }
}

#[test]
fn records_that_break_tls_end_only_their_own_session() {
    let cases: [(&str, u8, &[u8]); 5] = [
        ("an unknown handshake message", HANDSHAKE, &[99, 0, 0, 0]),
        ("a second hello", HANDSHAKE, &[1, 0, 0, 1, 0]),
        ("a key update of the wrong size", HANDSHAKE, &[24, 0, 0, 2, 0, 0]),
        ("an unknown content type", 99, b"x"),
        ("a fatal alert", 21, &[2, 40]),
    ];
    for (name, kind, content) in cases {
        eprintln!("record with {name}");
        let (mut town, origin, mut records, mut node) = raw_session();
        records.write_record(kind, content);
        node.rest();
        let (mut client, mut other) = town.relay(&origin);
        client.say(Frame::text("still here"));
        assert_eq!(other.hear(), Frame::text("still here"));
        town.gateway.assert_sound();
    }
}

#[test]
fn empty_records_are_nothing() {
    let (_town, _origin, mut records, mut node) = raw_session();
    for byte in Frame::text("slowly").masked([1, 2, 3, 4]) {
        records.write_record(APPLICATION_DATA, b"");
        records.write_record(APPLICATION_DATA, &[byte]);
    }
    assert_eq!(node.hear(), Frame::text("slowly"));
}
