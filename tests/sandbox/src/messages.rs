//! The signalling messages between nodes and SDKs: parses a client's JSON and writes the node's. Uses no sockets and no
//! WebRTC.

use serde_json::{Value, json};

/// The label of the data channel that replaces the WebSocket after the hand-off.
pub(crate) const CHANNEL: &str = "red5pro";

/// A client's message on its WebSocket or its data channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    IsAvailable {
        name: String,
    },
    Offer {
        name: String,
        sdp: String,
    },
    WantOffer {
        name: String,
    },
    Answer {
        sdp: String,
    },
    Candidate {
        line: String,
    },
    EndOfCandidates,
    Publish {
        name: String,
    },
    Subscribe {
        name: String,
    },
    Unpublish {
        name: String,
    },
    SwitchChannel,
    Send {
        method: String,
        data: Value,
    },
    /// Calls into the application, logs, mutes: accepted and ignored, as on a node without an application for them.
    Other,
}

impl Request {
    /// Parses a message. None when the text is no JSON object.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let object = value.as_object()?;
        let named = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let sdp = || value["data"]["sdp"]["sdp"].as_str().unwrap_or_default().to_owned();
        let request = if let Some(name) = named("isAvailable") {
            Self::IsAvailable { name }
        } else if let Some(name) = named("handleOffer") {
            Self::Offer { name, sdp: sdp() }
        } else if let Some(name) = named("requestOffer") {
            Self::WantOffer { name }
        } else if object.contains_key("handleAnswer") {
            Self::Answer { sdp: sdp() }
        } else if object.contains_key("handleCandidate") {
            // The end of the candidates is `{"type":"candidate","candidate":""}`; browsers may also send null.
            match value["data"]["candidate"]["candidate"].as_str() {
                None | Some("") => Self::EndOfCandidates,
                Some(line) => Self::Candidate { line: line.to_owned() },
            }
        } else if let Some(name) = named("publish") {
            Self::Publish { name }
        } else if let Some(name) = named("subscribe") {
            Self::Subscribe { name }
        } else if let Some(name) = named("unpublish") {
            Self::Unpublish { name }
        } else if object.contains_key("switchChannel") {
            Self::SwitchChannel
        } else if let Some(method) = value["send"]["method"].as_str() {
            Self::Send { method: method.to_owned(), data: value["send"]["data"].clone() }
        } else {
            Self::Other
        };
        Some(request)
    }
}

/// The first message on every WebSocket. It must not contain `message`: the SDK would then wait for something else forever.
pub(crate) fn connected() -> String {
    status("NetConnection.Connect.Success")
}

/// A message that has only a status code.
pub(crate) fn status(code: &str) -> String {
    json!({ "data": { "type": "status", "level": "status", "code": code } }).to_string()
}

/// The answer to `isAvailable`: whether a stream of that name is live on this node.
pub(crate) fn available(name: &str, live: bool) -> String {
    json!({ "isAvailable": live, "streamName": name }).to_string()
}

/// An offer or an answer.
pub(crate) fn sdp(kind: &str, text: &str) -> String {
    json!({ "data": { "sdp": { "type": kind, "sdp": text } } }).to_string()
}

/// One ICE candidate of the node.
pub(crate) fn candidate(line: &str) -> String {
    json!({ "data": { "candidate": { "type": "candidate", "candidate": line, "sdpMLineIndex": 0 } } })
        .to_string()
}

/// The end of the node's candidates. Most releases of the node spell it `Tricle`.
pub(crate) fn trickle_completed() -> String {
    status("NetConnection.ICE.TricleCompleted")
}

/// Completes `publish()` and `subscribe()` in the SDK, which waits for exactly `NAME starting`.
pub(crate) fn starting(name: &str, code: &str) -> String {
    json!({ "data": { "type": "status", "level": "status", "code": code, "message": format!("{name} starting") } })
        .to_string()
}

/// Completes `unpublish()` in the SDK.
pub(crate) fn stopping(name: &str) -> String {
    json!({ "data": { "type": "status", "level": "status", "code": "NetStream.Unpublish.Success",
        "message": format!("{name} stopping") } })
    .to_string()
}

/// Says that the data channel is open: the client may close its WebSocket.
pub(crate) fn channel_available() -> String {
    json!({ "data": { "type": "status", "level": "status", "code": "NetConnection.DataChannel.Available",
        "description": CHANNEL } })
    .to_string()
}

/// Says that a request failed.
pub(crate) fn failed(code: &str, message: &str) -> String {
    json!({ "data": { "type": "error", "level": "error", "code": code, "message": message } }).to_string()
}

/// A message from the publisher for its subscribers.
pub(crate) fn sent(method: &str, data: &Value) -> String {
    json!({ "type": "metadata", "method": method, "data": data }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_sdk_are_parsed() {
        let name = || "a".to_owned();
        for (text, request) in [
            (r#"{"isAvailable":"a","bundle":true}"#, Request::IsAvailable { name: name() }),
            (
                r#"{"handleOffer":"a","transport":"udp","data":{"sdp":{"type":"offer","sdp":"v=0"}}}"#,
                Request::Offer { name: name(), sdp: "v=0".to_owned() },
            ),
            (
                r#"{"handleCandidate":"a","data":{"candidate":{"type":"candidate","candidate":""}}}"#,
                Request::EndOfCandidates,
            ),
            (r#"{"publish":"a","mode":"live","keyFramerate":3000}"#, Request::Publish { name: name() }),
            (r#"{"switchChannel":"red5pro"}"#, Request::SwitchChannel),
            (r#"{"log":"DEBUG","message":"x"}"#, Request::Other),
        ] {
            assert_eq!(Request::parse(text), Some(request), "{text}");
        }
        assert_eq!(Request::parse("[]"), None);
        assert_eq!(Request::parse("{"), None);
    }

    #[test]
    fn status_messages_of_connect_and_hand_off_have_no_message_field() {
        for text in [connected(), channel_available(), trickle_completed()] {
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(value["data"]["message"].is_null(), "{text}");
        }
    }
}
