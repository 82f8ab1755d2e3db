//! The reference for heads: RFC 9112 and RFC 9110 line by line; rules in which the gateway is stricter are marked.
//!
//! It does not use httparse. A head is split at its line ends, each line by its grammar, and then all fields are searched
//! for each value that is needed.

use crate::oracles::reference::address;
use crate::proto::http::head::{BodyLength, HeadLimits, Request, Response};
use std::borrow::Cow;

/// A head split into its parts, which are not interpreted.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'b> {
    /// The parts of the first line: method, target, version; or version, code, reason.
    pub line: [&'b str; 3],
    /// Names as they came, and values without the space around them.
    pub fields: Vec<(&'b str, &'b [u8])>,
    /// Bytes of the head, with the blank line, and with an empty line before the request line.
    pub size: usize,
}

/// The request head at the front of some bytes, by RFC 9112 2.1 to 5; `None` if it is malformed or not complete.
pub fn request_head(bytes: &[u8]) -> Option<Head<'_>> {
    // RFC 9112 2.2: "ignore at least one empty line (CRLF) received prior to the request-line"; the gateway ignores one
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let (line, fields, size) = split(bytes, start)?;
    // RFC 9112 3: method SP request-target SP HTTP-version
    let [method, target, version]: [&str; 3] =
        std::str::from_utf8(line).ok()?.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let graphic = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    (is_token(method) && graphic && is_version(version)).then_some(Head {
        line: [method, target, version],
        fields,
        size,
    })
}

/// The response head at the front of some bytes, by RFC 9112 4; `None` if it is malformed or not complete.
pub fn response_head(bytes: &[u8]) -> Option<Head<'_>> {
    let (line, fields, size) = split(bytes, 0)?;
    let (version, rest) = (line.get(..8)?, line.get(8..)?);
    let version = std::str::from_utf8(version).ok().filter(|version| is_version(version))?;
    let (code, rest) = (rest.strip_prefix(b" ")?.get(..3)?, rest.get(4..)?);
    let code =
        std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|digit| digit.is_ascii_digit()))?;
    // laxer than the grammar: the line may end behind the code, as some servers write it
    let reason = if rest.is_empty() { rest } else { rest.strip_prefix(b" ")? };
    if !reason.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
        return None;
    }
    let reason = std::str::from_utf8(reason).unwrap_or_default();
    Some(Head { line: [version, code, reason], fields, size })
}

/// The name as it came, and the value.
type Field<'b> = (&'b str, &'b [u8]);

/// The first line, the fields, and the size of the head in bytes.
fn split(bytes: &[u8], start: usize) -> Option<(&[u8], Vec<Field<'_>>, usize)> {
    let end = bytes.get(start..)?.windows(4).position(|four| four == b"\r\n\r\n")? + start;
    let mut lines = Vec::new();
    let mut rest = &bytes[start..end];
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    // RFC 9112 2.2: a bare CR is invalid; a bare LF may count as a line end; stricter: it never does
    if lines.iter().any(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))) {
        return None;
    }
    let first = lines.remove(0);
    let fields = lines.into_iter().map(field).collect::<Option<_>>()?;
    Some((first, fields, end + 4))
}

/// A field by RFC 9112 5: field-name ":" OWS field-value OWS. Stricter: obsolete folding, a line that begins with a space, is
/// never accepted.
fn field(line: &[u8]) -> Option<Field<'_>> {
    let at = line.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&line[..at]).ok().filter(|name| is_token(name))?;
    let mut value = &line[at + 1..];
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    // RFC 9110 5.5: VCHAR, obs-text, SP and HTAB
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)).then_some((name, value))
}

/// A token by RFC 9110 5.6.2.
fn is_token(text: &str) -> bool {
    let tchar = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    !text.is_empty() && text.chars().all(tchar)
}

/// One of the two versions that the gateway speaks.
fn is_version(text: &str) -> bool {
    ["HTTP/1.0", "HTTP/1.1"].contains(&text)
}

