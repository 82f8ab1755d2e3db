//! Why a session ended, or how it stands, in words that an operator understands without this program's own terms.

use super::words;
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};
use crate::shared::record::{Cause, Summary};
use crate::worker::{Activity, SessionSnapshot, State, remedy};

/// The verdict on a session with this summary; `open`: it goes on.
pub(crate) fn of(summary: &Summary<'_>, open: Option<&SessionSnapshot>) -> String {
    if let Some(open) = open {
        return is_open(open, summary);
    }
    match (summary.cause, summary.refusal, summary.status) {
        (Some(Cause::Relay(by, how)), ..) => relay(by, how, summary),
        (Some(Cause::Whip(how)), ..) => format!("Over: {}.", words::whip_end(how)),
        (Some(Cause::Left), ..) => left(summary),
        (None, Some(refusal), _) => refused(refusal, summary),
        (None, None, Some(status @ 400..)) => format!("Answered with {status}{}.", answered_by(summary)),
        (None, None, Some(status)) => format!("Answered with {status}; the connection has ended since."),
        (None, None, None) => "The connection ended inside a request.".to_owned(),
    }
}

fn is_open(open: &SessionSnapshot, summary: &Summary<'_>) -> String {
    let idle = open.idle as f64 / 1e3;
    match (open.state, open.requests, open.activity) {
        (State::Superseded, ..) => {
            "Remembered, but its client has published the same stream again since: it is most likely over."
                .to_owned()
        }
        (_, Some(requests), _) => format!(
            "Remembered until its client ends it; {requests} requests came about it, the last one {idle:.0} s ago. Its media \
             does not pass here, so only the node knows whether it still flows."
        ),
        (.., Activity::Requests) => {
            format!("The connection is open for further requests; the last one came {idle:.0} s ago.")
        }
        (State::Opening, ..) => format!("It is being opened since {idle:.1} s."),
        (State::Closing, ..) => "It is ending: a Close was sent, and its answer is waited for.".to_owned(),
        (State::Open, ..) => match summary.stalled {
            Some((Side::Client, _)) => {
                "Open, but the client does not take what the node sends: its line is too slow or gone, or its page does not read. \
                 The gateway holds the node back."
                    .to_owned()
            }
            Some((Side::Node, _)) => {
                "Open, but the node does not take what the client sends. The gateway holds the client back.".to_owned()
            }
            None => format!("Open; the last data came {idle:.0} s ago."),
        },
    }
}

/// The party that gave an answer that is no refusal of the gateway.
fn answered_by(summary: &Summary<'_>) -> String {
    match (summary.node, summary.cache) {
        (Some(node), _) => format!(" by the node {node}"),
        (None, Some(_)) => " by the stream manager".to_owned(),
        (None, None) => String::new(),
    }
}

fn left(summary: &Summary<'_>) -> String {
    let waited = summary.last.saturating_sub(summary.requested).as_secs_f64();
    let on = match (summary.node, summary.cache) {
        (Some(node), _) => format!("the node {node}"),
        (None, Some(_)) => "the node that the stream manager named".to_owned(),
        (None, None) => "the stream manager".to_owned(),
    };
    format!("The client left after {waited:.1} s, while the gateway waited for {on}.")
}

fn refused(refusal: Refusal, summary: &Summary<'_>) -> String {
    let tried = match (summary.tries, summary.node) {
        (0, _) | (_, None) => String::new(),
        (1, Some(node)) => format!(" The node {node} was tried."),
        (tries, Some(node)) => format!(" {tries} nodes were tried, the last one was {node}."),
    };
    let why = match (refusal, summary.node_status) {
        (Refusal::OriginBadHandshake, Some(status)) => remedy::bad_status(status),
        _ => remedy::of(refusal).into(),
    };
    format!(
        "Refused with {} ({}): {} Why: {why}.{tried}",
        refusal.status(),
        refusal.code(),
        refusal.sentence()
    )
}

fn relay(by: By, how: How, summary: &Summary<'_>) -> String {
    let code = |side: usize| summary.closes[side].map_or_else(|| "a Close".to_owned(), words::close);
    let node = summary.node.map(|node| format!(" {node}")).unwrap_or_default();
    match (by, how) {
        (By::Client, How::Close) => format!("The client ended it with {}. That is a normal end.", code(0)),
        (By::Node, How::Close) => format!("The node{node} ended it with {}.", code(1)),
        (By::Client, How::Lost) if matches!(summary.stalled, Some((Side::Client, _))) => {
            "The client's connection ended without a Close while bytes waited that it did not take: its line was too slow, its \
             network was lost, or its device fell asleep."
                .to_owned()
        }
        (By::Client, How::Lost) => {
            "The client's connection ended without a Close: its page was closed, its network was \
                                    lost, or its device fell asleep."
                .to_owned()
        }
        (By::Node, How::Lost) => format!(
            "The node{node} ended its connection without a Close: it was stopped, it crashed, or its network was lost. The \
             client got Close 1014 (origin lost)."
        ),
        (By::Client, How::Truncated) => {
            "The client's connection broke in the middle of a message: its network was lost.".to_owned()
        }
        (By::Node, How::Truncated) => {
            format!(
                "The connection of the node{node} broke in the middle of a message; the client was cut off."
            )
        }
        (_, How::Silent) => {
            "The client answered no Ping (websocket.ping_interval, pong_timeout): its network was lost, or \
                             its device fell asleep."
                .to_owned()
        }
        (_, How::Drain) => {
            "The gateway was stopped, drained or upgraded, and asked the client to come back.".to_owned()
        }
        (_, How::Cut) => {
            "The gateway was stopped, and the session was cut when gateway.drain was over.".to_owned()
        }
        (_, How::Kicked) => "The operator ended it (kick).".to_owned(),
        (_, How::Idle) => "No message came for websocket.idle.".to_owned(),
        (_, How::Lifetime) => "It had lasted for websocket.lifetime.".to_owned(),
        (by, How::TooBig) => {
            format!("A message of the {} was longer than websocket.message_max.", by_words(by))
        }
        (by, How::Violation) => {
            format!("The {} sent a frame that WebSocket forbids (RFC 6455).", by_words(by))
        }
        (By::Gateway, How::Close | How::Lost | How::Truncated) => "The gateway ended it.".to_owned(),
    }
}

const fn by_words(by: By) -> &'static str {
    match by {
        By::Client => "client",
        By::Node => "node",
        By::Gateway => "gateway",
    }
}
