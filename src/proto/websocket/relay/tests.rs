//! Each row of the table "after the 101" as a transcript: an event, and what each side gets.

use super::*;
use crate::proto::millis::Millis;
use crate::proto::websocket::frame::Side;

const RULES: RelayRules = crate::oracles::relay::RULES;
const TEXT: &[u8] = b"\x81\x02hi";
const MASKED_TEXT: &[u8] = b"\x81\x82\0\0\0\0hi";

/// What of these bytes goes to the other side.
fn pass(relay: &mut Relay, from: Side, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let scan = relay.scan(from, rest, 0);
        out.extend_from_slice(scan.held.as_slice());
        out.extend_from_slice(&rest[scan.forward.clone()]);
        rest = &rest[scan.used..];
    }
    out
}

/// The frame that the gateway inserts towards `to`; empty if there is none.
fn inserted(relay: &mut Relay, to: Side, now: Millis) -> Vec<u8> {
    let mut out = Vec::new();
    relay.insert(to, "id", [0; 4], now, &mut out);
    out
}

/// Code and reason of a Close frame of the gateway; the mask of the tests is zero.
fn close_of(frame: &[u8]) -> (u16, String) {
    assert_eq!(frame.first(), Some(&0x88), "a Close: {frame:?}");
    let payload = if frame[1] & 0x80 == 0 { &frame[2..] } else { &frame[6..] };
    (u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8_lossy(&payload[2..]).into_owned())
}

#[test]
fn a_close_is_forwarded_byte_for_byte_and_nothing_after_it() {
    let mut relay = Relay::new(&RULES, 0);
    let close = b"\x88\x80\x01\x02\x03\x04";
    let sent = [MASKED_TEXT, close, MASKED_TEXT].concat();
    assert_eq!(pass(&mut relay, Side::Client, &sent), [MASKED_TEXT, close].concat());
    assert!(inserted(&mut relay, Side::Node, 0).is_empty(), "exactly one Close");
    assert!(!relay.may_finish(Side::Node), "its answer is waited for");
    assert_eq!(pass(&mut relay, Side::Node, b"\x88\x00"), b"\x88\x00");
    assert!(relay.may_finish(Side::Node) && relay.may_finish(Side::Client));
    assert_eq!(relay.end(), Some(End { by: By::Client, how: How::Close }));
}

#[test]
fn a_node_lost_at_a_boundary_becomes_a_close_1014() {
    let mut relay = Relay::new(&RULES, 0);
    pass(&mut relay, Side::Node, TEXT);
    relay.eof(Side::Node, 0);
    assert_eq!(close_of(&inserted(&mut relay, Side::Client, 0)), (1014, "origin lost id".to_owned()));
    assert!(!relay.is_truncated());
    assert_eq!(relay.end(), Some(End { by: By::Node, how: How::Lost }));
}

/// An unmasked Close of a node, or a Close of a client with the mask zero.
fn close(by: Side, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("at most 125 bytes");
    match by {
        Side::Client => [&[0x88, 0x80 | len, 0, 0, 0, 0], payload].concat(),
        Side::Node => [&[0x88, len], payload].concat(),
    }
}

#[test]
fn a_close_that_the_other_side_leaves_unanswered_is_answered_with_the_same_code_and_reason() {
    let reason = [&[0x0f_u8, 0xa7][..], &[b'r'; 123]].concat();
    for (by, payload) in Side::ALL.into_iter().flat_map(|by| {
        [&b""[..], &[3, 0xe8], &[3, 0xe8, b'b', b'y', b'e'], &[0x0f, 0xa7, 0xc3, 0xa9], &reason]
            .map(|payload| (by, payload))
    }) {
        let answer = close(by.other(), payload);
        for pieces in [1, 2, 200] {
            let mut relay = Relay::new(&RULES, 0);
            for piece in close(by, payload).chunks(pieces) {
                pass(&mut relay, by, piece);
            }
            relay.eof(by.other(), 0);
            assert_eq!(inserted(&mut relay, by, 0), answer, "{by:?}, pieces of {pieces}");
            assert!(relay.may_finish(by));
            assert_eq!(relay.end(), Some(End { by: by.into(), how: How::Close }));
        }
        let mut relay = Relay::new(&RULES, 0);
        pass(&mut relay, by, &close(by, payload));
        assert_eq!(relay.tick(&RULES, RULES.close_timeout, true), Tick::Cut);
        assert_eq!(inserted(&mut relay, by, RULES.close_timeout), answer, "{by:?}, no answer in time");
    }
}

