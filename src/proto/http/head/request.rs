//! Reads request heads (RFC 9112 3 to 5).

use crate::proto::http::head::common::{BodyLength, Common, FIELDS_MAX, HeadLimits, parse_fault};
use crate::proto::http::head::end::find_end;
use crate::proto::http::head::fault::HeadFault;
use crate::proto::http::head::value::{is_authority, list, once, origin_form, visible};
use std::borrow::Cow;
use std::mem::MaybeUninit;

/// Bytes of a request line around its target: method of at most 20 bytes, two spaces, version, line end.
const REQUEST_LINE_REST: usize = 20 + 1 + 1 + "HTTP/1.1\r\n".len();

/// A request head, reduced to what the gateway acts on. Fields are those with the same name unless a comment says otherwise;
/// a second one of a kind is a fault. Of a list several lines are one (RFC 9110 5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'b> {
    /// The method as it came; methods are case-sensitive (RFC 9110 9.1).
    pub method: &'b str,
    /// In origin-form; an absolute target for the host of this request has been reduced to it.
    pub target: &'b str,
    /// The minor version: 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor: u8,
    /// A host name or address, with a port or without.
    pub host: &'b str,
    /// Whether the connection may carry another request (RFC 9112 9.3).
    pub keep_alive: bool,
    /// The framing of the body behind this head; a `Content-Length` of zero is no body.
    pub body: BodyLength,
    /// `Expect: 100-continue`: the client waits for a 100 before it sends its body.
    pub expect_continue: bool,
    /// `Upgrade: websocket` and `Connection: upgrade`, in HTTP/1.1.
    pub upgrade_websocket: bool,
    /// `Sec-WebSocket-Key`, not checked.
    pub ws_key: Option<&'b str>,
    /// `Sec-WebSocket-Version`, not checked.
    pub ws_version: Option<&'b str>,
    /// `Sec-WebSocket-Extensions`: the extensions that the client offers. A list (RFC 6455 11.3.2).
    pub ws_extensions: Option<Cow<'b, str>>,
    /// `Sec-WebSocket-Protocol`: the subprotocols that the client offers. A list (RFC 6455 11.3.4).
    pub ws_protocol: Option<Cow<'b, str>>,
    /// The web origin of the page that made the request.
    pub origin: Option<&'b str>,
    /// As it came, perhaps with bytes over 127; of several fields the last.
    pub user_agent: Option<&'b [u8]>,
    pub authorization: Option<&'b str>,
    pub content_type: Option<&'b str>,
    /// A list.
    pub if_match: Option<Cow<'b, str>>,
    /// A list.
    pub if_none_match: Option<Cow<'b, str>>,
    /// Only if it is visible ASCII; of several fields the last.
    pub accept: Option<&'b str>,
    /// `Access-Control-Request-Method`: with it an OPTIONS is a preflight.
    pub acr_method: Option<&'b str>,
    /// `Access-Control-Request-Headers`. A list.
    pub acr_headers: Option<Cow<'b, str>>,
    /// Whether there is a cookie; its value is never read.
    pub cookie: bool,
    /// `traceparent`, not checked; empty, which is none, if there are several: none of them counts then.
    pub traceparent: Option<&'b [u8]>,
    /// `tracestate`, not checked. A list; `=` stands in it for a line that is not visible ASCII.
    pub tracestate: Option<Cow<'b, str>>,
}

/// A member that no `tracestate` may have: what holds it is ignored.
const NO_STATE: &[u8] = b"=";

/// Reads a request head from the start of `bytes`: the head and its size in bytes, or `None` if it is not complete yet.
///
/// `seen` is the number of bytes that the previous call had, zero in the first: only newer bytes are searched for the blank
/// line, so that a head that comes byte by byte costs linear time. Fails as soon as a fault or a limit shows.
pub fn request<'b>(
    bytes: &'b [u8],
    seen: usize,
    limits: &HeadLimits,
) -> Result<Option<(Request<'b>, usize)>, HeadFault> {
    // RFC 9112 2.2: one empty line before the request line is ignored
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let line_max = limits.target_size_max.saturating_add(REQUEST_LINE_REST);
    let Some(end) = find_end(bytes, start, seen, line_max, limits.head_size_max)? else {
        return Ok(None);
    };
    let head = &bytes[start..end];
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed
        .parse_with_uninit_headers(head, &mut fields[..limits.headers_max.min(FIELDS_MAX)])
        .map_err(|error| parse_fault(error, head))?;
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

impl<'b> Request<'b> {
    /// Makes a request of the split parts of a head.
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
            traceparent: None,
            tracestate: None,
        };
        let mut host = None;
        for field in fields {
            request.field(field, &mut host)?;
        }
        request.host = host.filter(|host| is_authority(host)).ok_or(HeadFault::Host)?;
        request.target = origin_form(target, request.host)?;
        Ok(request)
    }

    /// Notes one field of the head; `Host` goes to `host`.
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
            list(&mut self.ws_extensions, value)
        } else if is("sec-websocket-protocol") {
            list(&mut self.ws_protocol, value)
        } else if is("origin") {
            once(&mut self.origin, value)
        } else if is("authorization") {
            once(&mut self.authorization, value)
        } else if is("content-type") {
            once(&mut self.content_type, value)
        } else if is("if-match") {
            list(&mut self.if_match, value)
        } else if is("if-none-match") {
            list(&mut self.if_none_match, value)
        } else if is("access-control-request-method") {
            once(&mut self.acr_method, value)
        } else if is("access-control-request-headers") {
            list(&mut self.acr_headers, value)
        } else {
            // no two readers can disagree about these, so several or odd ones are no fault
            if is("user-agent") {
                self.user_agent = Some(value);
            } else if is("accept") {
                self.accept = visible(value);
            } else if is("cookie") {
                self.cookie = true;
            } else if is("expect") {
                self.expect_continue = value.eq_ignore_ascii_case(b"100-continue") && self.minor == 1;
            } else if is("traceparent") {
                self.traceparent = Some(if self.traceparent.is_none() { value } else { b"" });
            } else if is("tracestate") {
                let _ = list(&mut self.tracestate, value).or_else(|_| list(&mut self.tracestate, NO_STATE));
            }
            Ok(())
        }
    }
}
