//! An open session: frames pass as they are, both ways, and end the way the contract says.

use crate::town::link::End;
use crate::town::origin::Echo;
use crate::town::{Frame, Link, Town, eventually};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Reads what the gateway says last: a Close with this code, and nothing behind it.
#[track_caller]
fn closed(link: &mut Link, code: u16) -> String {
    let (found, reason) = link.hear_close_past_pings();
    assert_eq!(found, Some(code), "reason {reason:?}");
    reason
}

/// The client answers a Close and finds the connection ended in order.
#[track_caller]
fn part(client: &mut Link, code: u16) {
    client.try_send(&client.encode(&Frame::new(Frame::CLOSE, code.to_be_bytes()))).ok();
    assert_eq!(client.ended(), End::Clean);
}

/// A message in three pieces with control frames between them, and everything else that is legal.
fn conversation() -> Vec<Frame> {
    vec![
        Frame::text(r#"{"isAvailable":"stream1","bundle":true}"#),
        Frame::binary((0..=255).collect::<Vec<u8>>()),
        Frame::text(""),
        Frame::text("one ").unfinished(),
        Frame::ping("PING!"),
        Frame::new(Frame::CONTINUATION, "two ").unfinished(),
        Frame::pong("PONG!"),
        Frame::new(Frame::CONTINUATION, "three"),
    ]
}

#[test]
fn frames_of_every_kind_pass_both_ways() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    for frame in conversation() {
        client.say(frame.clone());
        assert_eq!(node.hear(), frame);
        node.say(frame.clone());
        assert_eq!(client.hear(), frame);
    }
}

#[test]
fn bytes_pass_verbatim_with_their_mask() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    for key in [[0; 4], [0xff; 4], [1, 2, 3, 4]] {
        let bytes: Vec<u8> = conversation().iter().flat_map(|frame| frame.masked(key)).collect();
        client.send(&bytes);
        assert_eq!(node.take(bytes.len()), bytes);
    }
}

#[test]
fn frames_may_be_cut_anywhere_on_their_way_to_the_node() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let bytes: Vec<u8> = conversation().iter().flat_map(|frame| client.encode(frame)).collect();
    for cut in 1..bytes.len() {
        client.send(&bytes[..cut]);
        // The same worker carries this back, so it has seen the first piece before the second one comes.
        node.say(Frame::text("go on"));
        assert_eq!(client.hear(), Frame::text("go on"));
        client.send(&bytes[cut..]);
        assert_eq!(node.take(bytes.len()), bytes, "cut at {cut}");
    }
    bytes.chunks(1).for_each(|byte| client.send(byte));
    assert_eq!(node.take(bytes.len()), bytes, "byte by byte");
}

#[test]
fn frames_may_be_cut_anywhere_on_their_way_to_the_client() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let bytes: Vec<u8> = conversation().iter().flat_map(Frame::bare).collect();
    for cut in 1..bytes.len() {
        node.send(&bytes[..cut]);
        client.say(Frame::text("go on"));
        assert_eq!(node.hear(), Frame::text("go on"));
        node.send(&bytes[cut..]);
        assert_eq!(client.take(bytes.len()), bytes, "cut at {cut}");
    }
    bytes.chunks(1).for_each(|byte| node.send(byte));
    assert_eq!(client.take(bytes.len()), bytes, "byte by byte");
}

#[test]
fn a_message_of_exactly_the_limit_passes_whole_or_in_pieces() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let whole = Frame::binary(vec![5; 64 << 10]);
    client.say(whole.clone());
    assert_eq!(node.hear(), whole);
    node.say(whole.clone());
    assert_eq!(client.hear(), whole);
    let half = vec![6; 32 << 10];
    client.say(Frame::binary(half.clone()).unfinished());
    client.say(Frame::new(Frame::CONTINUATION, half.clone()));
    assert_eq!(node.hear().payload, half);
    assert_eq!(node.hear().payload, half);
}

