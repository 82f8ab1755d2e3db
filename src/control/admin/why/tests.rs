//! Tests of the words for sessions.

use super::*;
use crate::metrics::{DialOutcome, Version};
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};
use crate::shared::cache_status::CacheStatus;
use crate::shared::record::Event;
use crate::shared::session_id::SessionId;
use std::net::SocketAddr;

fn found(events: &[Event<'_>]) -> Found {
    let mut record = Record::default();
    for (index, event) in events.iter().enumerate() {
        if matches!(event, Event::Requested { .. }) {
            record.begin_request();
        }
        record.note(Duration::from_millis(index as u64), event);
    }
    Found { archived: Archived { id: SessionId(7), began: UNIX_EPOCH, record }, open: None }
}

const REQUESTED: Event<'_> = Event::Requested {
    route: RequestRoute::OneStep,
    role: Some(Role::Subscriber),
    method: "GET",
    target: "/as/v1/proxy/ws/subscribe/live/s?id=subscriber-1",
    app: "live",
    stream: "s",
};

#[test]
fn a_session_is_told_from_its_connection_to_its_end() {
    let node = SocketAddr::from(([10, 0, 0, 5], 5080));
    let told = explain(&found(&[
        Event::Accepted { client: ([203, 0, 113, 9], 4711).into(), through: None },
        Event::Secured { tls: Version::Tls13, resumed: false },
        REQUESTED,
        Event::Asked { by: CacheStatus::Hit, status: 200, nodes: 1, took: 5 },
        Event::Tried { node, outcome: DialOutcome::Connected, status: None, took: 1_500 },
        Event::Answered { status: 101, refusal: None, bytes: 0 },
        Event::FirstFrame { from: Side::Node, size: 60 },
        Event::SentClose { to: Side::Client, code: 1014 },
        Event::Ended { by: By::Node, how: How::Lost, frames: [1, 2], bytes: [3, 4], pings: 0 },
    ]));
    assert_eq!(told["id"], "0000000000000007");
    assert_eq!(
        (&told["session"]["node"], &told["session"]["how"]),
        (&json!("10.0.0.5:5080"), &json!("lost"))
    );
    let verdict = told["verdict"].as_str().expect("a verdict");
    assert!(verdict.starts_with("The node 10.0.0.5:5080 ended its connection without a Close"), "{verdict}");
    let texts: Vec<_> = told["events"].as_array().expect("events").iter().map(|e| &e["text"]).collect();
    assert_eq!(
        texts,
        [
            "connection of 203.0.113.9:4711",
            "TLS 1.3, full handshake",
            "GET /as/v1/proxy/ws/subscribe/live/s?id=subscriber-1 (one-step WebSocket, subscriber of live/s)",
            "answer of the stream manager from memory: 200, 1 node",
            "node 10.0.0.5:5080 took the request, 1.5 ms",
            "the client got 101: its WebSocket is open",
            "first frame of the node, 60 bytes",
            "the gateway sent Close 1014 (bad gateway) to the client",
            "end by origin (lost); client: 1 frames, 3 bytes; node: 2 frames, 4 bytes; 0 pings of the gateway",
        ]
    );
}

#[test]
fn every_end_has_a_verdict_of_its_own() {
    let mut verdicts = std::collections::HashSet::new();
    let relays = By::ALL.iter().flat_map(|by| How::ALL.iter().map(|how| (*by, *how)));
    for (by, how) in relays {
        let ended = Event::Ended { by, how, frames: [0; 2], bytes: [0; 2], pings: 0 };
        let row = ended_row(&[REQUESTED, ended]);
        verdicts.insert(row["verdict"].as_str().expect("a verdict").to_owned());
        assert_eq!(row["how"], how.word());
    }
    assert!(verdicts.len() >= How::ALL.len() + 4, "{verdicts:?}");
    for refusal in Refusal::ALL {
        let answered = Event::Answered { status: refusal.status(), refusal: Some(refusal), bytes: 9 };
        let row = ended_row(&[REQUESTED, answered]);
        let verdict = row["verdict"].as_str().expect("a verdict");
        assert!(verdict.contains(refusal.code()) && row["code"] == refusal.code(), "{verdict}");
    }
    let left = ended_row(&[REQUESTED, Event::Left]);
    assert!(left["verdict"].as_str().expect("a verdict").contains("waited for the stream manager"), "{left}");
}

#[test]
fn a_side_that_does_not_take_its_bytes_is_why_until_it_takes_them() {
    let lost = Event::Ended { by: By::Client, how: How::Lost, frames: [0; 2], bytes: [0; 2], pings: 0 };
    let stalled = |to| Event::Stalled { to, bytes: 7_000 };
    let flowing = |to| Event::Flowing { to, millis: 1_200 };
    let verdict = |events: &[Event<'_>]| ended_row(events)["verdict"].as_str().expect("a verdict").to_owned();
    let slow = "bytes waited that it did not take";
    assert!(verdict(&[REQUESTED, stalled(Side::Client), lost]).contains(slow));
    assert!(verdict(&[REQUESTED, stalled(Side::Client), flowing(Side::Node), lost]).contains(slow));
    assert!(!verdict(&[REQUESTED, stalled(Side::Client), flowing(Side::Client), lost]).contains(slow));
    assert!(!verdict(&[REQUESTED, stalled(Side::Node), lost]).contains(slow));
}

#[test]
fn the_status_of_a_node_is_told_with_what_it_means() {
    let node = SocketAddr::from(([10, 0, 0, 5], 5080));
    let verdict = |status| {
        let outcome = DialOutcome::BadHandshake;
        let answered = Event::Answered { status: 502, refusal: Some(Refusal::OriginBadHandshake), bytes: 9 };
        let row = ended_row(&[REQUESTED, Event::Tried { node, outcome, status, took: 5 }, answered]);
        row["verdict"].as_str().expect("a verdict").to_owned()
    };
    assert!(verdict(Some(500)).contains("status 500: it has a fault of its own"), "{}", verdict(Some(500)));
    assert!(verdict(Some(401)).contains("status 401: it does not accept the client's credentials"));
    assert!(verdict(None).contains("the node's answer is of no use"));
}

fn ended_row(events: &[Event<'_>]) -> Value {
    ended(&found(events).archived)
}
