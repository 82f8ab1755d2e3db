//! Reading HTTP/1.1 heads, strictly: one way to read every framing, and a fault for everything that has two.
//!
//! httparse splits the lines; every rule on top of it is here. This file knows no route, no limit of its own making, and
//! nothing about what a field is used for. It consumes nothing until a head is complete.

use std::mem::MaybeUninit;

use crate::proto::http::head::end::complete;
pub(crate) use crate::proto::http::head::value::{is_authority, target_byte, visible};
use crate::proto::http::head::value::{names, number, once, origin_form};

use crate::proto::refusal::Refusal;

mod end;
#[cfg(test)]
mod tests;
mod value;

/// Most fields that can be configured; they are split into an array of this size on the stack.
pub const FIELDS_MAX: usize = 256;

/// Method, spaces, version and line end around a target; a method may have up to 20 bytes.
const REQUEST_LINE_REST: usize = 20 + 1 + 1 + "HTTP/1.1\r\n".len();

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

/// Why a head is refused. None of them leaves a connection in a state worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// CR without LF or LF without CR.
    BareLineEnd,
    /// A NUL byte.
    Nul,
    /// No line, field or method as the grammar has it; obsolete folding, space before a colon.
    Malformed,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    TargetTooLong,
    TooLarge,
    TooManyFields,
    /// Not origin-form with visible ASCII bytes.
    Target,
    /// An absolute target whose authority is not that of `Host`.
    OtherHost,
    /// `Host` missing, doubled, empty or no authority.
    Host,
    /// `Content-Length` doubled, a list, or no number.
    ContentLength,
    /// `Transfer-Encoding` doubled, not exactly `chunked`, with a `Content-Length`, or in HTTP/1.0.
    TransferEncoding,
    /// A field that may be there once was there twice, or holds bytes that it can't.
    Field,
}

impl HeadFault {
    /// What the client is told.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::TargetTooLong => Refusal::TargetTooLong,
            Self::TooLarge | Self::TooManyFields => Refusal::HeadTooLarge,
            Self::Target | Self::OtherHost => Refusal::BadTarget,
            Self::BareLineEnd
            | Self::Nul
            | Self::Malformed
            | Self::Version
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::Field => Refusal::BadRequest,
        }
    }
}

/// How long the body is that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    None,
    Length(u64),
    Chunked,
}

/// A request head, reduced to what the gateway acts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'b> {
    pub method: &'b str,
    /// In origin-form; an absolute target for our own host has been reduced to it.
    pub target: &'b str,
    /// 0 or 1, as in HTTP/1.1.
    pub minor: u8,
    pub host: &'b str,
    pub keep_alive: bool,
    pub body: BodyLength,
    /// The client waits for a 100 before it sends its body.
    pub expect_continue: bool,
    /// `Upgrade: websocket` and `Connection: upgrade`, in HTTP/1.1.
    pub upgrade_websocket: bool,
    pub ws_key: Option<&'b str>,
    pub ws_version: Option<&'b str>,
    pub ws_extensions: Option<&'b str>,
    pub ws_protocol: Option<&'b str>,
    pub origin: Option<&'b str>,
    /// Only if it is visible ASCII.
    pub user_agent: Option<&'b str>,
    pub authorization: Option<&'b str>,
    pub content_type: Option<&'b str>,
    pub if_match: Option<&'b str>,
    pub if_none_match: Option<&'b str>,
    /// Only if it is visible ASCII; of several fields the last.
    pub accept: Option<&'b str>,
    /// `Access-Control-Request-Method`: with it an OPTIONS is a preflight.
    pub acr_method: Option<&'b str>,
    /// `Access-Control-Request-Headers`.
    pub acr_headers: Option<&'b str>,
    /// A cookie came along; nobody may look into it.
    pub cookie: bool,
}

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

