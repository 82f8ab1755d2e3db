//! Just enough HTTP/1.1 for a sandbox: read a head, write a response. Bodies of requests are not read.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest head that is read; real nodes stop at 8 KiB.
const HEAD_MAX: usize = 32 * 1024;

/// A request head as it came.
#[derive(Debug, Clone)]
pub struct Head {
    /// Every byte up to and including the empty line.
    pub raw: String,
    /// The method.
    pub method: String,
    /// The target, undecoded.
    pub target: String,
    /// Names as sent, in order.
    pub headers: Vec<(String, String)>,
    /// Who sent it.
    pub from: SocketAddr,
}

impl Head {
    /// The first header of that name, in any letter case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The target before its first `?`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The target behind its first `?`.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// Reads one head; `rest` holds what came behind it (and what was left from before). None at a clean end.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    rest: &mut Vec<u8>,
    from: SocketAddr,
) -> io::Result<Option<Head>> {
    loop {
        if let Some(end) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
            let behind = rest.split_off(end + 4);
            let raw = std::mem::replace(rest, behind);
            return parse(&raw, from).map(Some);
        }
        if rest.len() > HEAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head is too long"));
        }
        if stream.read_buf(rest).await? == 0 {
            return if rest.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

fn parse(raw: &[u8], from: SocketAddr) -> io::Result<Head> {
    let bad = |_| io::Error::new(io::ErrorKind::InvalidData, "not a request head");
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

/// A whole response.
pub(crate) fn response(status: u16, content_type: &str, body: &[u8], keep: bool) -> Vec<u8> {
    let connection = if keep { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
        reason(status),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        426 => "Upgrade Required",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Whatever",
    }
}
