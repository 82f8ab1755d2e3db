//! A drain takes its time: who is told when, who is not, and what is left at its end.

use crate::harness::connection::End;
use crate::harness::whip::{ANSWER, post};
use crate::harness::{Frame, Link, Reply, Request, Town, eventually};
use std::time::{Duration, Instant};

/// A gateway with one worker, so that there is one order.
fn lonely(drain: &'static str) -> Town {
    Town::with(|config, _| {
        config.set("gateway.workers", 1);
        config.set("gateway.drain", drain);
    })
}

/// Waits until every session has been silent for so long.
#[track_caller]
fn all_idle_for(town: &Town, seconds: f64) {
    eventually("everybody is quiet", || {
        let sessions = town.gateway.admin("/api/sessions").json()["sessions"].take();
        let idle = |session: &serde_json::Value| session["idle_seconds"].as_f64().unwrap() >= seconds;
        sessions.as_array().unwrap().iter().all(idle)
    });
}

#[track_caller]
fn ready_no_more(town: &Town) {
    eventually("not ready any more", || town.gateway.ready() == Some(503));
    // monitoring hears of it first; who listens no more has heard of it too
    eventually("nobody listens", || std::net::TcpStream::connect(town.place.gateway()).is_err());
}

/// When this client heard its Close.
#[track_caller]
fn told_at(client: &mut Link) -> Instant {
    client.told(1001);
    Instant::now()
}

#[test]
fn the_quiet_are_told_first_and_not_all_at_once() {
    let town = lonely("4s");
    let origin = town.node(1);
    let mut sessions: Vec<_> = (0..4).map(|_| town.relay(&origin)).collect();
    // the last to speak is the first that came
    for (client, node) in sessions.iter_mut().rev() {
        client.say(Frame::text("still here"));
        node.hear();
        all_idle_for(&town, 0.02);
    }
    // older than a quarter of the time in which all are told: nobody negotiates any more
    all_idle_for(&town, 0.8);
    town.gateway.terminate();
    let told: Vec<_> = std::thread::scope(|scope| {
        let waiting: Vec<_> =
            sessions.iter_mut().map(|(client, _)| scope.spawn(|| told_at(client))).collect();
        waiting.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(told.is_sorted_by(|later, sooner| later > sooner), "{told:?}");
    assert!(told[0] - told[3] >= Duration::from_millis(600), "{told:?}");
}

#[test]
fn who_just_negotiates_is_spared_while_there_is_time() {
    let town = lonely("8s");
    let origin = town.node(1);
    let (mut old, _old_node) = town.relay(&origin);
    all_idle_for(&town, 2.0);
    let (mut young, mut node) = town.relay(&origin);
    let opened = Instant::now();
    town.gateway.terminate();
    assert!(told_at(&mut old) - opened < Duration::from_millis(1500), "who is old is told at once");
    young.say(Frame::text("{\"publish\":\"stream1\"}"));
    assert_eq!(node.hear(), Frame::text("{\"publish\":\"stream1\"}"), "signalling goes on meanwhile");
    // a quarter of the 7 s in which all are told
    assert!(told_at(&mut young) - opened >= Duration::from_millis(1600));
}

#[test]
fn a_request_on_a_connection_of_before_is_refused_and_its_connection_closed() {
    let town = Town::with(|config, _| config.set("gateway.drain", "60s"));
    let origin = town.node(1);
    let (_client, _node) = town.relay(&origin);
    let mut kept: Vec<_> = (0..2).map(|_| town.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/nowhere").status(), 404);
    }
    town.gateway.terminate();
    ready_no_more(&town);
    let requests = [
        Request::get("/streammanager/api/4.0/event/live/s?action=broadcast"),
        post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"),
    ];
    for (client, request) in kept.iter_mut().zip(requests) {
        client.ask(&request);
        let refused = client.read_response();
        refused.assert_refusal(503, "draining");
        assert!(refused.field("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
        assert_eq!(refused.field("connection"), Some("close"));
        assert_eq!(client.ended(), End::Clean);
    }
    assert_eq!(town.manager.count(), 0, "nobody was asked");
}

#[test]
fn what_ends_a_whip_session_still_reaches_its_node() {
    let town = Town::with(|config, _| config.set("gateway.drain", "60s"));
    let node = town.whip_node(1);
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER));
    let mut client = town.client();
    client.ask(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"));
    let location = client.read_response().field("location").expect("a Location").to_owned();
    town.gateway.terminate();
    ready_no_more(&town);
    client.ask(&Request::new("DELETE", &location));
    let gone = client.read_response();
    assert_eq!((gone.status(), gone.field("connection")), (200, Some("close")), "{gone:?}");
    assert_eq!(node.last().line(), "DELETE /live/whip/resource/s");
}

#[test]
fn a_frame_may_take_longer_than_the_closing_handshake() {
    let mut town = Town::with(|config, _| {
        config.set("gateway.drain", "60s");
        config.set("websocket.close_timeout", "300ms");
    });
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let (down, up) = (Frame::text("one half and the other").bare(), client.encode(&Frame::text("up and up")));
    node.send(&down[..10]);
    client.take(10);
    client.send(&up[..8]);
    node.take(8);
    let long_ago = Instant::now();
    town.gateway.terminate();
    // nobody can be told, and nobody is cut for it
    eventually("the drain came to it", || {
        town.gateway.admin("/api/sessions").json()["sessions"][0]["state"] == "closing"
    });
    eventually("much longer than that", || long_ago.elapsed() > Duration::from_secs(2));
    node.send(&down[10..]);
    client.send(&up[8..]);
    assert_eq!(client.take(down.len() - 10), &down[10..]);
    assert_eq!(node.take(up.len() - 8), &up[8..]);
    node.told(1001);
    client.told(1001);
    client.part(1001);
    assert_eq!(node.ended(), End::Clean);
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
    assert!(town.gateway.stderr().contains("told=1 cut=0"), "{}", town.gateway.stderr());
}

#[test]
fn what_is_left_at_the_end_is_cut_and_counted() {
    let mut town = Town::with(|config, _| {
        config.set("gateway.drain", "2s");
        config.set("log.access", "stderr");
    });
    let origin = town.node(1);
    let (mut told, mut told_node) = town.relay(&origin);
    let (mut client, mut node) = town.relay(&origin);
    let half = &Frame::text("one half and the other").bare()[..10];
    node.send(half);
    client.take(10);
    town.gateway.terminate();
    told.told(1001);
    told_node.told(1001);
    told.part(1001);
    drop((told, told_node));
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
    assert_eq!(client.rest().1, End::Torn, "a cut is no good end");
    let said = town.gateway.stderr();
    assert!(said.contains("told=1 cut=1"), "{said}");
    for how in ["drain", "cut"] {
        assert!(said.contains(&format!("by=\"gateway\" how=\"{how}\"")), "each has its line: {said}");
    }
}

#[test]
fn a_second_signal_cuts_and_counts_too() {
    let mut town = lonely("60s");
    let origin = town.node(1);
    let _sessions: Vec<_> = (0..5).map(|_| town.relay(&origin)).collect();
    town.gateway.terminate();
    ready_no_more(&town);
    town.gateway.terminate();
    assert_eq!(town.gateway.wait_for_exit().code(), Some(0));
    assert!(town.gateway.stderr().contains("cut=5"), "{}", town.gateway.stderr());
}
