//! Tests of records, their summaries, and the archive.

use super::archive::{Archive, Archived, OTHERS_BYTES_MAX};
use super::*;
use crate::metrics::{DialOutcome, RequestRoute, Version};
use crate::proto::red5::role::Role;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};
use crate::shared::cache_status::CacheStatus;
use crate::shared::session_id::SessionId;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 5080))
}

fn requested<'r>(target: &'r str) -> Event<'r> {
    let (route, role) = (RequestRoute::OneStep, Some(Role::Subscriber));
    Event::Requested { route, role, method: "GET", target, app: "live", stream: "s" }
}

const ANSWERED: Event<'_> = Event::Answered { status: 200, refusal: None, bytes: 5 };

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_record_gives_back_what_was_noted() {
    let events = [
        Event::Accepted { client: address(1), through: Some("[2001:db8::1]:7".parse().unwrap()) },
        Event::Secured { tls: Version::Tls13, resumed: true },
        requested("/as/v1/proxy/ws/subscribe/live/s"),
        Event::Asked { by: CacheStatus::Collapsed, status: 200, nodes: 2, took: 1_234 },
        Event::Tried { node: address(2), outcome: DialOutcome::Timeout, status: None, took: 1_500_000 },
        Event::Tried { node: address(3), outcome: DialOutcome::Connected, status: None, took: 800 },
        Event::Answered { status: 101, refusal: None, bytes: 0 },
        Event::FirstFrame { from: Side::Node, size: 60 },
        Event::Closed { from: Side::Client, code: None },
        Event::Closed { from: Side::Node, code: Some(1000) },
        Event::Ended { by: By::Client, how: How::Close, frames: [3, 4], bytes: [300, 400], pings: 1 },
    ];
    let mut record = Record::default();
    for (index, event) in events.iter().enumerate() {
        if matches!(event, Event::Requested { .. }) {
            record.begin_request();
        }
        record.note(millis(index as u64), event);
    }
    let read: Vec<_> = record.events().collect();
    assert_eq!(read.iter().map(|(_, event)| *event).collect::<Vec<_>>(), events);
    assert!(read.iter().enumerate().all(|(index, (at, _))| *at == millis(index as u64)));

    let summary = Summary::of(record.events());
    assert_eq!((summary.client, summary.node, summary.tries), (Some(address(1)), Some(address(3)), 2));
    assert_eq!((summary.status, summary.closes), (Some(101), [Some(1005), Some(1000)]));
    assert_eq!(summary.cause, Some(Cause::Relay(By::Client, How::Close)));
    assert_eq!((summary.requested, summary.answered, summary.last), (millis(2), Some(millis(6)), millis(10)));
    assert_eq!((summary.frames, summary.asking), ([3, 4], Duration::from_micros(1_234)));
}

#[test]
fn a_connection_with_many_requests_keeps_the_newest() {
    let mut record = Record::default();
    record.note(millis(0), &Event::Accepted { client: address(1), through: None });
    let target = "/streammanager/api/4.0/event/live/a-stream-with-a-long-name?action=subscribe";
    for n in 0..1000 {
        record.begin_request();
        record.note(millis(n), &requested(target));
        record.note(millis(n), &ANSWERED);
        let summary = Summary::of(record.last_request());
        assert_eq!((summary.requested, summary.client), (millis(n), Some(address(1))), "{n}");
        assert_eq!(summary.status, Some(200));
    }
    assert!(record.size() < 2000, "{}", record.size());
    assert!(record.skipped() > 100);
    let of_last = record.of_last_request();
    assert_eq!(of_last.events().count(), 3);
    assert_eq!(Summary::of(of_last.last_request()), Summary::of(record.last_request()));
}

#[test]
fn a_full_record_still_takes_the_end() {
    let mut record = Record::default();
    record.begin_request();
    for n in 0..10_000 {
        record.note(millis(n), &Event::Stalled { to: Side::Client, bytes: n });
    }
    assert!(record.size() < 4000 && record.skipped() > 9_000, "{}", record.size());
    let end = Event::Ended { by: By::Gateway, how: How::Drain, frames: [1; 2], bytes: [2; 2], pings: 0 };
    record.note(millis(10_000), &end);
    assert_eq!(record.events().last(), Some((millis(10_000), end)));
}

#[test]
fn an_archive_keeps_the_newest_within_its_memory() {
    let mut archive = Archive::new(4);
    let archived = |id: u64| {
        let mut record = Record::default();
        record.begin_request();
        record.note(millis(1), &requested("/live?id=s"));
        Archived { id: SessionId(id), began: SystemTime::now(), record }
    };
    archive.add(true, archived(1));
    for id in 2..60_000 {
        archive.add(false, archived(id));
    }
    let kept = archive.count();
    assert!((5_000..40_000).contains(&kept), "{kept} in {}", OTHERS_BYTES_MAX / 4);
    assert!(archive.find(SessionId(1)).is_some(), "a flood of refused requests pushes out no session");
    assert!(archive.find(SessionId(59_999)).is_some() && archive.find(SessionId(2)).is_none());
    assert_eq!(archive.newest_first(5).nth(1).map(|archived| archived.id), Some(SessionId(59_999)));
}
