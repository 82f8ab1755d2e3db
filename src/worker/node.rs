//! One HTTP exchange with a node: request with its body out, the whole answer in, within limits.
//!
//! Bodies are session descriptions of a few kilobytes. They are taken whole on either side before they go on: a client
//! that is slow to send holds no node, a request that reached nobody can be given to another node, and an answer that is
//! cut short never looks whole to a client.

use super::conn::Outbox;
use super::net::Sock;
use super::origin::DialFault;
use super::scratch;
use crate::proto::admission::Admitted;
use crate::proto::body::Body;
use crate::proto::head::HeadLimits;
use crate::proto::pass;
use std::io::ErrorKind;
use std::time::Duration;

/// A node's heads are small; Tomcat's own limit is the same.
pub(super) const HEAD: HeadLimits =
    HeadLimits { head_size_max: 8192, target_size_max: 8192, headers_max: 64 };

/// Whether a node reads a request head of so many bytes. It might answer a longer one by a reset, which looks like a node
/// that is down: one client could have it avoided by all.
pub(super) const fn takes_head(size: usize) -> bool {
    size <= HEAD.head_size_max
}

/// Bytes taken at once.
const RECEIVE: usize = 16 * 1024;

/// Waits and limits of an exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub connect: Duration,
    /// From the connection to the last byte of the answer.
    pub answer: Duration,
    pub body_max: u64,
}

/// A node's answer, whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub status: u16,
    /// Fields that the client gets.
    pub fields: Vec<(&'static str, String)>,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

/// Sends `request`, head and body, to a node, on a connection of its own.
pub(super) async fn exchange(
    admitted: &Admitted,
    request: &[u8],
    patience: Patience,
) -> Result<Answered, DialFault> {
    let sock = connect(admitted, patience.connect).await?;
    monoio::time::timeout(patience.answer, talk(&sock, request, patience.body_max))
        .await
        .unwrap_or(Err(DialFault::UpgradeTimeout))
}

/// Connects to a node that may be dialled.
pub(super) async fn connect(admitted: &Admitted, patience: Duration) -> Result<Sock, DialFault> {
    monoio::time::timeout(patience, Sock::connect(admitted.address()))
        .await
        .map_err(|_| DialFault::ConnectTimeout)?
        .map_err(|e| connect_fault(&e))
}

fn connect_fault(e: &std::io::Error) -> DialFault {
    match e.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => {
            tracing::warn!(error = %e, "a node could not be dialled for want of descriptors, ports or memory");
            DialFault::Exhausted
        }
        _ => DialFault::Refused,
    }
}

async fn talk(sock: &Sock, request: &[u8], body_max: u64) -> Result<Answered, DialFault> {
    send(sock, request).await?;
    let mut bytes = Vec::new();
    let (mut answered, mut body) = read_head(sock, &mut bytes, body_max).await?;
    loop {
        let used = fill(&mut answered.body, &mut body, &bytes)?;
        bytes.drain(..used);
        if body.is_done() {
            return Ok(answered);
        }
        if receive(sock, &mut bytes).await? == 0 {
            body.end().map_err(|_| DialFault::BadHandshake(None))?;
            return Ok(answered);
        }
    }
}

/// Reads the final head; interim ones (1xx) are read over. Leaves what follows it in `bytes`.
async fn read_head(sock: &Sock, bytes: &mut Vec<u8>, body_max: u64) -> Result<(Answered, Body), DialFault> {
    let bad = DialFault::BadHandshake(None);
    let mut seen = 0;
    loop {
        let used = match pass::answer(bytes, seen, &HEAD).map_err(|_| bad)? {
            Some((answer, used)) if answer.head.status >= 200 => {
                let fields = answer.fields.iter().map(|(name, value)| (*name, (*value).to_owned()));
                let answered = Answered {
                    status: answer.head.status,
                    fields: fields.collect(),
                    location: answer.location.map(str::to_owned),
                    body: Vec::new(),
                };
                let body = match answer.head.until_close {
                    true => Body::until_close(body_max),
                    false => Body::new(answer.head.body, body_max).map_err(|_| bad)?,
                };
                bytes.drain(..used);
                return Ok((answered, body));
            }
            // nobody asked for another protocol
            Some((answer, _)) if answer.head.status == 101 => return Err(bad),
            Some((_, used)) => used,
            None => 0,
        };
        bytes.drain(..used);
        if used == 0 {
            seen = bytes.len();
            if receive(sock, bytes).await? == 0 {
                return Err(bad);
            }
        } else {
            seen = 0;
        }
    }
}

/// Adds to `to` what of `bytes` is payload, and says how much was dealt with.
fn fill(to: &mut Vec<u8>, body: &mut Body, bytes: &[u8]) -> Result<usize, DialFault> {
    let mut at = 0;
    while at < bytes.len() && !body.is_done() {
        let piece = body.next(&bytes[at..]).map_err(|_| DialFault::BadHandshake(None))?;
        to.extend_from_slice(piece.payload);
        at += piece.used;
        if piece.used == 0 {
            break;
        }
    }
    Ok(at)
}

/// Sends all of a request.
pub(super) async fn send(sock: &Sock, request: &[u8]) -> Result<(), DialFault> {
    let mut out = Outbox::default();
    out.send(sock, request).map_err(|_| DialFault::Broken)?;
    while !out.is_empty() {
        sock.writable().await;
        out.flush(sock).map_err(|_| DialFault::Broken)?;
    }
    Ok(())
}

/// Waits for bytes and appends them; 0 is the end.
pub(super) async fn receive(sock: &Sock, bytes: &mut Vec<u8>) -> Result<usize, DialFault> {
    loop {
        sock.readable().await;
        let taken = scratch::with(|scratch| {
            let taken = sock.recv(&mut scratch.input[..RECEIVE])?;
            bytes.extend_from_slice(&scratch.input[..taken]);
            Ok::<_, std::io::Error>(taken)
        });
        match taken {
            Ok(taken) => return Ok(taken),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Err(DialFault::Broken),
        }
    }
}