#[test]
fn the_mask_of_a_client_is_taken_off_its_close_before_it_is_sent_back() {
    let sent = [0x88, 0x85, 1, 2, 3, 4, 3 ^ 1, 0xe8 ^ 2, b'b' ^ 3, b'y' ^ 4, b'e' ^ 1];
    for pieces in 1..=sent.len() {
        let mut relay = Relay::new(&RULES, 0);
        for piece in sent.chunks(pieces) {
            pass(&mut relay, Side::Client, piece);
        }
        relay.eof(Side::Node, 0);
        assert_eq!(inserted(&mut relay, Side::Client, 0), b"\x88\x05\x03\xe8bye");
    }
}

#[test]
fn an_illegal_close_that_is_left_unanswered_gets_1002() {
    let code = |code: u16| code.to_be_bytes().to_vec();
    let bad = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX].map(code);
    let not_utf8 = [&code(1000)[..], &[0xff]].concat();
    for (by, payload) in
        Side::ALL.into_iter().flat_map(|by| bad.iter().chain([&not_utf8]).map(move |bad| (by, bad)))
    {
        let mut relay = Relay::new(&RULES, 0);
        assert_eq!(pass(&mut relay, by, &close(by, payload)), close(by, payload), "it is forwarded as it is");
        relay.eof(by.other(), 0);
        assert_eq!(close_of(&inserted(&mut relay, by, 0)), (1002, "illegal close id".to_owned()));
    }
    for good in [1000, 1003, 1007, 1014, 3000, 4999] {
        let mut relay = Relay::new(&RULES, 0);
        pass(&mut relay, Side::Client, &close(Side::Client, &code(good)));
        relay.eof(Side::Node, 0);
        assert_eq!(close_of(&inserted(&mut relay, Side::Client, 0)), (good, String::new()));
    }
}

#[test]
fn a_loss_does_not_replace_the_close_of_an_earlier_cause() {
    let mut relay = Relay::new(&RULES, 0);
    pass(&mut relay, Side::Client, b"\x83\x80\0\0\0\0");
    relay.eof(Side::Node, 0);
    assert_eq!(close_of(&inserted(&mut relay, Side::Client, 0)).0, 1002);
    let mut relay = Relay::new(&RULES, 0);
    relay.drain(1012);
    relay.eof(Side::Node, 0);
    assert_eq!(close_of(&inserted(&mut relay, Side::Client, 0)).0, 1012);
}

#[test]
fn a_node_lost_inside_a_frame_truncates_the_stream() {
    let mut relay = Relay::new(&RULES, 0);
    pass(&mut relay, Side::Node, &TEXT[..3]);
    relay.eof(Side::Node, 0);
    assert!(relay.is_truncated() && inserted(&mut relay, Side::Client, 0).is_empty());
    assert_eq!(relay.end(), Some(End { by: By::Node, how: How::Truncated }));
}

#[test]
fn a_node_lost_inside_a_header_truncates_nothing() {
    let mut relay = Relay::new(&RULES, 0);
    assert!(pass(&mut relay, Side::Node, &TEXT[..1]).is_empty());
    relay.eof(Side::Node, 0);
    assert!(!relay.is_truncated(), "the client saw whole frames only");
    assert_eq!(close_of(&inserted(&mut relay, Side::Client, 0)).0, 1014);
}