impl<'b> Head<'b> {
    /// All values of the fields with this name, which has to be in lower case.
    pub fn values(&self, name: &str) -> Vec<&'b [u8]> {
        let named = |field: &&Field<'_>| field.0.to_ascii_lowercase() == name;
        self.fields.iter().filter(named).map(|field| field.1).collect()
    }

    /// The value of a field that may be there once. Stricter: fails if it is there twice or is not ASCII.
    fn once(&self, name: &str) -> Result<Option<&'b str>, ()> {
        match self.values(name).as_slice() {
            [] => Ok(None),
            [value] if value.is_ascii() => std::str::from_utf8(value).map(Some).map_err(drop),
            _ => Err(()),
        }
    }

    /// The value of a list by RFC 9110 5.3: the lines in their order, with commas between them; empty lines add nothing.
    /// Stricter: fails if a line is not ASCII.
    fn list(&self, name: &str) -> Result<Option<Cow<'b, str>>, ()> {
        let lines = self.values(name);
        if !lines.iter().all(|line| line.is_ascii()) {
            return Err(());
        }
        let filled: Vec<_> =
            lines.iter().filter(|line| !line.is_empty()).map(|line| String::from_utf8_lossy(line)).collect();
        Ok((!lines.is_empty()).then(|| filled.join(", ").into()))
    }

    /// All lines of `tracestate`, those that are not ASCII as a member that breaks its grammar.
    fn tracestate(&self) -> Option<Cow<'b, str>> {
        let lines = self.values("tracestate");
        let text = lines.iter().map(|line| std::str::from_utf8(line).ok().filter(|line| line.is_ascii()));
        let filled: Vec<_> = text.map(|line| line.unwrap_or("=")).filter(|line| !line.is_empty()).collect();
        (!lines.is_empty()).then(|| filled.join(", ").into())
    }

    /// The last value of a field, if it is ASCII.
    fn last(&self, name: &str) -> Option<&'b str> {
        let last = self.values(name).last().copied()?;
        std::str::from_utf8(last).ok().filter(|value| value.is_ascii())
    }

    /// Whether a field that is a list has this token.
    fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.values(name);
        let items = values.iter().flat_map(|value| value.split(|&byte| byte == b','));
        items.map(<[u8]>::trim_ascii).any(|item| item.to_ascii_lowercase() == token.as_bytes())
    }

    /// The framing by RFC 9112 6.3. Stricter: each field once, only `chunked`, never both fields, and no coding in HTTP/1.0.
    /// `None` if the head is refused, `Some(None)` if no field frames the body.
    fn framing(&self, minor: u8) -> Option<Option<BodyLength>> {
        let (codings, lengths) = (self.values("transfer-encoding"), self.values("content-length"));
        match (codings.as_slice(), lengths.as_slice()) {
            ([], []) => Some(None),
            ([], [length]) => {
                let digits = std::str::from_utf8(length).ok()?;
                if digits.is_empty() || digits.chars().any(|digit: char| !digit.is_ascii_digit()) {
                    return None;
                }
                Some(Some(BodyLength::Length(digits.parse().ok()?)))
            }
            ([coding], []) if minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => {
                Some(Some(BodyLength::Chunked))
            }
            _ => None,
        }
    }

    /// Whether the connection is kept, by RFC 9112 9.3.
    fn keeps(&self, minor: u8) -> bool {
        !self.lists("connection", "close") && (minor == 1 || self.lists("connection", "keep-alive"))
    }

    fn upgrades(&self, minor: u8) -> bool {
        minor == 1 && self.lists("connection", "upgrade") && self.lists("upgrade", "websocket")
    }

    fn fits(&self, limits: &HeadLimits) -> bool {
        self.size <= limits.head_size_max && self.fields.len() <= limits.headers_max
    }
}