#[test]
fn a_client_message_over_the_limit_ends_with_1009() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    client.say(Frame::text("fine"));
    // Its header says enough; the payload never comes.
    client.send(&client.encode(&Frame::binary(vec![0; (64 << 10) + 1]))[..14]);
    closed(&mut client, 1009);
    assert_eq!(node.hear(), Frame::text("fine"));
    closed(&mut node, 1001);
    assert_eq!(node.ended(), End::Clean);
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "too_big")], 1.0);
}

#[test]
fn fragments_count_together_against_the_limit() {
    let town = Town::with(|config, _| config.set("websocket.message_max", "1KiB"));
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    client.say(Frame::binary(vec![1; 1000]).unfinished());
    client.say(Frame::ping(&"p".repeat(125)));
    client.say(Frame::new(Frame::CONTINUATION, vec![1; 25]));
    closed(&mut client, 1009);
    assert_eq!(node.hear().payload.len(), 1000);
    assert_eq!(node.hear().opcode, Frame::PING, "control frames are no part of the message");
    closed(&mut node, 1001);
}

#[test]
fn a_node_message_over_the_limit_ends_with_1009() {
    let town = Town::with(|config, _| config.set("websocket.message_max", "1KiB"));
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    node.say(Frame::text("fine"));
    node.send(&Frame::binary(vec![0; 1025]).bare()[..4]);
    assert_eq!(client.hear(), Frame::text("fine"));
    closed(&mut client, 1009);
    closed(&mut node, 1001);
    part(&mut client, 1009);
}

#[test]
fn without_a_limit_a_megabyte_passes() {
    let town = Town::with(|config, _| config.set("websocket.message_max", "off"));
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let big = Frame::binary(vec![3; 1 << 20]);
    std::thread::scope(|scope| {
        scope.spawn(|| client.say(big.clone()));
        assert_eq!(node.hear(), big);
    });
}

/// Each violation on a session of its own: what was right before it passes, then both sides hear of the end.
#[track_caller]
fn violations(cases: &[(&str, Vec<u8>)], by_client: bool) {
    let town = Town::open();
    let origin = town.node(1);
    for (name, bytes) in cases {
        eprintln!("violation: {name}");
        let (mut client, mut node) = town.relay(&origin);
        let (wrong, other) = if by_client { (&mut client, &mut node) } else { (&mut node, &mut client) };
        wrong.send(&[wrong.encode(&Frame::text("fine")), bytes.clone()].concat());
        assert_eq!(other.hear(), Frame::text("fine"));
        closed(&mut client, 1002);
        closed(&mut node, 1001);
        part(&mut client, 1002);
        drop(node);
    }
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "violation")], cases.len() as f64);
}

