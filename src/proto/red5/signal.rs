//! What a signalling message of a Red5 SDK or node is about, as far as its first bytes say.
//!
//! Operators ask how far a session came: whether the client offered its media, and whether the node answered. The gateway looks
//! at the first messages of a session only, says their kind, and keeps nothing else of them but the name of the stream that
//! a subscriber asks for.

use serde::{Deserialize, Serialize};

/// How many bytes of a message are enough to tell its kind.
pub const PREFIX_MAX: usize = 256;

/// Longest name of a stream that is taken from a message, in bytes.
const STREAM_MAX: usize = 80;

/// The kind of a signalling message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// The node accepted the connection (`NetConnection.Connect.Success`).
    Connected,
    /// The node refused the connection (`NetConnection.Connect.Failed`, `…Rejected`).
    Rejected,
    /// The node ends the connection (`NetConnection.Connect.Closed`).
    Closing,
    /// A question, or the answer, whether a stream is there (`isAvailable`).
    Availability,
    /// A publisher offers its media (`handleOffer`).
    Offer,
    /// A subscriber asks for an offer (`requestOffer`).
    OfferRequest,
    /// A description of media by the node: its answer to a publisher, its offer to a subscriber.
    NodeDescription,
    /// A subscriber's answer (`handleAnswer`).
    Answer,
    /// An address at which a side may be reached (`handleCandidate`, `candidate`).
    Candidate,
    /// The node has all candidates (`NetConnection.ICE.TricleCompleted` or `…TrickleCompleted`).
    CandidatesComplete,
    /// The publisher begins (`publish`).
    Publish,
    /// The subscriber begins (`subscribe`).
    Subscribe,
    /// The publisher ends (`unpublish`).
    Unpublish,
    /// The publisher of the stream has left (`NetStream.Play.UnpublishNotify`).
    Unpublished,
    /// The stream begins (`… starting`).
    Starting,
    /// The data channel can be used (`NetConnection.DataChannel.Available`).
    DataChannel,
    /// The client goes on by the data channel (`switchChannel`).
    Switch,
    /// The node says that bandwidth is short, or enough again (`NetConnection.Publish.…BW`).
    Bandwidth,
    /// An error of the node.
    Error,
    /// Any other message.
    Other,
}

/// Names that begin a message of a client or of a node: `{"name":…`.
const NAMES: [(&[u8], Signal); 10] = [
    (b"isAvailable", Signal::Availability),
    (b"handleOffer", Signal::Offer),
    (b"requestOffer", Signal::OfferRequest),
    (b"handleAnswer", Signal::Answer),
    (b"handleCandidate", Signal::Candidate),
    (b"publish", Signal::Publish),
    (b"subscribe", Signal::Subscribe),
    (b"unpublish", Signal::Unpublish),
    (b"switchChannel", Signal::Switch),
    (b"switchStreams", Signal::Other),
];

/// What stands somewhere in a message of a node, the telling ones first.
const MARKS: [(&[u8], Signal); 13] = [
    (b"NetConnection.Connect.Success", Signal::Connected),
    (b"NetConnection.Connect.Failed", Signal::Rejected),
    (b"NetConnection.Connect.Rejected", Signal::Rejected),
    (b"NetConnection.Connect.Closed", Signal::Closing),
    (b"NetConnection.ICE.TricleCompleted", Signal::CandidatesComplete),
    (b"NetConnection.ICE.TrickleCompleted", Signal::CandidatesComplete),
    (b"NetConnection.DataChannel.Available", Signal::DataChannel),
    (b"NetStream.Play.UnpublishNotify", Signal::Unpublished),
    (b"NetConnection.Publish.", Signal::Bandwidth),
    (b"\"sdp\"", Signal::NodeDescription),
    (b"\"candidate\"", Signal::Candidate),
    (b"\"error\"", Signal::Error),
    (b" starting\"", Signal::Starting),
];

impl Signal {
    /// The kind of the text message that begins with `text`; [`PREFIX_MAX`] bytes of it are looked at.
    pub fn of(text: &[u8]) -> Self {
        let text = &text[..text.len().min(PREFIX_MAX)];
        let by_name = first_name(text).and_then(|name| NAMES.iter().find(|(known, _)| *known == name));
        if let Some((_, signal)) = by_name {
            return *signal;
        }
        let is_in = |mark: &[u8]| memchr::memmem::find(text, mark).is_some();
        MARKS.iter().find(|(mark, _)| is_in(mark)).map_or(Self::Other, |(_, signal)| *signal)
    }

