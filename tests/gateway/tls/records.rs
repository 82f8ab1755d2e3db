//! TLS records in open sessions: key updates, truncated streams, and records that no regular client sends.

use super::connection;
use crate::harness::client::config;
use crate::harness::tls_records::{self, APPLICATION_DATA, HANDSHAKE, TlsRecords};
use crate::harness::{Connection, Frame, NodeListener, TestBed};
use std::sync::Arc;

#[test]
fn a_client_may_renew_its_keys_in_mid_session() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let mut client = connection(
        bed.client_builder().with(Arc::new(config(&[&rustls::version::TLS13]))).connect_tls_stream(),
    );
    let mut node = bed.open_websocket(&mut client, &listener);
    for n in 0..10 {
        client.renew_keys();
        client.send_frame(Frame::text(&format!("to node {n}")));
        assert_eq!(node.read_frame(), Frame::text(&format!("to node {n}")));
        node.send_frame(Frame::text(&format!("to client {n}")));
        assert_eq!(client.read_frame(), Frame::text(&format!("to client {n}")));
    }
}

#[test]
fn a_tls_stream_without_close_notify_is_a_lost_client() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (client, mut node) = bed.relay(&listener);
    // FIN without close_notify
    drop(client);
    assert_eq!(node.read_close().0, Some(1001));
    node.expect_end();
    bed.gateway.wait_for_metric("tidegate_ends_total", &[("by", "client"), ("how", "lost")], 1.0);
}

/// Checks that another session relays, and that the gateway is healthy.
#[track_caller]
fn check_other_sessions(bed: &mut TestBed, listener: &NodeListener) {
    let (mut client, mut node) = bed.relay(listener);
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
    bed.gateway.assert_healthy();
}

/// A test bed with one worker, and an open session on it whose TLS records the test writes.
fn raw_session() -> (TestBed, NodeListener, TlsRecords, Connection) {
    let bed = TestBed::with(|config, _| config.set("gateway.workers", 1));
    let listener = bed.node(1);
    let mut client = connection(bed.client_builder().with(tls_records::config()).connect_tls_stream());
    let node = bed.open_websocket(&mut client, &listener);
    (bed, listener, TlsRecords::take_over(client), node)
}

/// A KeyUpdate that does not request one (RFC 8446, 4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

#[test]
fn records_written_by_hand_are_understood() {
    let (_bed, _listener, mut records, mut node) = raw_session();
    records.write_record(APPLICATION_DATA, &Frame::text("by hand").masked([1, 2, 3, 4]));
    assert_eq!(node.read_frame(), Frame::text("by hand"));
    node.send_frame(Frame::text("heard"));
    assert_eq!(records.read_record(), (APPLICATION_DATA, Frame::text("heard").bare()));
}

#[test]
fn a_partial_key_update_disturbs_no_session() {
    for part in 1..KEY_UPDATE.len() {
        let (mut bed, listener, mut records, mut node) = raw_session();
        records.write_record(HANDSHAKE, &KEY_UPDATE[..part]);
        // the gateway has to write while half a message is waiting: a careless call makes rustls panic here
        node.send_frame(Frame::text("meanwhile"));
        assert_eq!(records.read_record(), (APPLICATION_DATA, Frame::text("meanwhile").bare()));
        records.write_record(HANDSHAKE, &KEY_UPDATE[part..]);
        node.send_frame(Frame::text("afterwards"));
        assert_eq!(records.read_record(), (APPLICATION_DATA, Frame::text("afterwards").bare()));
        check_other_sessions(&mut bed, &listener);
    }
}

#[test]
fn a_long_message_after_the_handshake_is_not_collected() {
    let (mut bed, listener, mut records, mut node) = raw_session();
    // it claims to be of 64 KiB, which rustls would wait for
    records.write_record(HANDSHAKE, &[&[24, 0, 0xff, 0xff], [0; 16_000].as_slice()].concat());
    records.write_record(HANDSHAKE, &[0; 16_000]);
    node.read_to_end();
    check_other_sessions(&mut bed, &listener);
}

#[test]
fn records_that_break_tls_end_only_their_own_session() {
    let cases: [(&str, u8, &[u8]); 5] = [
        ("an unknown handshake message", HANDSHAKE, &[99, 0, 0, 0]),
        ("a second hello", HANDSHAKE, &[1, 0, 0, 1, 0]),
        ("a KeyUpdate of the wrong size", HANDSHAKE, &[24, 0, 0, 2, 0, 0]),
        ("an unknown content type", 99, b"x"),
        ("a fatal alert", 21, &[2, 40]),
    ];
    for (name, kind, content) in cases {
        eprintln!("record with {name}");
        let (mut bed, listener, mut records, mut node) = raw_session();
        records.write_record(kind, content);
        node.read_to_end();
        check_other_sessions(&mut bed, &listener);
    }
}

#[test]
fn empty_records_are_ignored() {
    let (_bed, _listener, mut records, mut node) = raw_session();
    for byte in Frame::text("slowly").masked([1, 2, 3, 4]) {
        records.write_record(APPLICATION_DATA, b"");
        records.write_record(APPLICATION_DATA, &[byte]);
    }
    assert_eq!(node.read_frame(), Frame::text("slowly"));
}
