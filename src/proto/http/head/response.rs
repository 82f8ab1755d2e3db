//! Reads response heads (RFC 9112 4 and 5).

use crate::proto::http::head::common::{BodyLength, Common, FIELDS_MAX, HeadLimits, parse_fault};
use crate::proto::http::head::end::find_end;
use crate::proto::http::head::fault::HeadFault;
use crate::proto::http::head::value::once;
use std::mem::MaybeUninit;

/// A response head, reduced to what the gateway acts on. A second field of a kind is a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'b> {
    /// The status code, from 100 to 599.
    pub status: u16,
    /// The minor version: 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor: u8,
    /// Whether the connection may carry another message (RFC 9112 9.3).
    pub keep_alive: bool,
    /// The framing of the body behind this head; none with a status that has no body, whatever the fields say.
    pub body: BodyLength,
    /// No field frames the body: it lasts until the end of the connection (RFC 9112 6.3).
    pub until_close: bool,
    /// `Upgrade: websocket` and `Connection: upgrade`, in HTTP/1.1.
    pub upgrade_websocket: bool,
    /// `Sec-WebSocket-Accept`, not checked.
    pub ws_accept: Option<&'b str>,
    /// `Sec-WebSocket-Protocol`: the subprotocol that the node chose.
    pub ws_protocol: Option<&'b str>,
    /// `Sec-WebSocket-Extensions`: the extensions that the node chose.
    pub ws_extensions: Option<&'b str>,
    pub content_type: Option<&'b str>,
}

/// Reads a response head from the start of `bytes`: the head and its size in bytes, or `None` if it is not complete yet.
/// `seen` as with [`request`](crate::proto::http::head::request).
///
/// Fails as soon as a fault or a limit shows, and at a status below 100 or over 599.
pub fn response<'b>(
    bytes: &'b [u8],
    seen: usize,
    limits: &HeadLimits,
) -> Result<Option<(Response<'b>, usize)>, HeadFault> {
    let Some(end) = find_end(bytes, 0, seen, usize::MAX, limits.head_size_max)? else {
        return Ok(None);
    };
    let head = &bytes[..end];
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(
            &mut parsed,
            head,
            &mut fields[..limits.headers_max.min(FIELDS_MAX)],
        )
        .map_err(|error| parse_fault(error, head))?;
    let (httparse::Status::Complete(used), Some(minor), Some(code)) = (status, parsed.version, parsed.code)
    else {
        return Err(HeadFault::Malformed);
    };
    if used != head.len() || !(100..=599).contains(&code) {
        return Err(HeadFault::Malformed);
    }
    let common = Common::read(parsed.headers, minor)?;
    let response = Response::read(code, minor, &common, parsed.headers)?;
    Ok(Some((response, end)))
}

impl<'b> Response<'b> {
    /// Makes a response of the split parts of a head.
    fn read(
        status: u16,
        minor: u8,
        common: &Common,
        fields: &[httparse::Header<'b>],
    ) -> Result<Self, HeadFault> {
        let bodiless = matches!(status, 100..=199 | 204 | 304);
        let mut response = Self {
            status,
            minor,
            keep_alive: common.keep_alive,
            body: match common.body {
                Some(body) if !bodiless && body != BodyLength::Length(0) => body,
                _ => BodyLength::None,
            },
            until_close: !bodiless && common.body.is_none(),
            upgrade_websocket: common.upgrade_websocket,
            ws_accept: None,
            ws_protocol: None,
            ws_extensions: None,
            content_type: None,
        };
        for field in fields {
            let is = |other: &str| field.name.eq_ignore_ascii_case(other);
            if is("sec-websocket-accept") {
                once(&mut response.ws_accept, field.value)?;
            } else if is("sec-websocket-protocol") {
                once(&mut response.ws_protocol, field.value)?;
            } else if is("sec-websocket-extensions") {
                once(&mut response.ws_extensions, field.value)?;
            } else if is("content-type") {
                once(&mut response.content_type, field.value)?;
            }
        }
        Ok(response)
    }
}
