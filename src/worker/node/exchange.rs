//! One HTTP exchange with a node: sends a request with its body and receives the whole answer, within limits.
//!
//! Bodies are session descriptions of a few kilobytes. Both sides' bodies are received whole before they are forwarded: a
//! client that sends slowly occupies no node, a request that reached no node can go to another one, and an answer that was
//! cut short never looks complete to a client.

use crate::proto::admission::Admitted;
use crate::proto::http::body::Body;
use crate::proto::http::forward_fields;
use crate::proto::http::head::HeadLimits;
use crate::worker::io::runtime;
use crate::worker::io::socket::Sock;
use crate::worker::node::connect::{self, DialFault};
use std::cell::Cell;
use std::time::Duration;

/// Most interim heads (1xx) that a node may send before its answer. One is usual: `100 Continue`, or a 103.
const INTERIM_HEADS_MAX: u32 = 8;

/// The limits of an exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExchangeLimits {
    pub connect_timeout: Duration,
    /// For the time from the connection to the last byte of the answer.
    pub answer_timeout: Duration,
    /// Most bytes of the answer's head.
    pub head_size_max: usize,
    /// Most bytes of the answer's body.
    pub body_max: u64,
}

/// Why an exchange gave no whole answer.
#[derive(Debug)]
pub(crate) struct ExchangeFault {
    pub fault: DialFault,
    /// The answer began with a status of success: the node did what it was asked for.
    pub accepted: Option<Accepted>,
}

/// What is known of a request that a node accepted, although its answer is of no use.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The `Location`, if the head of the answer could be read.
    pub location: Option<Vec<u8>>,
}

/// How the answers of nodes begin that accept a request.
const SUCCESS: [&[u8]; 2] = [b"HTTP/1.1 2", b"HTTP/1.0 2"];

/// The whole answer of a node.
#[derive(Debug)]
pub(crate) struct Answered {
    pub status: u16,
    /// Header fields that are forwarded to the client.
    pub fields: Vec<(&'static str, String)>,
    pub location: Option<Vec<u8>>,
    pub body: Vec<u8>,
}

/// How long a node may take to end the connection after its answer; then the gateway ends it.
const NODE_END_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until the node has ended the connection, which the request asked for, or has had its time. The side that ends a
/// connection first keeps its port for a minute (TIME_WAIT), and a gateway has only some 28,000 ports for each node.
pub(crate) async fn await_end(sock: Sock) {
    let mut rest = Vec::new();
    let ended = async {
        while rest.len() < REST_MAX && matches!(connect::receive(&sock, &mut rest).await, Ok(1..)) {}
    };
    // the end, an error and the time being up are all the same here
    let _ = runtime::timeout(NODE_END_TIMEOUT, ended).await;
}

/// Most bytes behind an answer that are read and discarded while the gateway waits for the end of the connection.
const REST_MAX: usize = 64 * 1024;

/// Sends `request`, head and body, to a node on a new connection. Fails with [`DialFault::BadHandshake`] when the answer is
/// no valid HTTP, has a larger body than allowed, or ends early. The socket is for [`await_end`].
pub(crate) async fn exchange(
    admitted: &Admitted,
    request: &[u8],
    limits: ExchangeLimits,
) -> Result<(Answered, Sock), ExchangeFault> {
    let accepted = Cell::new(None);
    let talk = async {
        let sock = connect::connect(admitted, limits.connect_timeout).await?;
        let answered = runtime::timeout(limits.answer_timeout, talk(&sock, request, limits, &accepted))
            .await
            .unwrap_or(Err(DialFault::UpgradeTimeout))?;
        Ok((answered, sock))
    };
    talk.await.map_err(|fault| ExchangeFault { fault, accepted: accepted.take() })
}

/// Sends the request while it receives the answer. What the answer's head says of an accepted request goes to `accepted`.
async fn talk(
    sock: &Sock,
    request: &[u8],
    limits: ExchangeLimits,
    accepted: &Cell<Option<Accepted>>,
) -> Result<Answered, DialFault> {
    connect::send_while(sock, request, receive(sock, limits, accepted)).await
}

async fn receive(
    sock: &Sock,
    limits: ExchangeLimits,
    accepted: &Cell<Option<Accepted>>,
) -> Result<Answered, DialFault> {
    let mut bytes = Vec::new();
    let (mut answered, mut body) = read_head(sock, &mut bytes, limits, accepted).await?;
    loop {
        let used = fill(&mut answered.body, &mut body, &bytes)?;
        bytes.drain(..used);
        if body.is_done() {
            return Ok(answered);
        }
        match connect::receive(sock, &mut bytes).await {
            // an early refusal may end with a reset: the rest of the request was not read
            Err(DialFault::Broken) if answered.status >= 400 && body.end().is_ok() => return Ok(answered),
            Err(fault) => return Err(fault),
            Ok(0) => {
                body.end().map_err(|_| DialFault::BadHandshake(None))?;
                return Ok(answered);
            }
            Ok(_) => {}
        }
    }
}

/// Reads the final head and skips interim ones (1xx). The bytes behind it stay in `bytes`.
async fn read_head(
    sock: &Sock,
    bytes: &mut Vec<u8>,
    limits: ExchangeLimits,
    accepted: &Cell<Option<Accepted>>,
) -> Result<(Answered, Body), DialFault> {
    let bad = DialFault::BadHandshake(None);
    let body_max = limits.body_max;
    let head_limits = HeadLimits { head_size_max: limits.head_size_max, ..connect::HEAD_LIMITS };
    let (mut seen, mut interim_heads) = (0, 0);
    loop {
        if SUCCESS.iter().any(|success| bytes.starts_with(success)) {
            accepted.set(Some(Accepted { location: None }));
        }
        let used = match forward_fields::answer(bytes, seen, &head_limits).map_err(|_| bad)? {
            Some((answer, used)) if answer.head.status >= 200 => {
                let fields = answer.fields.iter().map(|(name, value)| (*name, (*value).to_owned()));
                let answered = Answered {
                    status: answer.head.status,
                    fields: fields.collect(),
                    location: answer.location.map(<[u8]>::to_vec),
                    body: Vec::new(),
                };
                if matches!(answered.status, 200..=299) {
                    accepted.set(Some(Accepted { location: answered.location.clone() }));
                }
                let body = match answer.head.until_close {
                    true => Body::until_close(body_max),
                    false => Body::new(answer.head.body, body_max).map_err(|_| bad)?,
                };
                bytes.drain(..used);
                return Ok((answered, body));
            }
            // the request asked for no other protocol
            Some((answer, _)) if answer.head.status == 101 => return Err(bad),
            Some(_) if interim_heads == INTERIM_HEADS_MAX => return Err(bad),
            Some((_, used)) => {
                interim_heads += 1;
                used
            }
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

/// Appends the payload in `bytes` to `to`. The result is how many of `bytes` were used.
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
