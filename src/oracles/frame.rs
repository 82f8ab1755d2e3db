//! The oracle of the frame scanner: the same bytes in any pieces give the same frames, which are those that a slow reference
//! with tungstenite's header reader finds.

use crate::proto::websocket::frame::{FrameFault, FrameRules, Scanner, Side};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The result of a run over some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Run {
    forwarded: Vec<u8>,
    frames: u32,
    closed: bool,
    fault: Option<FrameFault>,
    at_boundary: bool,
}

/// Asserts that all pieces of an input, and the reference, give the same frames. The first three bytes of the input choose
/// side, rules and cuts; the rest is what that side sends.
pub fn scanner(input: &[u8]) {
    let Some((&[choice, limit, cuts], bytes)) = input.split_first_chunk::<3>() else {
        return;
    };
    let side = if choice & 1 == 0 { Side::Client } else { Side::Node };
    let message_max = if limit == 0 { u64::MAX } else { u64::from(limit) * 16 };
    let rules = FrameRules { message_max, extensions: choice & 2 != 0 };
    let whole = run(side, rules, bytes, &mut |rest| rest);
    assert_eq!(run(side, rules, bytes, &mut |_| 1), whole, "one byte at a time");
    let mut state = u64::from(cuts) | 1;
    let pieces = run(side, rules, bytes, &mut |rest| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (usize::try_from(state >> 33).unwrap_or(1) % 37).clamp(1, rest)
    });
    assert_eq!(pieces, whole, "in pieces");
    assert_eq!(reference(side, rules, bytes), whole, "against the reference");
}

fn run(side: Side, rules: FrameRules, bytes: &[u8], size: &mut dyn FnMut(usize) -> usize) -> Run {
    let mut scanner = Scanner::new(side, rules);
    let mut run = Run::default();
    let mut at = 0;
    while at < bytes.len() && !run.closed && run.fault.is_none() {
        let piece = &bytes[at..at + size(bytes.len() - at)];
        at += piece.len();
        let mut rest = piece;
        while !rest.is_empty() && !run.closed {
            match scanner.scan(rest, piece.len().is_multiple_of(2)) {
                Ok(scan) => {
                    assert!(scan.used > 0 && scan.forward.end <= scan.used, "no progress, or too much");
                    run.forwarded.extend_from_slice(scan.held.as_slice());
                    run.forwarded.extend_from_slice(&rest[scan.forward.clone()]);
                    run.frames += scan.frames;
                    run.closed = scan.close;
                    rest = &rest[scan.used..];
                }
                Err(fault) => {
                    assert!(scanner.at_boundary(), "a fault is found before its frame is forwarded");
                    run.fault = Some(fault);
                    break;
                }
            }
        }
    }
    run.at_boundary = scanner.at_boundary();
    run
}

/// The rules of RFC 6455 5, one frame after the other, from all bytes at once.
fn reference(side: Side, rules: FrameRules, bytes: &[u8]) -> Run {
    let mut run = Run { at_boundary: true, ..Run::default() };
    let (mut rest, mut message, mut fragmented) = (bytes, 0_u64, false);
    while !rest.is_empty() && !run.closed {
        if let Some(fault) = early_fault(side, rules, rest, fragmented, message) {
            run.fault = Some(fault);
            return run;
        }
        let mut cursor = std::io::Cursor::new(rest);
        let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) else { return run };
        let header_size = usize::try_from(cursor.position()).expect("it is inside a slice");
        let control = matches!(header.opcode, OpCode::Control(_));
        if !control {
            let continues = header.opcode == OpCode::Data(Data::Continue);
            message = if continues { message.saturating_add(length) } else { length };
            fragmented = !header.is_final;
        }
        run.frames += 1;
        let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(header_size).min(rest.len());
        run.at_boundary = (end - header_size) as u64 == length;
        run.closed = run.at_boundary && header.opcode == OpCode::Control(Control::Close);
        run.forwarded.extend_from_slice(&rest[..end]);
        rest = &rest[end..];
    }
    run
}