/// What no side may send; `encode` masks or not.
fn illegal(encode: impl Fn(&Frame) -> Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    let mut cases: Vec<_> = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
        .map(|opcode| ("a reserved opcode", encode(&Frame::new(opcode, "x"))))
        .to_vec();
    for bit in [1, 2, 4] {
        cases.push(("a reserved bit", encode(&Frame { rsv: bit, ..Frame::text("x") })));
    }
    cases.extend([
        ("a ping of 126 bytes", encode(&Frame::new(Frame::PING, vec![0; 126]))),
        ("a ping in pieces", encode(&Frame::ping("x").unfinished())),
        ("a close of one byte", encode(&Frame::new(Frame::CLOSE, "x"))),
        ("a continuation of nothing", encode(&Frame::new(Frame::CONTINUATION, "x"))),
        (
            "a message inside a message",
            [encode(&Frame::text("x").unfinished()), encode(&Frame::text("y"))].concat(),
        ),
    ]);
    // The other violations of length: the minimal form is not used, or the top bit is set.
    let mut short_as_16 = encode(&Frame::text("x"));
    short_as_16.splice(1..2, [short_as_16[1] & 0x80 | 126, 0, 1]);
    let mut short_as_64 = encode(&Frame::text("x"));
    short_as_64.splice(1..2, [short_as_64[1] & 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 1]);
    let mut negative = encode(&Frame::text("x"));
    negative.splice(1..2, [negative[1] & 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    cases.extend([("16 bits for 1", short_as_16), ("64 bits for 1", short_as_64), ("top bit", negative)]);
    cases
}

#[test]
fn illegal_frames_of_a_client_end_with_1002() {
    let mut cases = illegal(|frame| frame.masked([1, 2, 3, 4]));
    // A message that was begun stays begun at the node; that case has its own test.
    cases.retain(|(name, _)| *name != "a message inside a message");
    cases.push(("no mask", Frame::text("x").bare()));
    violations(&cases, true);
}

#[test]
fn illegal_frames_of_a_node_end_with_1002() {
    let mut cases = illegal(Frame::bare);
    cases.retain(|(name, _)| *name != "a message inside a message");
    cases.push(("a mask", Frame::text("x").masked([1, 2, 3, 4])));
    violations(&cases, false);
}

#[test]
fn a_message_inside_a_message_ends_with_1002_after_its_first_piece() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    client.say(Frame::text("begun").unfinished());
    client.say(Frame::text("again"));
    assert_eq!(node.hear(), Frame::text("begun").unfinished());
    closed(&mut client, 1002);
    closed(&mut node, 1001);
}

#[test]
fn a_close_passes_byte_for_byte_from_either_side() {
    let town = Town::open();
    let origin = town.node(1);
    let closes = [
        Frame::empty_close(),
        Frame::close(1000, ""),
        Frame::close(4711, "why not"),
        Frame::close(1011, "é"),
    ];
    for close in closes {
        for by_client in [true, false] {
            let (mut client, mut node) = town.relay(&origin);
            let (first, second) = if by_client { (&mut client, &mut node) } else { (&mut node, &mut client) };
            let bytes = first.encode(&close);
            first.send(&bytes);
            assert_eq!(second.take(bytes.len()), bytes);
            second.say(Frame::close(1000, "answer"));
            assert_eq!(first.hear(), Frame::close(1000, "answer"));
            node.finish();
            assert_eq!(client.ended(), End::Clean, "by client: {by_client}");
            assert_eq!(node.ended(), End::Clean, "by client: {by_client}");
        }
    }
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "close")], 8.0);
}

#[test]
fn the_last_frame_reaches_the_node_before_the_close() {
    let town = Town::open();
    let origin = town.node(1);
    for _ in 0..20 {
        let (mut client, mut node) = town.relay(&origin);
        let last = Frame::text(r#"{"switchChannel":"red5pro"}"#);
        let bytes = [client.encode(&last), client.encode(&Frame::empty_close())].concat();
        client.send(&bytes);
        client.finish();
        assert_eq!(node.hear(), last);
        assert_eq!(node.hear(), Frame::empty_close());
    }
}

#[test]
fn a_node_that_vanishes_between_frames_is_told_as_1014() {
    let town = Town::open();
    let origin = town.node(1);
    for reset in [false, true] {
        let (mut client, mut node) = town.relay(&origin);
        node.say(Frame::text("last words"));
        assert_eq!(client.hear(), Frame::text("last words"));
        if reset {
            node.abort()
        } else {
            drop(node)
        }
        let reason = closed(&mut client, 1014);
        assert!(reason.starts_with("origin lost"), "{reason:?}");
        part(&mut client, 1014);
    }
    town.gateway.wait_for_metric("tidegate_ends_total", &[("by", "origin"), ("how", "lost")], 2.0);
}

#[test]
fn a_node_that_vanishes_inside_a_frame_cuts_the_connection() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let frame = Frame::text("half a fra").bare();
    node.send(&frame[..7]);
    drop(node);
    let (rest, _) = client.rest();
    assert!(frame.starts_with(&rest) && rest.len() < frame.len(), "{rest:?}: nothing may be made up");
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "torn")], 1.0);
}