#[test]
fn a_lost_client_frees_the_node_at_once() {
    let mut relay = Relay::new(&RULES, 0);
    pass(&mut relay, Side::Client, MASKED_TEXT);
    relay.lost(Side::Client, 0);
    assert!(inserted(&mut relay, Side::Client, 0).is_empty(), "the client is gone");
    assert_eq!(close_of(&inserted(&mut relay, Side::Node, 0)), (1001, "client lost id".to_owned()));
    assert!(relay.may_finish(Side::Node), "FIN at once");
}

#[test]
fn a_half_closed_client_still_gets_what_the_node_sends() {
    let mut relay = Relay::new(&RULES, 0);
    relay.eof(Side::Client, 0);
    assert_eq!(close_of(&inserted(&mut relay, Side::Node, 0)).0, 1001);
    assert_eq!(pass(&mut relay, Side::Node, TEXT), TEXT);
    assert!(!relay.may_finish(Side::Client));
    assert_eq!(pass(&mut relay, Side::Node, b"\x88\x00"), b"\x88\x00");
    assert!(relay.may_finish(Side::Client));
}

#[test]
fn a_message_over_the_limit_is_1009_and_illegal_frames_are_1002() {
    for (bytes, code, how) in [
        (&b"\x81\xfe\x02\x01\0\0\0\0"[..], 1009, How::TooBig),
        (&b"\x83\x80\0\0\0\0"[..], 1002, How::Violation),
        (TEXT, 1002, How::Violation),
    ] {
        let mut relay = Relay::new(&RULES, 0);
        assert!(pass(&mut relay, Side::Client, bytes).is_empty(), "no byte of it is forwarded");
        assert_eq!(close_of(&inserted(&mut relay, Side::Client, 0)).0, code);
        assert_eq!(close_of(&inserted(&mut relay, Side::Node, 0)).0, 1001);
        assert_eq!(relay.end(), Some(End { by: By::Client, how }));
    }
}

#[test]
fn a_drain_waits_for_the_frame_boundary_of_each_direction() {
    let mut relay = Relay::new(&RULES, 0);
    pass(&mut relay, Side::Node, &TEXT[..3]);
    relay.drain(1012);
    assert!(inserted(&mut relay, Side::Client, 0).is_empty(), "nothing is inserted inside a frame");
    assert_eq!(close_of(&inserted(&mut relay, Side::Node, 0)), (1012, "draining id".to_owned()));
    assert_eq!(pass(&mut relay, Side::Node, &TEXT[3..]), &TEXT[3..]);
    assert_eq!(close_of(&inserted(&mut relay, Side::Client, 0)), (1012, "draining id".to_owned()));
    assert!(pass(&mut relay, Side::Node, TEXT).is_empty(), "nothing follows the gateway's Close");
    assert_eq!(relay.end(), Some(End { by: By::Gateway, how: How::Drain }));
}

#[test]
fn a_drain_finds_the_first_boundary_of_a_busy_direction() {
    let mut relay = Relay::new(&RULES, 0);
    pass(&mut relay, Side::Node, &TEXT[..3]);
    relay.drain(1001);
    let busy = [&TEXT[3..], TEXT, &TEXT[..3]].concat();
    let scan = relay.scan(Side::Node, &busy, 0);
    assert_eq!(scan.forward, 0..1, "it stops where a frame may be inserted");
    assert_eq!(close_of(&inserted(&mut relay, Side::Client, 0)).0, 1001);
}

#[test]
fn a_drain_waits_for_a_long_frame_and_then_for_the_answer() {
    let mut relay = Relay::new(&RULES, 0);
    pass(&mut relay, Side::Client, &MASKED_TEXT[..3]);
    pass(&mut relay, Side::Node, &TEXT[..3]);
    relay.drain(1001);
    assert_eq!(relay.tick(&RULES, 50, true), Tick::Go, "no Close was sent, so none is late");
    pass(&mut relay, Side::Client, &MASKED_TEXT[3..]);
    assert_eq!(close_of(&inserted(&mut relay, Side::Node, 50)).0, 1001);
    assert_eq!(relay.tick(&RULES, 69, true), Tick::Go);
    assert_eq!(relay.tick(&RULES, 70, true), Tick::Cut);
    assert_eq!(relay.end(), Some(End { by: By::Gateway, how: How::Drain }));
}

