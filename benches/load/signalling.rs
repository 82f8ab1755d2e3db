//! The signalling of one publisher as in the browser SDK: about twenty text messages in both directions, with realistic
//! sizes, then the hand-off to the data channel and immediately a Close.

use super::Result;
use super::client::{Script, Session};
use super::frames::{self, CLOSE, TEXT};
use std::fmt::Write;
use std::sync::LazyLock;

/// The side that sends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Node,
}

static TRANSCRIPT: LazyLock<Vec<(Side, String)>> = LazyLock::new(transcript);

fn transcript() -> Vec<(Side, String)> {
    use Side::{Client, Node};
    let status =
        |code: &str| (Node, format!(r#"{{"data":{{"type":"status","code":"{code}","level":"status"}}}}"#));
    let mut all = vec![
        status("NetConnection.Connect.Success"),
        (Client, r#"{"isAvailable":"stream1","bundle":true}"#.to_owned()),
        (Node, r#"{"isAvailable":false,"data":{"streamName":"stream1"}}"#.to_owned()),
        (
            Client,
            format!(
                r#"{{"handleOffer":"stream1","transport":"udp","data":{{"sdp":{{"type":"offer","sdp":"{}"}}}}}}"#,
                sdp(6000)
            ),
        ),
        (Node, format!(r#"{{"data":{{"sdp":{{"type":"answer","sdp":"{}"}}}}}}"#, sdp(2500))),
    ];
    all.extend((0..4).map(|n| (Client, format!(r#"{{"handleCandidate":"stream1",{}}}"#, candidate(n)))));
    all.extend((4..8).map(|n| (Node, format!("{{{}}}", candidate(n)))));
    all.extend([
        (
            Client,
            r#"{"handleCandidate":"stream1","data":{"candidate":{"type":"candidate","candidate":""}}}"#
                .to_owned(),
        ),
        status("NetConnection.ICE.TrickleCompleted"),
        (Client, r#"{"publish":"stream1","mode":"live","keyFramerate":3000}"#.to_owned()),
        (Node, r#"{"data":{"type":"status","message":"stream1 starting"}}"#.to_owned()),
        status("NetConnection.DataChannel.Available"),
        (Client, r#"{"switchChannel":"red5pro"}"#.to_owned()),
    ]);
    all
}

/// Lines of a session description with escaped line ends, at least `size` bytes.
fn sdp(size: usize) -> String {
    let mut text = String::from(r"v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    for line in 0.. {
        if text.len() >= size {
            break;
        }
        let kind = 96 + line % 32;
        write!(text, r"a=rtpmap:{kind} H264/90000\r\na=fmtp:{kind} profile-level-id=42e01f;n={line}\r\n")
            .expect("writing into a String can't fail");
    }
    text
}

fn candidate(number: usize) -> String {
    format!(
        r#""data":{{"candidate":{{"candidate":"candidate:{} 1 udp 2122260223 192.0.2.{number} {} typ host generation 0 ufrag Hc3d network-id 1","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"Hc3d"}}}}"#,
        3_388_485_749_usize + number,
        50_000 + number,
    )
}

fn step(number: u64) -> Option<&'static (Side, String)> {
    TRANSCRIPT.get(usize::try_from(number).ok()?)
}

/// Whether message `number` is from `side` and equals `payload`.
pub fn is_due(payload: &[u8], number: u64, side: Side) -> bool {
    step(number).is_some_and(|(due, text)| *due == side && payload == text.as_bytes())
}

/// Whether all messages before `number` are the whole transcript.
pub fn is_complete(number: u64) -> bool {
    step(number).is_none()
}

/// Writes the node's messages up to the next one of the client.
pub fn reply(number: &mut u64, out: &mut Vec<u8>) {
    while let Some((Side::Node, text)) = step(*number) {
        frames::write(out, TEXT, text.as_bytes(), false);
        *number += 1;
    }
}

/// The client's part of the signalling.
#[derive(Debug, Default)]
pub struct Signalling {
    pub completed: u64,
}

impl Script for Signalling {
    fn opened(&mut self, _: &mut Session) -> Result<()> {
        Ok(())
    }

    fn frame(&mut self, session: &mut Session, opcode: u8, payload: &[u8]) -> Result<()> {
        if opcode == CLOSE && is_complete(session.got) && payload.is_empty() {
            session.done = true;
            return Ok(());
        }
        if opcode != TEXT || !is_due(payload, session.got, Side::Node) {
            let found = payload.len();
            return Err(format!("expected the next message, found opcode {opcode} with {found} bytes").into());
        }
        session.got += 1;
        while let Some((Side::Client, text)) = step(session.got) {
            // one call for each message, as in a browser
            session.say(TEXT, text.as_bytes())?;
            session.got += 1;
        }
        // the SDK closes immediately, without a code
        if is_complete(session.got) { session.say(CLOSE, b"") } else { Ok(()) }
    }

    fn ended(&mut self, session: &mut Session) -> Result<()> {
        if !session.done {
            return Err("the connection ended before the Close came back".into());
        }
        self.completed += 1;
        Ok(())
    }
}
