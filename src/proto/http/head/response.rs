//! Response heads.

use crate::proto::http::head::common::{BodyLength, Common, FIELDS_MAX, HeadLimits, split_fault};
use crate::proto::http::head::end::complete;
use crate::proto::http::head::fault::HeadFault;
use crate::proto::http::head::value::once;
use std::mem::MaybeUninit;

/// A response head, reduced to what the gateway acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'b> {
    pub status: u16,
    /// 0 or 1, as in HTTP/1.1.
    pub minor: u8,
    pub keep_alive: bool,
    pub body: BodyLength,
    /// Nothing says how long the body is: it lasts until the end of the connection.
    pub until_close: bool,
    /// `Upgrade: websocket` and `Connection: upgrade`.
    pub upgrade_websocket: bool,
    pub ws_accept: Option<&'b str>,
    pub ws_protocol: Option<&'b str>,
    pub ws_extensions: Option<&'b str>,
    pub content_type: Option<&'b str>,
}

/// Reads a response head from the start of `bytes`; `seen` as with [`request`](super::request::request).
pub fn response<'b>(
    bytes: &'b [u8],
    seen: usize,
    limits: &HeadLimits,
) -> Result<Option<(Response<'b>, usize)>, HeadFault> {
    let Some(end) = complete(bytes, 0, seen, usize::MAX, limits.head_size_max)? else {
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
        .map_err(|error| split_fault(error, head))?;
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
