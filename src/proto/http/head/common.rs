//! What request and response heads have in common: limits, framing, and what httparse says of a head.

use crate::proto::http::head::fault::HeadFault;
use crate::proto::http::head::value::{names, number, target_byte};

/// Most fields that can be configured; they are split into an array of this size on the stack.
pub const FIELDS_MAX: usize = 256;

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head, blank line included.
    pub head_size_max: usize,
    /// The request target.
    pub target_size_max: usize,
    /// Fields; never more than [`FIELDS_MAX`].
    pub headers_max: usize,
}

/// How long the body is that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    None,
    Length(u64),
    Chunked,
}

/// What httparse's verdict on a complete head means.
pub(crate) fn split_fault(error: httparse::Error, head: &[u8]) -> HeadFault {
    match error {
        httparse::Error::TooManyHeaders => HeadFault::TooManyFields,
        httparse::Error::Version => HeadFault::Version,
        // it calls a bad byte in the target just a token; clients deserve the better word
        httparse::Error::Token if bad_target_byte(head) => HeadFault::Target,
        _ => HeadFault::Malformed,
    }
}

/// Whether the first line has three parts of which the middle one holds bytes that no target holds.
fn bad_target_byte(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(_), Some(target), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    !target.iter().all(|&byte| target_byte(byte))
}

/// What both kinds of head have: framing, and who speaks next.
pub(crate) struct Common {
    pub(crate) keep_alive: bool,
    pub(crate) body: Option<BodyLength>,
    pub(crate) upgrade_websocket: bool,
}

impl Common {
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
                close |= names(value, "close");
                keep |= names(value, "keep-alive");
                upgrade |= names(value, "upgrade");
            } else if name.eq_ignore_ascii_case("upgrade") {
                websocket |= names(value, "websocket");
            }
        }
        if chunked && (length.is_some() || minor == 0) {
            return Err(HeadFault::TransferEncoding);
        }
        Ok(Self {
            keep_alive: !close && (minor == 1 || keep),
            body: if chunked { Some(BodyLength::Chunked) } else { length.map(BodyLength::Length) },
            // RFC 9110, 7.8: in HTTP/1.0 it is ignored
            upgrade_websocket: upgrade && websocket && minor == 1,
        })
    }
}