#[test]
fn a_drain_that_did_not_reach_both_legs_ends_as_cut() {
    let gateway = |how| Some(End { by: By::Gateway, how });
    let drained = || {
        let mut relay = Relay::new(&RULES, 0);
        relay.drain(1001);
        inserted(&mut relay, Side::Node, 0);
        relay
    };
    let mut relay = drained();
    relay.cut(false);
    assert_eq!(relay.end(), gateway(How::Cut), "the client was not told");
    for (unsent, how) in [(true, How::Cut), (false, How::Drain)] {
        let mut relay = drained();
        inserted(&mut relay, Side::Client, 0);
        relay.cut(unsent);
        assert_eq!(relay.end(), gateway(how));
    }
    let mut relay = Relay::new(&RULES, 0);
    relay.cut(false);
    assert_eq!(relay.end(), gateway(How::Cut), "neither leg was told");
    let mut relay = Relay::new(&RULES, 0);
    relay.eof(Side::Client, 0);
    relay.cut(false);
    assert_eq!(relay.end(), Some(End { by: By::Client, how: How::Lost }), "the first cause stays");
}

#[test]
fn a_silent_client_gets_a_ping_and_then_a_close() {
    let mut relay = Relay::new(&RULES, 0);
    assert_eq!(relay.next_due(&RULES), 15);
    relay.tick(&RULES, 15, true);
    assert_eq!(inserted(&mut relay, Side::Client, 15), b"\x89\x08tidegate");
    relay.tick(&RULES, 25, true);
    assert_eq!(close_of(&inserted(&mut relay, Side::Client, 25)), (1001, "client silent id".to_owned()));
    assert_eq!(relay.end(), Some(End { by: By::Gateway, how: How::Silent }));
    assert_eq!(relay.tick(&RULES, 45, true), Tick::Cut);
}

#[test]
fn a_client_that_is_not_read_is_not_silent() {
    let mut relay = Relay::new(&RULES, 0);
    for now in [15, 30, 45, 59] {
        relay.tick(&RULES, now, false);
        assert!(inserted(&mut relay, Side::Client, now).is_empty());
    }
    assert_eq!(relay.end(), None);
    relay.tick(&RULES, 60, false);
    assert_eq!(relay.end(), Some(End { by: By::Gateway, how: How::Idle }));
}

#[test]
fn a_client_that_takes_waiting_bytes_is_not_silent() {
    let mut relay = Relay::new(&RULES, 0);
    relay.tick(&RULES, 15, true);
    assert_eq!(inserted(&mut relay, Side::Client, 15), b"\x89\x08tidegate");
    // the Ping waits in the outbox behind other bytes, of which the client takes some now and then
    for now in [24, 33, 42] {
        relay.client_took(now);
        relay.tick(&RULES, now + 9, true);
        assert_eq!(relay.end(), None, "at {now}");
    }
    relay.tick(&RULES, 52, true);
    assert_eq!(relay.end(), Some(End { by: By::Gateway, how: How::Silent }));
}

#[test]
fn pings_do_not_keep_an_idle_relay_open() {
    let mut relay = Relay::new(&RULES, 0);
    for now in 0..60 {
        relay.scan(Side::Node, b"\x89\x05PING!", now);
        relay.scan(Side::Client, b"\x8a\x85\0\0\0\0PING!", now);
        relay.tick(&RULES, now, true);
    }
    assert_eq!(relay.end(), None);
    relay.tick(&RULES, 60, true);
    assert_eq!(relay.end(), Some(End { by: By::Gateway, how: How::Idle }));
}
