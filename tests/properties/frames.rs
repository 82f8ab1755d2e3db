//! Frames of legal sessions in both directions: whole messages and fragments with control frames between them, which arrive
//! in arbitrary pieces.

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate::oracles;
use tidegate::proto::websocket::frame::{FrameRules, Scanner, Side};
use tidegate::proto::websocket::relay::{Relay, RelayRules};

use super::{cuts, holds, pieces};

/// One frame of a message, with the control frames that come before it.
#[derive(Debug, Clone)]
struct Part {
    controls: Vec<(u8, Vec<u8>)>,
    payload: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Message {
    binary: bool,
    parts: Vec<Part>,
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    // with many sizes near the limits at which the header grows
    let size = prop_oneof![6 => 0..40_usize, 2 => 120..130_usize, 1 => 65_530..65_540_usize];
    (size, any::<u8>()).prop_map(|(size, first)| (0..size).map(|n| n as u8 ^ first).collect())
}

fn message() -> impl Strategy<Value = Message> {
    let control = (prop_oneof![Just(9_u8), Just(10)], vec(any::<u8>(), 0..126));
    let part = (vec(control, 0..2), payload()).prop_map(|(controls, payload)| Part { controls, payload });
    (any::<bool>(), vec(part, 1..4)).prop_map(|(binary, parts)| Message { binary, parts })
}

/// A frame by RFC 6455, 5.2.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    out.push(first);
    match payload.len() {
        length @ 0..126 => out.push(bit | length as u8),
        length @ 126..65_536 => {
            out.push(bit | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(bit | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
    let mask = mask.unwrap_or_default();
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Writes all frames of a side. Returns the bytes and the number of frames.
fn written(side: Side, messages: &[Message], mask: [u8; 4]) -> (Vec<u8>, u32) {
    let mask = (side == Side::Client).then_some(mask);
    let (mut bytes, mut count) = (Vec::new(), 0);
    for message in messages {
        let last = message.parts.len() - 1;
        for (index, part) in message.parts.iter().enumerate() {
            for (opcode, payload) in &part.controls {
                frame(0x80 | opcode, payload, mask, &mut bytes);
            }
            let opcode = match index {
                0 => 1 + u8::from(message.binary),
                _ => 0,
            };
            frame(if index == last { 0x80 | opcode } else { opcode }, &part.payload, mask, &mut bytes);
            count += 1 + part.controls.len() as u32;
        }
    }
    (bytes, count)
}

#[test]
fn legal_frames_are_forwarded_unchanged_and_counted() {
    let inputs = (vec(message(), 0..5), any::<(bool, [u8; 4])>(), cuts(), any::<u8>());
    holds(400, inputs, |(messages, (client, mask), cuts, cut)| {
        let side = if client { Side::Client } else { Side::Node };
        let (mut bytes, count) = written(side, &messages, mask);
        if bytes.len() < 2000 {
            oracles::frame::scanner(&[&[u8::from(!client), 0, cut], bytes.as_slice()].concat());
        }
        frame(0x88, &[3, 0xe8], client.then_some(mask), &mut bytes);
        let rules = FrameRules { message_max: 1 << 20, extensions: false };
        let mut scanner = Scanner::new(side, rules);
        let (mut forwarded, mut frames, mut closed) = (Vec::new(), 0, false);
        for piece in pieces(&bytes, &cuts) {
            let mut rest = piece;
            while !rest.is_empty() {
                prop_assert!(!closed, "no frame follows the Close");
                let scan =
                    scanner.scan(rest, false).map_err(|fault| TestCaseError::fail(format!("{fault:?}")))?;
                forwarded.extend_from_slice(scan.held.as_slice());
                forwarded.extend_from_slice(&rest[scan.forward.clone()]);
                frames += scan.frames;
                closed = scan.close;
                rest = &rest[scan.used..];
            }
        }
        prop_assert!(forwarded == bytes && closed && scanner.at_boundary());
        prop_assert_eq!(frames, count + 1);
        Ok(())
    });
}

/// The messages of one side, and the lengths of the pieces in which its bytes arrive.
fn side() -> impl Strategy<Value = (Vec<Message>, Vec<usize>)> {
    (vec(message(), 0..4), cuts())
}

#[test]
fn a_session_that_both_sides_close_loses_no_byte() {
    const RULES: RelayRules = RelayRules {
        message_max: Some(1 << 20),
        ping_interval: None,
        pong_timeout: 10,
        idle: None,
        lifetime: None,
        close_timeout: 1000,
        extensions: false,
    };
    holds(
        300,
        (side(), side(), any::<[u8; 4]>(), vec(any::<bool>(), 1..9)),
        |(client, node, mask, turns)| {
            let both = [(Side::Client, client), (Side::Node, node)].map(|(side, (messages, cuts))| {
                let mut bytes = written(side, &messages, mask).0;
                frame(0x88, &[3, 0xe8, b'!'], (side == Side::Client).then_some(mask), &mut bytes);
                let pieces: Vec<Vec<u8>> = pieces(&bytes, &cuts).into_iter().map(<[u8]>::to_vec).collect();
                (side, bytes, pieces.into_iter())
            });
            let mut relay = Relay::new(&RULES, 0);
            let [mut client, mut node] = both;
            let mut forwarded = [Vec::new(), Vec::new()];
            let mut own = Vec::new();
            let mut turns = turns.iter().cycle();
            loop {
                let first = *turns.next().unwrap();
                let piece =
                    |lane: &mut (Side, Vec<u8>, std::vec::IntoIter<Vec<u8>>)| Some((lane.0, lane.2.next()?));
                let next = match first {
                    true => piece(&mut client).or_else(|| piece(&mut node)),
                    false => piece(&mut node).or_else(|| piece(&mut client)),
                };
                let Some((from, piece)) = next else { break };
                let mut rest = &piece[..];
                while !rest.is_empty() {
                    let scan = relay.scan(from, rest, 0);
                    forwarded[from as usize].extend_from_slice(scan.held.as_slice());
                    forwarded[from as usize].extend_from_slice(&rest[scan.forward.clone()]);
                    rest = &rest[scan.used..];
                    relay.insert(from.other(), "0123456789abcdef", mask, 0, &mut own);
                }
            }
            prop_assert!(own.is_empty(), "the gateway inserts no frame");
            prop_assert!(
                forwarded[Side::Client as usize] == client.1,
                "the node receives the client's bytes"
            );
            prop_assert!(forwarded[Side::Node as usize] == node.1, "the client receives the node's bytes");
            prop_assert!(relay.may_finish(Side::Client) && relay.may_finish(Side::Node));
            Ok(())
        },
    );
}