#[test]
fn a_client_that_vanishes_is_told_to_the_node_at_once() {
    let town = Town::open();
    let origin = town.node(1);
    for reset in [false, true] {
        let (mut client, mut node) = town.relay(&origin);
        client.say(Frame::text("last words"));
        assert_eq!(node.hear(), Frame::text("last words"));
        if reset {
            client.abort();
        } else {
            client.finish();
        }
        closed(&mut node, 1001);
        assert_eq!(node.ended(), End::Clean);
    }
    town.gateway.wait_for_metric("tidegate_ends_total", &[("by", "client"), ("how", "lost")], 2.0);
    town.gateway.wait_for_metric("tidegate_sessions_active", &[], 0.0);
}

#[test]
fn a_client_that_vanishes_inside_a_frame_leaves_the_node_only_a_fin() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let frame = client.encode(&Frame::text("half a fra"));
    client.send(&frame[..9]);
    client.finish();
    let (rest, _) = node.rest();
    assert!(frame.starts_with(&rest) && rest.len() < frame.len(), "{rest:?}: nothing may be made up");
}

#[test]
fn after_its_close_a_client_may_shut_its_half_and_still_hears_the_rest() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    client.say(Frame::close(1000, "bye"));
    client.finish();
    assert_eq!(node.hear(), Frame::close(1000, "bye"));
    node.say(Frame::text("last words"));
    node.say(Frame::close(1000, "bye"));
    drop(node);
    assert_eq!(client.hear(), Frame::text("last words"));
    assert_eq!(client.hear(), Frame::close(1000, "bye"));
    assert_eq!(client.ended(), End::Clean);
}

#[test]
fn after_its_close_a_node_may_shut_its_half_and_still_hears_the_rest() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    node.say(Frame::close(1000, "bye"));
    node.finish();
    assert_eq!(client.hear(), Frame::close(1000, "bye"));
    client.say(Frame::text("last words"));
    client.say(Frame::close(1000, "bye"));
    assert_eq!(node.hear(), Frame::text("last words"));
    assert_eq!(node.hear(), Frame::close(1000, "bye"));
    assert_eq!(client.ended(), End::Clean);
}

#[test]
fn a_close_that_nobody_answers_ends_after_the_close_timeout() {
    let town = Town::with(|config, _| config.set("websocket.close_timeout", "200ms"));
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    client.say(Frame::empty_close());
    assert_eq!(node.hear(), Frame::empty_close());
    node.ended();
    client.ended();
}

#[test]
fn a_client_that_stops_reading_stops_the_node_and_loses_nothing() {
    const FRAMES: usize = 1500;
    const SIZE: usize = 48 << 10;
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let before = town.gateway.memory();
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..FRAMES {
                node.say(Frame::binary(vec![n as u8; SIZE]));
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
        let stuck = wait_until_stuck(&sent);
        assert!(stuck < FRAMES, "the node was never held back");
        let grown = town.gateway.memory().saturating_sub(before);
        assert!(grown < 4 << 20, "{grown} bytes for one slow client");
        for n in 0..FRAMES {
            let frame = client.hear();
            assert!(frame.payload.len() == SIZE && frame.payload.iter().all(|byte| *byte == n as u8), "{n}");
        }
    });
}

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

#[test]
fn a_node_that_stops_reading_stops_the_client_and_loses_nothing() {
    const FRAMES: usize = 1500;
    const SIZE: usize = 48 << 10;
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let before = town.gateway.memory();
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..FRAMES {
                client.say(Frame::binary(vec![n as u8; SIZE]));
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
        let stuck = wait_until_stuck(&sent);
        assert!(stuck < FRAMES, "the client was never held back");
        let grown = town.gateway.memory().saturating_sub(before);
        assert!(grown < 4 << 20, "{grown} bytes for one slow node");
        for n in 0..FRAMES {
            let frame = node.hear();
            assert!(frame.payload.len() == SIZE && frame.payload.iter().all(|byte| *byte == n as u8), "{n}");
        }
    });
}

#[test]
fn a_silent_client_is_pinged_and_then_let_go() {
    let town = Town::with(|config, _| {
        config.set("websocket.ping_interval", "100ms");
        config.set("websocket.pong_timeout", "200ms");
    });
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    assert_eq!(client.hear().opcode, Frame::PING);
    closed(&mut client, 1001);
    closed(&mut node, 1001);
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "silent")], 1.0);
}

