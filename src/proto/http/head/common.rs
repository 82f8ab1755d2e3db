//! What request and response heads have in common: limits, framing, and the faults that httparse finds.

use crate::proto::http::head::fault::HeadFault;
use crate::proto::http::head::value::{has_token, number, target_byte};

/// Most fields that a head can have, whatever is configured: they are split into an array of this size on the stack.
pub const FIELDS_MAX: usize = 256;

/// How large a head may be (`[limits]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Most bytes of the whole head, blank line included.
    pub head_size_max: usize,
    /// Most bytes of the request target.
    pub target_size_max: usize,
    /// Most fields; values over [`FIELDS_MAX`] count as that.
    pub headers_max: usize,
}

/// The framing of the body behind a head (RFC 9112 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    None,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// The fault that an error of httparse in a complete head stands for.
pub(crate) fn parse_fault(error: httparse::Error, head: &[u8]) -> HeadFault {
    match error {
        httparse::Error::TooManyHeaders => HeadFault::TooManyFields,
        httparse::Error::Version => HeadFault::Version,
        // httparse has one error for every bad token; a bad target has a refusal of its own
        httparse::Error::Token if bad_target_byte(head) => HeadFault::Target,
        _ => HeadFault::Malformed,
    }
}

/// Whether the first line has three parts, and the middle one a byte that no target may hold.
fn bad_target_byte(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(_), Some(target), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    !target.iter().all(|&byte| target_byte(byte))
}

/// What the fields of both kinds of head say about the message and its connection.
pub(crate) struct Common {
    /// Whether the connection may carry another message (RFC 9112 9.3).
    pub(crate) keep_alive: bool,
    /// The announced framing; `None` if no field announces one.
    pub(crate) body: Option<BodyLength>,
    /// `Upgrade: websocket` and `Connection: upgrade`, in HTTP/1.1.
    pub(crate) upgrade_websocket: bool,
}

impl Common {
    /// Reads the fields of a head of version HTTP/1.`minor`. Fails if they frame the body in more than one way.
    pub(crate) fn read(fields: &[httparse::Header<'_>], minor: u8) -> Result<Self, HeadFault> {
        let (mut length, mut chunked) = (None, false);
        let (mut close, mut keep, mut upgrade, mut websocket) = (false, false, false, false);
        for field in fields {
            let (name, value) = (field.name, field.value);
            if name.eq_ignore_ascii_case("content-length") {
                let number = number(value).ok_or(HeadFault::ContentLength)?;
                if length.replace(number).is_some() {
                    return Err(HeadFault::ContentLength);
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadFault::TransferEncoding);
                }
                chunked = true;
            } else if name.eq_ignore_ascii_case("connection") {
                close |= has_token(value, "close");
                keep |= has_token(value, "keep-alive");
                upgrade |= has_token(value, "upgrade");
            } else if name.eq_ignore_ascii_case("upgrade") {
                websocket |= has_token(value, "websocket");
            }
        }
        if chunked && (length.is_some() || minor == 0) {
            return Err(HeadFault::TransferEncoding);
        }
        Ok(Self {
            keep_alive: !close && (minor == 1 || keep),
            body: if chunked { Some(BodyLength::Chunked) } else { length.map(BodyLength::Length) },
            // RFC 9110 7.8: a server ignores Upgrade in HTTP/1.0
            upgrade_websocket: upgrade && websocket && minor == 1,
        })
    }
}
