//! Bodies in every framing of the grammar, with chunk extensions and trailer fields.

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate::oracles;
use tidegate::proto::http::body::Body;
use tidegate::proto::http::head::BodyLength;

use super::{cuts, holds, pieces};

/// One chunk in an allowed spelling: leading zeros of its size, upper or lower case, an extension.
#[derive(Debug, Clone)]
struct Chunk {
    payload: Vec<u8>,
    zeros: usize,
    upper: bool,
    extension: String,
}

fn chunk() -> impl Strategy<Value = Chunk> {
    // optional whitespace, then nothing or a semicolon with the extension (RFC 9112, 7.1.1)
    let extension =
        prop_oneof![3 => Just(String::new()), 1 => "[ \t]{0,3};[!-~ \t]{0,40}", 1 => "[ \t]{1,9}"];
    (vec(any::<u8>(), 1..60), 0..3_usize, any::<bool>(), extension)
        .prop_map(|(payload, zeros, upper, extension)| Chunk { payload, zeros, upper, extension })
}

fn written(chunks: &[Chunk], last: &str, trailers: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks {
        let size = chunk.payload.len();
        let size = if chunk.upper { format!("{size:X}") } else { format!("{size:x}") };
        bytes.extend(format!("{}{size}{}\r\n", "0".repeat(chunk.zeros), chunk.extension).into_bytes());
        bytes.extend_from_slice(&chunk.payload);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend(format!("0{last}\r\n").into_bytes());
    bytes.extend(trailers.iter().flat_map(|(name, value)| format!("{name}: {value}\r\n").into_bytes()));
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Reads a body that arrives in pieces. Returns its payload and the number of bytes that belong to the body.
fn read(mut body: Body, sent: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize), TestCaseError> {
    let (mut payload, mut inbox, mut used) = (Vec::new(), Vec::new(), 0);
    for piece in pieces(sent, cuts) {
        inbox.extend_from_slice(piece);
        while !body.is_done() {
            let piece = body.next(&inbox).map_err(|fault| TestCaseError::fail(format!("{fault:?}")))?;
            payload.extend_from_slice(piece.payload);
            let taken = piece.used;
            used += taken;
            inbox.drain(..taken);
            if taken == 0 {
                break;
            }
        }
    }
    prop_assert!(body.is_done() && body.end().is_ok(), "the body is complete");
    Ok((payload, used))
}

#[test]
fn chunks_with_extensions_and_trailers_are_accepted() {
    let trailers = vec(("[A-Za-z-]{1,12}", "[!-~ ]{0,20}"), 0..4);
    let last = prop_oneof![Just(""), Just(";x=y"), Just(" "), Just("00")];
    holds(1000, (vec(chunk(), 0..6), last, trailers, cuts()), |(chunks, last, trailers, cuts)| {
        let mut sent = written(&chunks, last, &trailers);
        let whole = sent.len();
        sent.extend_from_slice(b"POST / HTTP/1.1\r\n");
        oracles::body(&[&[3], sent.as_slice()].concat());
        let (payload, used) = read(Body::new(BodyLength::Chunked, 1000).unwrap(), &sent, &cuts)?;
        prop_assert_eq!(used, whole, "the bytes behind the body belong to the next message");
        prop_assert_eq!(payload, chunks.into_iter().flat_map(|chunk| chunk.payload).collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn a_body_with_a_content_length_ends_at_that_length() {
    holds(200, (vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..50), cuts()), |(payload, following, cuts)| {
        let body = Body::new(BodyLength::Length(payload.len() as u64), 200).unwrap();
        let sent = [&payload[..], &following].concat();
        prop_assert_eq!(read(body, &sent, &cuts)?, (payload.clone(), payload.len()));
        Ok(())
    });
}