#[test]
fn a_client_that_answers_pings_stays() {
    let town = Town::with(|config, _| {
        config.set("websocket.ping_interval", "100ms");
        config.set("websocket.pong_timeout", "2s");
    });
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    for _ in 0..5 {
        let ping = client.hear();
        assert_eq!(ping.opcode, Frame::PING);
        client.say(Frame::new(Frame::PONG, ping.payload));
    }
    node.say(Frame::text("still there"));
    while client.hear() != Frame::text("still there") {}
}

#[test]
fn a_ping_never_lands_inside_a_frame_of_the_node() {
    let town = Town::with(|config, _| {
        config.set("websocket.ping_interval", "50ms");
        config.set("websocket.pong_timeout", "5s");
    });
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    assert_eq!(client.hear().opcode, Frame::PING);
    let frame = Frame::binary(vec![4; 1000]);
    let bytes = frame.bare();
    // Slower than the pings, so that one of them falls due in the middle.
    for piece in bytes.chunks(250) {
        node.send(piece);
        client.hears_something_within(Duration::from_millis(100));
    }
    loop {
        let heard = client.hear();
        if heard.opcode != Frame::PING {
            assert_eq!(heard, frame);
            return;
        }
    }
}

#[test]
fn an_idle_session_ends_although_pings_are_answered() {
    let town = Town::with(|config, _| {
        config.set("websocket.ping_interval", "100ms");
        config.set("websocket.idle", "500ms");
    });
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let code = loop {
        let frame = client.hear();
        match frame.as_close() {
            Some((code, _)) => break code,
            None => client.say(Frame::new(Frame::PONG, frame.payload)),
        }
    };
    assert_eq!(code, Some(1001));
    loop {
        let frame = node.hear();
        if frame.opcode != Frame::PONG {
            assert_eq!(frame.as_close().unwrap().0, Some(1001));
            break;
        }
    }
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "idle")], 1.0);
}

#[test]
fn a_session_past_its_lifetime_ends_although_it_is_busy() {
    let town = Town::with(|config, _| config.set("websocket.lifetime", "500ms"));
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let code = loop {
        node.try_send(&Frame::text("busy").bare()).ok();
        let frame = client.hear();
        if let Some((code, _)) = frame.as_close() {
            break code;
        }
    };
    assert_eq!(code, Some(1001));
    closed(&mut node, 1001);
    town.gateway.wait_for_metric("tidegate_ends_total", &[("how", "lifetime")], 1.0);
}

#[test]
fn the_reason_of_a_close_we_make_names_the_session() {
    let town = Town::with(|config, _| config.set("websocket.lifetime", "200ms"));
    let origin = town.node(1);
    let mut client = town.client();
    client.ask(&crate::town::Request::upgrade(&town.socket_target(1)));
    let mut node = origin.accept();
    node.agree();
    let id = client.read_response().field("x-tidegate-session").expect("an id").to_owned();
    let reason = closed(&mut client, 1001);
    assert!(!id.is_empty() && reason.contains(&id), "{reason:?} without {id:?}");
}

#[test]
fn many_sessions_do_not_mix() {
    let town = Town::open();
    let _echo = Echo::listen(town.place.node(1));
    let mut clients: Vec<Link> = (0..40).map(|_| town.client()).collect();
    for client in &mut clients {
        client.ask(&crate::town::Request::upgrade(&town.socket_target(1)));
    }
    for client in &mut clients {
        assert_eq!(client.read_response().status(), 101);
    }
    for round in 0..20 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.say(Frame::text(&format!("client {n}, round {round}")));
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.hear(), Frame::text(&format!("client {n}, round {round}")));
        }
    }
    assert_eq!(town.gateway.metric("tidegate_sessions_active", &[("route", "two_step")]), 40.0);
    drop(clients);
    town.gateway.wait_for_metric("tidegate_sessions_active", &[("route", "two_step")], 0.0);
}
