//! Events of a session in words.

use crate::metrics::{DialOutcome, RequestRoute, WhipEnd};
use crate::proto::websocket::frame::Side;
use crate::shared::cache_status::CacheStatus;
use crate::shared::record::{Event, NO_CODE, Traced};
use std::net::SocketAddr;

/// An event in one sentence.
pub(crate) fn of(event: &Event<'_>) -> String {
    match *event {
        Event::Accepted { client, through } => match through {
            Some(balancer) => format!("connection of {client} through the load balancer {balancer}"),
            None => format!("connection of {}", address(client)),
        },
        Event::Inherited { node } => {
            format!("handed over by the process before an upgrade; its node is {}", address(node))
        }
        Event::Secured { tls, resumed } => {
            let how = if resumed { "resumed" } else { "full handshake" };
            format!("TLS {}, {how}", tls.word())
        }
        Event::Requested { method: "", .. } => "a request whose head could not be read".to_owned(),
        Event::Requested { route, role, method, target, app, stream } => {
            let role = role.map(|role| format!(", {}", role.word())).unwrap_or_default();
            let names = if stream.is_empty() { String::new() } else { format!(" of {app}/{stream}") };
            let target = if target.is_empty() { String::new() } else { format!(" {target}") };
            format!("{method}{target} ({}{role}{names})", route_words(route))
        }
        Event::Asked { by, status, nodes, took } => asked(by, status, nodes, took),
        Event::Tried { node, outcome, status, took } => tried(node, outcome, status, took),
        Event::Answered { status: 101, .. } => "the client got 101: its WebSocket is open".to_owned(),
        Event::Answered { status, refusal: Some(refusal), .. } => {
            format!("the client got {status} {}: {}", refusal.code(), refusal.sentence())
        }
        Event::Answered { status, bytes, .. } => format!("the client got {status}, {bytes} bytes"),
        Event::Left => "the client left before it had its answer".to_owned(),
        Event::FirstFrame { from, size } => format!("first frame of the {}, {size} bytes", side(from)),
        Event::Signalled { from, signal, size } => {
            format!("{} to {}: {}, {size} bytes", side(from), side(from.other()), signal.words())
        }
        Event::WantedStream { stream } => format!("the client asks for the stream {stream}"),
        Event::Stalled { to, bytes } => {
            format!("{bytes} bytes for the {} could not be sent: it does not take them", side(to))
        }
        Event::Flowing { to, millis } => {
            format!("the {} had taken nothing for {millis} ms, and goes on", side(to))
        }
        Event::Closed { from, code } => format!("the {} sent {}", side(from), close(code.unwrap_or(NO_CODE))),
        Event::SentClose { to, code } => format!("the gateway sent {} to the {}", close(code), side(to)),
        Event::Ended { by, how, frames, bytes, pings } => format!(
            "end by {} ({}); client: {} frames, {} bytes; node: {} frames, {} bytes; {pings} pings of the gateway",
            by.word(),
            how.word(),
            frames[0],
            bytes[0],
            frames[1],
            bytes[1]
        ),
        Event::WhipEnded { how } => whip_end(how).to_owned(),
        Event::Traced(traced) => self::traced(&traced),
    }
}

fn traced(traced: &Traced<'_>) -> String {
    let from = match traced.parent {
        Some(parent) => format!(" of the client, whose span is {parent}"),
        None => ", which begins here".to_owned(),
    };
    let span = match traced.span {
        Some(span) => format!("its span is {span}"),
        None => "no span is recorded".to_owned(),
    };
    format!("part of the trace {}{from}; {span}", traced.trace)
}

fn asked(by: CacheStatus, status: u16, nodes: u16, took: u64) -> String {
    let source = match by {
        CacheStatus::Hit => "answer of the stream manager from memory",
        CacheStatus::Miss => "asked the stream manager",
        CacheStatus::Collapsed => "shared a question to the stream manager that was under way",
        CacheStatus::Bypass => "asked the stream manager for this client alone",
    };
    let answer = match (status, nodes) {
        (0, _) => "no answer".to_owned(),
        (status, 1) => format!("{status}, 1 node"),
        (status, nodes) => format!("{status}, {nodes} nodes"),
    };
    let took = if by == CacheStatus::Hit { String::new() } else { after(took) };
    format!("{source}: {answer}{took}")
}

fn tried(node: SocketAddr, outcome: DialOutcome, status: Option<u16>, took: u64) -> String {
    let status = status.map(|status| format!(" with HTTP status {status}")).unwrap_or_default();
    let what = match outcome {
        DialOutcome::Connected => "took the request",
        DialOutcome::Refused => "refused the connection, or the connection broke",
        DialOutcome::Timeout => "did not accept the connection in time",
        DialOutcome::BadHandshake => "gave an answer that is not what was asked for",
        DialOutcome::UpgradeTimeout => "did not answer in time",
        DialOutcome::Cancelled => "was given up: the client left, or another node was faster",
        DialOutcome::Exhausted => "was not dialled: this machine has no descriptor, port or memory left",
        DialOutcome::Local => "could not be dialled from this machine (route or firewall)",
    };
    format!("node {node} {what}{status}{}", after(took))
}

fn after(micros: u64) -> String {
    if micros < 1000 { format!(", {micros} µs") } else { format!(", {:.1} ms", micros as f64 / 1e3) }
}

/// The kind of a request in words.
fn route_words(route: RequestRoute) -> &'static str {
    match route {
        RequestRoute::Event => "question to the stream manager",
        RequestRoute::Streams => "question to the streams service",
        RequestRoute::TwoStep => "two-step WebSocket",
        RequestRoute::OneStep => "one-step WebSocket",
        RequestRoute::Whip => "WHIP",
        RequestRoute::Whep => "WHEP",
        RequestRoute::Health => "health check",
        RequestRoute::Other => "no route",
    }
}

pub(crate) const fn whip_end(how: WhipEnd) -> &'static str {
    match how {
        WhipEnd::Deleted => "the client ended it with a DELETE",
        WhipEnd::Gone => "the node did not know it any more when the client ended it",
        WhipEnd::Undone => {
            "the gateway deleted it at the node, because the client had left before it got the answer"
        }
        WhipEnd::Kicked => "the operator ended it",
        WhipEnd::Forgotten => "the gateway forgot it, because it remembers too many of this client address",
    }
}

/// An address. Port 0 stands for one that is not known.
pub(crate) fn address(address: SocketAddr) -> String {
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

/// The word for a side of a relay.
pub(crate) const fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Node => "node",
    }
}

/// A Close with the meaning of its code.
pub(crate) fn close(code: u16) -> String {
    let meaning = match code {
        1000 => "normal",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unacceptable data",
        NO_CODE => return "Close without a code".to_owned(),
        1007 => "invalid text",
        1008 => "policy",
        1009 => "message too big",
        1010 => "extension missing",
        1011 => "internal error",
        1012 => "restart",
        1013 => "try again later",
        1014 => "bad gateway",
        _ => "a code of the application",
    };
    format!("Close {code} ({meaning})")
}