/// A request as the gateway has to read it, with its size in bytes; `None` if it has to be refused or is not complete.
pub fn request<'b>(bytes: &'b [u8], limits: &HeadLimits) -> Option<(Request<'b>, usize)> {
    let head = request_head(bytes)?;
    let [method, target, version] = head.line;
    // the request line may be as long as the longest target with a method of 20 bytes
    let line = method.len() + target.len() + version.len() + 4;
    if !head.fits(limits) || target.len() > limits.target_size_max || line > limits.target_size_max + 32 {
        return None;
    }
    let minor = u8::from(version == "HTTP/1.1");
    let once = |name: &str| head.once(name).ok();
    let host = once("host")??;
    let request = Request {
        method,
        target: origin_form(target, host)?,
        minor,
        host,
        keep_alive: head.keeps(minor),
        body: match head.framing(minor)? {
            None | Some(BodyLength::Length(0)) => BodyLength::None,
            Some(length) => length,
        },
        expect_continue: minor == 1
            && head.values("expect").last().is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")),
        upgrade_websocket: head.upgrades(minor),
        ws_key: once("sec-websocket-key")?,
        ws_version: once("sec-websocket-version")?,
        ws_extensions: head.list("sec-websocket-extensions").ok()?,
        ws_protocol: head.list("sec-websocket-protocol").ok()?,
        origin: once("origin")?,
        user_agent: head.values("user-agent").last().copied(),
        authorization: once("authorization")?,
        content_type: once("content-type")?,
        if_match: head.list("if-match").ok()?,
        if_none_match: head.list("if-none-match").ok()?,
        accept: head.last("accept"),
        acr_method: once("access-control-request-method")?,
        acr_headers: head.list("access-control-request-headers").ok()?,
        cookie: !head.values("cookie").is_empty(),
        traceparent: match head.values("traceparent").as_slice() {
            [] => None,
            [value] => Some(*value),
            _ => Some(b""),
        },
        tracestate: head.tracestate(),
    };
    is_authority(host).then_some((request, head.size))
}

/// A response as the gateway has to read it, with its size in bytes; `None` if it has to be refused or is not complete.
pub fn response<'b>(bytes: &'b [u8], limits: &HeadLimits) -> Option<(Response<'b>, usize)> {
    let head = response_head(bytes)?;
    let [version, code, _] = head.line;
    let (minor, status) = (u8::from(version == "HTTP/1.1"), code.parse().ok()?);
    if !head.fits(limits) || !(100..=599).contains(&status) {
        return None;
    }
    let framing = head.framing(minor)?;
    // RFC 9112 6.3, item 1: whatever the fields say
    let bodiless = status < 200 || status == 204 || status == 304;
    let response = Response {
        status,
        minor,
        keep_alive: head.keeps(minor),
        body: match framing {
            Some(BodyLength::Length(0)) | None => BodyLength::None,
            Some(_) if bodiless => BodyLength::None,
            Some(length) => length,
        },
        until_close: !bodiless && framing.is_none(),
        upgrade_websocket: head.upgrades(minor),
        ws_accept: head.once("sec-websocket-accept").ok()?,
        ws_protocol: head.once("sec-websocket-protocol").ok()?,
        ws_extensions: head.once("sec-websocket-extensions").ok()?,
        content_type: head.once("content-type").ok()?,
    };
    Some((response, head.size))
}

/// The target in origin-form by RFC 9112 3.2.1 and 3.2.2. Stricter: no `#`, an absolute target has to name the host that
/// `Host` names, and no other form is accepted.
fn origin_form<'b>(target: &'b str, host: &str) -> Option<&'b str> {
    if target.contains('#') {
        return None;
    }
    if target.starts_with('/') {
        return Some(target);
    }
    let lower = target.to_ascii_lowercase();
    let scheme = ["http://", "https://"].iter().find(|scheme| lower.starts_with(**scheme))?;
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, host) = (rest[..end].to_ascii_lowercase(), host.to_ascii_lowercase());
    let same = authority == host
        || authority.strip_suffix(":443") == Some(&host)
        || host.strip_suffix(":443") == Some(&authority);
    if !same {
        return None;
    }
    match &rest[end..] {
        "" => Some("/"),
        path => path.starts_with('/').then_some(path),
    }
}

/// Whether this is an authority by RFC 9110 7.2: uri-host [ ":" port ]. Stricter: a name is of letters, digits, `.`, `-` and
/// `_`, and a port is a number up to 65535.
fn is_authority(text: &str) -> bool {
    let port_start = match text.rfind(']') {
        Some(bracket) => text[bracket..].find(':').map(|colon| bracket + colon),
        None => text.find(':'),
    };
    let (host, port) = match port_start {
        Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
        None => (text, None),
    };
    let is_port = |port: &str| {
        !port.is_empty()
            && port.chars().all(|digit: char| digit.is_ascii_digit())
            && port.parse().is_ok_and(|port: u32| port <= 65_535)
    };
    let is_host = match (host.strip_prefix('['), host.strip_suffix(']')) {
        (Some(_), Some(_)) => address::v6(&host[1..host.len() - 1]).is_some(),
        (None, None) => {
            let letter = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
            !host.is_empty() && host.chars().all(letter)
        }
        _ => false,
    };
    is_host && port.is_none_or(is_port)
}
