//! Answers of stream managers and nodes over HTTP, valid or not, down to their bytes.

use super::Gate;
use std::fmt::Write;
use std::net::IpAddr;

/// One answer.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    fields: String,
    body: Vec<u8>,
    shape: Shape,
    gate: Option<Gate>,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Length,
    Chunked,
    /// The body lasts until the connection ends.
    UntilEnd,
    /// The head announces 50 bytes more than are sent before the end.
    Truncated,
    /// No bytes, only the end of the connection.
    HangUp,
    /// The body is everything that is sent, head included.
    Raw,
}

impl Reply {
    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, fields: String::new(), body: Vec::new(), shape: Shape::Length, gate: None }
    }

    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::typed(status, "application/json", body)
    }

    pub fn typed(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::empty(status) }.field("Content-Type", content_type)
    }

    /// The answer of Stream Manager 1.x: this stream is on that node.
    pub fn node(ip: IpAddr) -> Self {
        let body =
            format!(r#"{{"name":"stream1","scope":"/live","serverAddress":"{ip}","region":"us-east-1"}}"#);
        Self::json(200, body)
    }

    /// The answer of Stream Manager 2.0: these nodes, in order of preference.
    pub fn nodes(ips: &[IpAddr]) -> Self {
        let node = |ip: &IpAddr| {
            format!(
                r#"{{"streamGuid":"live/stream1","serverAddress":"{ip}","nodeRole":"origin","subGroup":"a",
                "nodeState":"INSERVICE","subscribers":0}}"#
            )
        };
        Self::json(200, format!("[{}]", ips.iter().map(node).collect::<Vec<_>>().join(",")))
    }

    /// An error as a stream manager answers it.
    pub fn manager_error(status: u16) -> Self {
        Self::json(status, r#"{"errorMessage":"no such stream","timestamp":1700000000000}"#)
    }

    /// 201 of a node that created a WHIP session.
    pub fn created(location: &str, sdp: &str) -> Self {
        Self::typed(201, "application/sdp", sdp).field("Location", location)
    }

    /// Replaces the content type.
    pub fn content_type(mut self, content_type: &str) -> Self {
        self.fields = self.fields.lines().filter(|line| !line.starts_with("Content-Type:")).fold(
            String::new(),
            |mut fields, line| {
                write!(fields, "{line}\r\n").unwrap();
                fields
            },
        );
        self.field("Content-Type", content_type)
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        write!(self.fields, "{name}: {value}\r\n").unwrap();
        self
    }

    pub fn chunked(self) -> Self {
        Self { shape: Shape::Chunked, ..self }
    }

    /// Without a length: the end of the connection is the end of the body.
    pub fn until_end(self) -> Self {
        Self { shape: Shape::UntilEnd, ..self }
    }

    /// Ends the connection in the middle of the body.
    pub fn truncated(self) -> Self {
        Self { shape: Shape::Truncated, ..self }
    }

    /// Ends the connection instead of answering.
    pub fn hang_up() -> Self {
        Self { shape: Shape::HangUp, ..Self::empty(200) }
    }

    /// Exactly these bytes.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { shape: Shape::Raw, body: bytes.into(), ..Self::empty(200) }
    }

    /// Sent only once the gate opens.
    pub fn held(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// Whether the connection ends after this answer.
    pub fn ends(&self) -> bool {
        matches!(self.shape, Shape::UntilEnd | Shape::Truncated | Shape::HangUp)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let Self { status, fields, body, .. } = self;
        let framing = match self.shape {
            Shape::HangUp => return Vec::new(),
            Shape::Raw => return body.clone(),
            Shape::Length if *status == 204 => String::new(),
            Shape::Length => format!("Content-Length: {}\r\n", body.len()),
            Shape::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Shape::UntilEnd => "Connection: close\r\n".to_owned(),
            Shape::Truncated => format!("Content-Length: {}\r\n", body.len() + 50),
        };
        let mut bytes = format!("HTTP/1.1 {status} Said\r\n{framing}{fields}\r\n").into_bytes();
        if self.shape == Shape::Chunked {
            bytes.extend(chunks(body, 7));
        } else {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// A body in chunks of this size.
pub fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}
