//! The part of HTTP/1.1 that the sandbox needs: reading a head, reading a body, writing a response.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::config::Framing;
use crate::whip::Reply;

/// Longest request head that is read, in bytes; real nodes accept 8 KiB.
const HEAD_MAX: usize = 32 * 1024;

/// A request head as it was received.
#[derive(Debug, Clone)]
pub struct Head {
    /// Every byte up to and including the empty line.
    pub raw: String,
    /// The method.
    pub method: String,
    /// The target, undecoded.
    pub target: String,
    /// Names and values of the fields, in the order and letter case in which they were sent.
    pub headers: Vec<(String, String)>,
    /// Address and port of the sender.
    pub from: SocketAddr,
}

impl Head {
    /// The value of the first header of that name; letter case does not matter.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The part of the target before its first `?`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The part of the target behind its first `?`; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The value of the first query parameter of that name, undecoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        let pairs = self.query().split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether the client keeps the connection open after this request: it did not send `Connection: close`.
    pub(crate) fn keeps_alive(&self) -> bool {
        !self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Reads one head. `rest` holds bytes that were read before, and afterwards the bytes behind the head. None when the
/// connection ended before the first byte of a head.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    rest: &mut Vec<u8>,
    from: SocketAddr,
) -> io::Result<Option<Head>> {
    loop {
        if let Some(end) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
            let remaining = rest.split_off(end + 4);
            let raw = std::mem::replace(rest, remaining);
            return parse(&raw, from).map(Some);
        }
        if rest.len() > HEAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "request head longer than 32 KiB"));
        }
        if stream.read_buf(rest).await? == 0 {
            return if rest.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

fn parse(raw: &[u8], from: SocketAddr) -> io::Result<Head> {
    let bad = |_| io::Error::new(io::ErrorKind::InvalidData, "malformed request head");
    let mut slots = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut slots);
    request.parse(raw).map_err(bad)?;
    let headers = request.headers.iter();
    Ok(Head {
        raw: String::from_utf8_lossy(raw).into_owned(),
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers: headers
            .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()))
            .collect(),
        from,
    })
}

/// Writes a whole response. `keep`: the connection stays open afterwards.
pub(crate) fn response(status: u16, content_type: &str, body: &[u8], keep: bool) -> Vec<u8> {
    let connection = if keep { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        reason(status),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Reads the body of a request of at most `max` bytes. The inner error is the status to answer when the body is too long
/// or malformed.
pub(crate) async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    rest: &mut Vec<u8>,
    head: &Head,
    max: usize,
) -> io::Result<Result<Vec<u8>, u16>> {
    if head.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        return read_chunks(stream, rest, max).await;
    }
    let len = head.header("content-length").map_or(Ok(0), str::parse::<usize>);
    match len {
        Ok(len) if len <= max => take(stream, rest, len).await.map(Ok),
        Ok(_) => Ok(Err(413)),
        Err(_) => Ok(Err(400)),
    }
}

async fn read_chunks<S: AsyncRead + Unpin>(
    stream: &mut S,
    rest: &mut Vec<u8>,
    max: usize,
) -> io::Result<Result<Vec<u8>, u16>> {
    let mut body = Vec::new();
    loop {
        let line = take_line(stream, rest).await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(size, 16) else { return Ok(Err(400)) };
        if size > max - body.len() {
            return Ok(Err(413));
        }
        if size == 0 {
            // Skips the trailer fields, up to the empty line.
            while !take_line(stream, rest).await?.is_empty() {}
            return Ok(Ok(body));
        }
        body.extend(take(stream, rest, size).await?);
        if !take_line(stream, rest).await?.is_empty() {
            return Ok(Err(400));
        }
    }
}

/// Reads one line and returns it without its line end.
async fn take_line<S: AsyncRead + Unpin>(stream: &mut S, rest: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
            let line = take(stream, rest, end + 2).await?;
            return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        if rest.len() > HEAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "line longer than 32 KiB"));
        }
        if stream.read_buf(rest).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Reads exactly `len` bytes.
async fn take<S: AsyncRead + Unpin>(stream: &mut S, rest: &mut Vec<u8>, len: usize) -> io::Result<Vec<u8>> {
    while rest.len() < len {
        if stream.read_buf(rest).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let remaining = rest.split_off(len);
    Ok(std::mem::replace(rest, remaining))
}

/// Writes a whole response with the fields of `reply`, its body delimited by `framing`. `keep` only sets the `Connection`
/// field: the calling function has to close the connection when it is false.
pub(crate) fn framed(reply: &Reply, framing: Framing, keep: bool) -> Vec<u8> {
    let body = &reply.body;
    let connection = if keep { "keep-alive" } else { "close" };
    let mut head =
        format!("HTTP/1.1 {} {}\r\nConnection: {connection}\r\n", reply.status, reason(reply.status));
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let sent = match framing {
        // A 204 has neither a body nor a `Content-Length` (RFC 9110, 8.6).
        _ if reply.status == 204 => Vec::new(),
        Framing::Length | Framing::Cut => {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            if framing == Framing::Cut { body[..body.len() / 2].to_vec() } else { body.clone() }
        }
        Framing::UntilClose => body.clone(),
        Framing::Chunked => {
            head.push_str("Transfer-Encoding: chunked\r\n");
            let mut chunks = Vec::new();
            for chunk in body.chunks(100) {
                chunks.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            }
            chunks.extend(b"0\r\n\r\n");
            chunks
        }
    };
    [head.as_bytes(), b"\r\n", &sent].concat()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}
