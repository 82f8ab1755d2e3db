//! One HTTP exchange with a node: request with its body out, the whole answer in, within limits.
//!
//! Bodies are session descriptions of a few kilobytes. They are taken whole on either side before they go on: a client
//! that is slow to send holds no node, a request that reached nobody can be given to another node, and an answer that is
//! cut short never looks whole to a client.

use crate::proto::admission::Admitted;
use crate::proto::http::body::Body;
use crate::proto::http::forward_fields;
use crate::worker::io::runtime;
use crate::worker::io::socket::Sock;
use crate::worker::node::connect::{self, DialFault};
use std::time::Duration;

/// Waits and limits of an exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExchangeLimits {
    pub connect_timeout: Duration,
    /// From the connection to the last byte of the answer.
    pub answer_timeout: Duration,
    pub body_max: u64,
}

/// A node's answer, whole.
#[derive(Debug)]
pub(crate) struct Answered {
    pub status: u16,
    /// Fields that the client gets.
    pub fields: Vec<(&'static str, String)>,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

/// Sends `request`, head and body, to a node, on a connection of its own.
pub(crate) async fn exchange(
    admitted: &Admitted,
    request: &[u8],
    limits: ExchangeLimits,
) -> Result<Answered, DialFault> {
    let sock = connect::connect(admitted, limits.connect_timeout).await?;
    runtime::timeout(limits.answer_timeout, talk(&sock, request, limits.body_max))
        .await
        .unwrap_or(Err(DialFault::UpgradeTimeout))
}

async fn talk(sock: &Sock, request: &[u8], body_max: u64) -> Result<Answered, DialFault> {
    connect::send(sock, request).await?;
    let mut bytes = Vec::new();
    let (mut answered, mut body) = read_head(sock, &mut bytes, body_max).await?;
    loop {
        let used = fill(&mut answered.body, &mut body, &bytes)?;
        bytes.drain(..used);
        if body.is_done() {
            return Ok(answered);
        }
        if connect::receive(sock, &mut bytes).await? == 0 {
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
        let used = match forward_fields::answer(bytes, seen, &connect::HEAD).map_err(|_| bad)? {
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
            if connect::receive(sock, bytes).await? == 0 {
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