/// Reads a request head from the start of `bytes`.
///
/// `seen` is how many of these bytes the call before had: only newer ones are searched for the blank line, so a slow drip
/// costs linear time. Gives the head and how many bytes it takes, or `None` if it is not complete yet.
pub fn request<'b>(
    bytes: &'b [u8],
    seen: usize,
    limits: &HeadLimits,
) -> Result<Option<(Request<'b>, usize)>, HeadFault> {
    // RFC 9112, 2.2: one empty line before a request line is forgiven
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let line_max = limits.target_size_max.saturating_add(REQUEST_LINE_REST);
    let Some(end) = complete(bytes, start, seen, line_max, limits.head_size_max)? else {
        return Ok(None);
    };
    let head = &bytes[start..end];
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed
        .parse_with_uninit_headers(head, &mut fields[..limits.headers_max.min(FIELDS_MAX)])
        .map_err(|error| split_fault(error, head))?;
    let (httparse::Status::Complete(used), Some(method), Some(target), Some(minor)) =
        (status, parsed.method, parsed.path, parsed.version)
    else {
        return Err(HeadFault::Malformed);
    };
    if used != head.len() {
        return Err(HeadFault::Malformed);
    }
    if target.len() > limits.target_size_max {
        return Err(HeadFault::TargetTooLong);
    }
    let common = Common::read(parsed.headers, minor)?;
    let request = Request::read(method, target, minor, &common, parsed.headers)?;
    Ok(Some((request, end)))
}

/// Reads a response head from the start of `bytes`; `seen` as with [`request`].
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

/// What httparse's verdict on a complete head means.
fn split_fault(error: httparse::Error, head: &[u8]) -> HeadFault {
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
struct Common {
    keep_alive: bool,
    body: Option<BodyLength>,
    upgrade_websocket: bool,
}

impl Common {
    fn read(fields: &[httparse::Header<'_>], minor: u8) -> Result<Self, HeadFault> {
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

impl<'b> Request<'b> {
    fn read(
        method: &'b str,
        target: &'b str,
        minor: u8,
        common: &Common,
        fields: &[httparse::Header<'b>],
    ) -> Result<Self, HeadFault> {
        let mut request = Self {
            method,
            target,
            minor,
            host: "",
            keep_alive: common.keep_alive,
            body: match common.body {
                None | Some(BodyLength::Length(0)) => BodyLength::None,
                Some(body) => body,
            },
            expect_continue: false,
            upgrade_websocket: common.upgrade_websocket,
            ws_key: None,
            ws_version: None,
            ws_extensions: None,
            ws_protocol: None,
            origin: None,
            user_agent: None,
            authorization: None,
            content_type: None,
            if_match: None,
            if_none_match: None,
            accept: None,
            acr_method: None,
            acr_headers: None,
            cookie: false,
        };
        let mut host = None;
        for field in fields {
            request.field(field, &mut host)?;
        }
        request.host = host.filter(|host| is_authority(host)).ok_or(HeadFault::Host)?;
        request.target = origin_form(target, request.host)?;
        Ok(request)
    }

    fn field(&mut self, field: &httparse::Header<'b>, host: &mut Option<&'b str>) -> Result<(), HeadFault> {
        let (name, value) = (field.name, field.value);
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("host") {
            once(host, value).map_err(|_| HeadFault::Host)
        } else if is("sec-websocket-key") {
            once(&mut self.ws_key, value)
        } else if is("sec-websocket-version") {
            once(&mut self.ws_version, value)
        } else if is("sec-websocket-extensions") {
            once(&mut self.ws_extensions, value)
        } else if is("sec-websocket-protocol") {
            once(&mut self.ws_protocol, value)
        } else if is("origin") {
            once(&mut self.origin, value)
        } else if is("authorization") {
            once(&mut self.authorization, value)
        } else if is("content-type") {
            once(&mut self.content_type, value)
        } else if is("if-match") {
            once(&mut self.if_match, value)
        } else if is("if-none-match") {
            once(&mut self.if_none_match, value)
        } else if is("access-control-request-method") {
            once(&mut self.acr_method, value)
        } else if is("access-control-request-headers") {
            once(&mut self.acr_headers, value)
        } else {
            // these can't make two readers disagree
            if is("user-agent") {
                self.user_agent = visible(value);
            } else if is("accept") {
                self.accept = visible(value);
            } else if is("cookie") {
                self.cookie = true;
            } else if is("expect") {
                self.expect_continue = value.eq_ignore_ascii_case(b"100-continue") && self.minor == 1;
            }
            Ok(())
        }
    }
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
