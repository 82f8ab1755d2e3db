//! The reference for heads: RFC 9112 and RFC 9110 line by line, and by name each rule in which we are stricter.
//!
//! It knows nothing of httparse and searches nothing twice as fast as it could: a head is split at its line ends, each line
//! is taken apart by the grammar, and then every field is looked at once for each question.

use crate::oracles::reference::address;
use crate::proto::http::head::{BodyLength, HeadLimits, Request, Response};

/// A head taken apart, and nothing else.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'b> {
    /// The parts of the first line: method, target, version; or version, code, reason.
    pub line: [&'b str; 3],
    /// Names as they came, and values without the space around them.
    pub fields: Vec<(&'b str, &'b [u8])>,
    /// Bytes of the head, the blank line and an empty line before it included.
    pub size: usize,
}

/// A request head by RFC 9112, 2.1 to 5; `None` if there is none, or not all of it.
pub fn request_head(bytes: &[u8]) -> Option<Head<'_>> {
    // RFC 9112, 2.2: "ignore at least one empty line (CRLF) received prior to the request-line"; we: one
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let (line, fields, size) = split(bytes, start)?;
    // RFC 9112, 3: method SP request-target SP HTTP-version
    let [method, target, version]: [&str; 3] =
        std::str::from_utf8(line).ok()?.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let graphic = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    (is_token(method) && graphic && is_version(version)).then_some(Head {
        line: [method, target, version],
        fields,
        size,
    })
}

/// A response head by RFC 9112, 4.
pub fn response_head(bytes: &[u8]) -> Option<Head<'_>> {
    let (line, fields, size) = split(bytes, 0)?;
    let (version, rest) = (line.get(..8)?, line.get(8..)?);
    let version = std::str::from_utf8(version).ok().filter(|version| is_version(version))?;
    let (code, rest) = (rest.strip_prefix(b" ")?.get(..3)?, rest.get(4..)?);
    let code =
        std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|digit| digit.is_ascii_digit()))?;
    // laxer than the grammar: a line that ends behind the code, since there are servers that write it
    let reason = if rest.is_empty() { rest } else { rest.strip_prefix(b" ")? };
    if !reason.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
        return None;
    }
    let reason = std::str::from_utf8(reason).unwrap_or_default();
    Some(Head { line: [version, code, reason], fields, size })
}

/// Name as it came, value.
type Field<'b> = (&'b str, &'b [u8]);

/// The first line, the fields, and the size of it all.
fn split(bytes: &[u8], start: usize) -> Option<(&[u8], Vec<Field<'_>>, usize)> {
    let end = bytes.get(start..)?.windows(4).position(|four| four == b"\r\n\r\n")? + start;
    let mut lines = Vec::new();
    let mut rest = &bytes[start..end];
    while let Some(place) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..place]);
        rest = &rest[place + 2..];
    }
    lines.push(rest);
    // RFC 9112, 2.2: a bare CR is invalid; a bare LF may be taken for a line end: never by us
    if lines.iter().any(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))) {
        return None;
    }
    let first = lines.remove(0);
    let fields = lines.into_iter().map(field).collect::<Option<_>>()?;
    Some((first, fields, end + 4))
}

/// RFC 9112, 5: field-name ":" OWS field-value OWS. A line that begins with space is obsolete folding: never taken.
fn field(line: &[u8]) -> Option<Field<'_>> {
    let place = line.iter().position(|&byte| byte == b':')?;
    let name = std::str::from_utf8(&line[..place]).ok().filter(|name| is_token(name))?;
    let mut value = &line[place + 1..];
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    // RFC 9110, 5.5: VCHAR, obs-text, SP and HTAB
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)).then_some((name, value))
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let tchar = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    !text.is_empty() && text.chars().all(tchar)
}

/// We know two.
fn is_version(text: &str) -> bool {
    ["HTTP/1.0", "HTTP/1.1"].contains(&text)
}

impl<'b> Head<'b> {
    /// All values of a field.
    pub fn values(&self, name: &str) -> Vec<&'b [u8]> {
        let named = |field: &&Field<'_>| field.0.to_ascii_lowercase() == name;
        self.fields.iter().filter(named).map(|field| field.1).collect()
    }

    /// Stricter: a field with one meaning is there once and is ASCII, or the head is refused.
    fn once(&self, name: &str) -> Result<Option<&'b str>, ()> {
        match self.values(name).as_slice() {
            [] => Ok(None),
            [value] if value.is_ascii() => std::str::from_utf8(value).map(Some).map_err(drop),
            _ => Err(()),
        }
    }

    /// The last of several, if it is ASCII.
    fn last(&self, name: &str) -> Option<&'b str> {
        let last = self.values(name).last().copied()?;
        std::str::from_utf8(last).ok().filter(|value| value.is_ascii())
    }

    /// Whether a list names this token.
    fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.values(name);
        let items = values.iter().flat_map(|value| value.split(|&byte| byte == b','));
        items.map(<[u8]>::trim_ascii).any(|item| item.to_ascii_lowercase() == token.as_bytes())
    }

    /// RFC 9112, 6.3, and stricter: of each field one, only `chunked`, never both, never in HTTP/1.0.
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

    /// RFC 9112, 9.3.
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

/// A request as the gateway has to see it; `None` if it has to be refused, or is not all there.
pub fn request<'b>(bytes: &'b [u8], limits: &HeadLimits) -> Option<(Request<'b>, usize)> {
    let head = request_head(bytes)?;
    let [method, target, version] = head.line;
    // of the whole first line there is room for the longest target with a method of 20 bytes
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
        ws_extensions: once("sec-websocket-extensions")?,
        ws_protocol: once("sec-websocket-protocol")?,
        origin: once("origin")?,
        user_agent: head.last("user-agent"),
        authorization: once("authorization")?,
        content_type: once("content-type")?,
        if_match: once("if-match")?,
        if_none_match: once("if-none-match")?,
        accept: head.last("accept"),
        acr_method: once("access-control-request-method")?,
        acr_headers: once("access-control-request-headers")?,
        cookie: !head.values("cookie").is_empty(),
    };
    is_authority(host).then_some((request, head.size))
}

/// A response as the gateway has to see it.
pub fn response<'b>(bytes: &'b [u8], limits: &HeadLimits) -> Option<(Response<'b>, usize)> {
    let head = response_head(bytes)?;
    let [version, code, _] = head.line;
    let (minor, status) = (u8::from(version == "HTTP/1.1"), code.parse().ok()?);
    if !head.fits(limits) || !(100..=599).contains(&status) {
        return None;
    }
    let framing = head.framing(minor)?;
    // RFC 9112, 6.3, 1: whatever the fields say
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

/// RFC 9112, 3.2.1 and 3.2.2; stricter: no `#`, an absolute target is for the host that `Host` names, and nothing else.
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

/// RFC 9110, 7.2: uri-host [ ":" port ]; stricter: a name of letters, digits, `.`, `-` and `_`, and a port that is one.
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