    /// The kind in a few words, for operators.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Connected => "connection accepted",
            Self::Rejected => "connection rejected",
            Self::Closing => "connection is being closed",
            Self::Availability => "is the stream available",
            Self::Offer => "offer (SDP)",
            Self::OfferRequest => "request for an offer",
            Self::NodeDescription => "description (SDP)",
            Self::Answer => "answer (SDP)",
            Self::Candidate => "candidate",
            Self::CandidatesComplete => "all candidates sent",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Unpublish => "unpublish",
            Self::Unpublished => "the publisher has left",
            Self::Starting => "stream is starting",
            Self::DataChannel => "data channel available",
            Self::Switch => "switch to the data channel",
            Self::Bandwidth => "bandwidth notice",
            Self::Error => "error",
            Self::Other => "message",
        }
    }
}

/// The stream that a subscriber asks for: the value of `requestOffer`, if it is plain ASCII without escapes and not too long.
pub fn requested_stream(text: &[u8]) -> Option<&str> {
    let text = &text[..text.len().min(PREFIX_MAX)];
    let (_, rest) = after_name(text).filter(|(name, _)| *name == b"requestOffer")?;
    let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let name = &rest[..memchr::memchr(b'"', rest)?];
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
    let fits = (1..=STREAM_MAX).contains(&name.len()) && name.iter().all(is_plain);
    fits.then(|| std::str::from_utf8(name).ok()).flatten()
}

/// The first name of a JSON object.
fn first_name(text: &[u8]) -> Option<&[u8]> {
    after_name(text).map(|(name, _)| name)
}

/// The first name of a JSON object, and what stands behind its last quotation mark.
fn after_name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', text)?;
    Some((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_sdks_and_of_nodes_are_told_apart() {
        for (text, signal) in [
            (r#"{"data":{"type":"status","code":"NetConnection.Connect.Success"}}"#, Signal::Connected),
            (r#"{"data":{"type":"error","code":"NetConnection.Connect.Failed"}}"#, Signal::Rejected),
            (r#"{"isAvailable":"stream1","bundle":true}"#, Signal::Availability),
            (r#"{"isAvailable":false}"#, Signal::Availability),
            (
                r#"{"handleOffer":"stream1","transport":"udp","data":{"sdp":{"type":"offer","sdp":"v=0"}}}"#,
                Signal::Offer,
            ),
            (r#"{"data":{"sdp":{"type":"answer","sdp":"v=0"}}}"#, Signal::NodeDescription),
            (r#"{"data":{"candidate":{"candidate":"candidate:1 1 udp"}}}"#, Signal::Candidate),
            (r#" { "requestOffer" : "stream1" }"#, Signal::OfferRequest),
            (
                r#"{"data":{"type":"status","code":"NetConnection.ICE.TricleCompleted"}}"#,
                Signal::CandidatesComplete,
            ),
            (r#"{"data":{"message":"stream1 starting"}}"#, Signal::Starting),
            (r#"{"switchChannel":"red5pro"}"#, Signal::Switch),
            (r#"{"send":"x"}"#, Signal::Other),
            ("", Signal::Other),
            ("{\"", Signal::Other),
        ] {
            assert_eq!(Signal::of(text.as_bytes()), signal, "{text}");
        }
    }

    #[test]
    fn only_a_plain_name_is_taken_from_a_message() {
        let requested = |text: &str| requested_stream(text.as_bytes()).map(str::to_owned);
        assert_eq!(requested(r#"{"requestOffer":"stream1","requestId":"x"}"#).as_deref(), Some("stream1"));
        let long = "s".repeat(81);
        for other in [
            r#"{"requestOffer":""}"#.to_owned(),
            r#"{"requestOffer":"a\u0062"}"#.to_owned(),
            r#"{"requestOffer":"a b"}"#.to_owned(),
            format!(r#"{{"requestOffer":"{long}"}}"#),
            r#"{"requestOffer":"unfinished"#.to_owned(),
            r#"{"handleOffer":"stream1"}"#.to_owned(),
        ] {
            assert_eq!(requested(&other), None, "{other}");
        }
    }
}