/// The faults that tungstenite's reader accepts, in the order of the bytes that show them.
fn early_fault(
    side: Side,
    rules: FrameRules,
    bytes: &[u8],
    fragmented: bool,
    message: u64,
) -> Option<FrameFault> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (opcode, short) = (first & 15, second & 127);
    if first & 0x70 != 0 && (opcode >= 8 || !rules.extensions) {
        return Some(FrameFault::ReservedBit);
    }
    if matches!(opcode, 3..=7 | 11..=15) {
        return Some(FrameFault::ReservedOpcode);
    }
    if opcode >= 8 && (first & 0x80 == 0 || short > 125 || (opcode == 8 && short == 1)) {
        return Some(FrameFault::BadControl);
    }
    if opcode < 8 && (opcode == 0) != fragmented {
        return Some(FrameFault::BadContinuation);
    }
    if (second & 0x80 != 0) != (side == Side::Client) {
        return Some(FrameFault::BadMask);
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let length = bytes.get(2..2 + extended)?.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let length = if extended == 0 { u64::from(short) } else { length };
    if (extended == 2 && length < 126) || (extended == 8 && (length < 65_536 || length >> 63 == 1)) {
        return Some(FrameFault::BadLength);
    }
    let so_far = if opcode == 0 { message } else { 0 };
    (opcode < 8 && so_far.saturating_add(length) > rules.message_max).then_some(FrameFault::TooBig)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::websocket::frame::{PING_PAYLOAD, write_close, write_ping};

    /// Plausible traffic from a seed: mostly legal frames, sometimes a broken one.
    fn traffic(seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u8::try_from(state >> 56).expect("eight bits")
        };
        let mut bytes = vec![next() % 4, next() % 8, next()];
        let masked = bytes[0] & 1 == 0;
        for _ in 0..next() % 12 {
            let opcode = [0, 1, 1, 2, 2, 8, 9, 10, 3, 1][usize::from(next() % 10)];
            bytes.push(opcode | [0x80, 0x80, 0x80, 0x00, 0xc0][usize::from(next() % 5)]);
            let length = usize::from(next()) % if next() % 3 == 0 { 300 } else { 20 };
            let mask_bit = if masked { 0x80 } else { 0 };
            if length < 126 {
                bytes.push(u8::try_from(length).expect("short") | mask_bit);
            } else {
                bytes.push(126 | mask_bit);
                bytes.extend(u16::try_from(length).expect("a few hundred").to_be_bytes());
            }
            if masked {
                bytes.extend([next(), next(), next(), next()]);
            }
            bytes.extend((0..length).map(|_| next()));
        }
        bytes
    }

    #[test]
    fn any_pieces_give_the_same_frames_as_the_reference() {
        for seed in 0..20_000 {
            scanner(&traffic(seed));
        }
    }

    #[test]
    fn every_cut_of_a_session_gives_the_same_bytes() {
        let rules = FrameRules { message_max: 1 << 20, extensions: false };
        let mut bytes = vec![0x81, 0x7e, 0x01, 0x00];
        bytes.extend(vec![b'x'; 256]);
        bytes.extend([0x89, 0x05]);
        bytes.extend(b"PING!");
        write_close(Side::Client, 1000, "bye", [0; 4], &mut bytes);
        for cut in 0..bytes.len() {
            let mut first = true;
            let run = run(Side::Node, rules, &bytes, &mut |rest| {
                if std::mem::take(&mut first) && cut > 0 { cut } else { rest }
            });
            assert_eq!(run.forwarded, bytes, "cut at {cut}");
            assert_eq!((run.frames, run.closed, run.fault), (3, true, None));
        }
    }

    #[test]
    fn only_the_pongs_to_the_gateways_pings_are_removed() {
        let rules = FrameRules { message_max: 1024, extensions: false };
        let mut ours = Vec::new();
        write_ping(Side::Node, [1, 2, 3, 4], &mut ours);
        ours[0] = 0x8a;
        let mut other = ours.clone();
        *other.last_mut().expect("a frame") ^= 1;
        for (cut, pings) in (1..=ours.len()).flat_map(|cut| [(cut, 1), (cut, 2)]) {
            let mut scanner = Scanner::new(Side::Client, rules);
            (0..pings).for_each(|_| scanner.expect_pong());
            let (mut forwarded, mut pongs) = (Vec::new(), 0);
            let stream = [&other[..], &ours[..], &ours[..], &ours[..]].concat();
            for piece in stream.chunks(cut) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let scan = scanner.scan(rest, false).expect("legal frames");
                    forwarded.extend_from_slice(scan.held.as_slice());
                    forwarded.extend_from_slice(&rest[scan.forward.clone()]);
                    pongs += u32::from(scan.pong);
                    rest = &rest[scan.used..];
                }
            }
            assert_eq!(pongs, pings);
            let not_due = ours.repeat(3 - pings as usize);
            assert_eq!(forwarded, [&other[..], &not_due].concat(), "pieces of {cut}, {pings} pings");
        }
        assert_eq!(PING_PAYLOAD.len(), 8);
    }
}
