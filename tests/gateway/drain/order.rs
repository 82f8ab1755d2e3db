//! The order of a drain: which sessions are closed when, which are spared, and what is left at its end.

use crate::harness::connection::End;
use crate::harness::whip::{ANSWER, post};
use crate::harness::{Connection, Frame, Reply, Request, TestBed, eventually};
use std::time::{Duration, Instant};

/// A gateway with one worker, so that its sessions have one order.
fn bed_with_one_worker(drain: &'static str) -> TestBed {
    TestBed::with(|config, _| {
        config.set("gateway.workers", 1);
        config.set("gateway.drain", drain);
    })
}

/// Waits until every session has been silent for this many seconds.
#[track_caller]
fn wait_until_idle_for(bed: &TestBed, seconds: f64) {
    eventually("every session is idle", || {
        let sessions = bed.gateway.admin_get("/api/sessions").json()["sessions"].take();
        let idle = |session: &serde_json::Value| session["idle_seconds"].as_f64().unwrap() >= seconds;
        sessions.as_array().unwrap().iter().all(idle)
    });
}

#[track_caller]
fn wait_until_not_listening(bed: &TestBed) {
    eventually("not ready any more", || bed.gateway.ready() == Some(503));
    // readiness changes first; the listeners are closed after that
    eventually("the gateway does not listen", || {
        std::net::TcpStream::connect(bed.workspace.gateway()).is_err()
    });
}

/// The time at which this client reads its Close.
#[track_caller]
fn close_time(client: &mut Connection) -> Instant {
    client.expect_close(1001);
    Instant::now()
}

#[test]
fn quiet_sessions_are_closed_first_and_not_all_at_once() {
    let bed = bed_with_one_worker("4s");
    let listener = bed.node(1);
    let mut sessions: Vec<_> = (0..4).map(|_| bed.relay(&listener)).collect();
    // the first session is the last one that sends
    for (client, node) in sessions.iter_mut().rev() {
        client.send_frame(Frame::text("still here"));
        node.read_frame();
        wait_until_idle_for(&bed, 0.02);
    }
    // older than a quarter of the time in which all are closed: no session counts as negotiating any more
    wait_until_idle_for(&bed, 0.8);
    bed.gateway.terminate();
    let times: Vec<_> = std::thread::scope(|scope| {
        let waiting: Vec<_> =
            sessions.iter_mut().map(|(client, _)| scope.spawn(|| close_time(client))).collect();
        waiting.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(times.is_sorted_by(|later, sooner| later > sooner), "{times:?}");
    assert!(times[0] - times[3] >= Duration::from_millis(600), "{times:?}");
}

#[test]
fn young_sessions_are_spared_while_there_is_time() {
    let bed = bed_with_one_worker("8s");
    let listener = bed.node(1);
    let (mut old, _old_node) = bed.relay(&listener);
    wait_until_idle_for(&bed, 2.0);
    let (mut young, mut node) = bed.relay(&listener);
    let opened = Instant::now();
    bed.gateway.terminate();
    assert!(close_time(&mut old) - opened < Duration::from_millis(1500), "the old session is closed at once");
    young.send_frame(Frame::text("{\"publish\":\"stream1\"}"));
    assert_eq!(node.read_frame(), Frame::text("{\"publish\":\"stream1\"}"), "signalling goes on meanwhile");
    // a quarter of the 7 s in which all sessions are closed
    assert!(close_time(&mut young) - opened >= Duration::from_millis(1600));
}

#[test]
fn a_request_on_an_earlier_connection_is_refused_and_the_connection_closed() {
    let bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let listener = bed.node(1);
    let (_client, _node) = bed.relay(&listener);
    let mut kept: Vec<_> = (0..2).map(|_| bed.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/nowhere").status(), 404);
    }
    bed.gateway.terminate();
    wait_until_not_listening(&bed);
    let requests = [
        Request::get("/streammanager/api/4.0/event/live/s?action=broadcast"),
        post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"),
    ];
    for (client, request) in kept.iter_mut().zip(requests) {
        client.send_request(&request);
        let refused = client.read_response();
        refused.assert_refusal(503, "draining");
        assert!(refused.field("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
        assert_eq!(refused.field("connection"), Some("close"));
        assert_eq!(client.expect_end(), End::Clean);
    }
    assert_eq!(bed.manager.count(), 0, "the manager was not asked");
}

#[test]
fn the_delete_of_a_whip_session_still_reaches_its_node() {
    let bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let node = bed.whip_node(1);
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER));
    let mut client = bed.client();
    client.send_request(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"));
    let location = client.read_response().field("location").expect("a Location").to_owned();
    bed.gateway.terminate();
    wait_until_not_listening(&bed);
    client.send_request(&Request::new("DELETE", &location));
    let gone = client.read_response();
    assert_eq!((gone.status(), gone.field("connection")), (200, Some("close")), "{gone:?}");
    assert_eq!(node.last().line(), "DELETE /live/whip/resource/s");
}

#[test]
fn a_frame_may_take_longer_than_the_close_timeout() {
    let mut bed = TestBed::with(|config, _| {
        config.set("gateway.drain", "60s");
        config.set("websocket.close_timeout", "300ms");
    });
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let (down, up) = (Frame::text("one half and the other").bare(), client.encode(&Frame::text("up and up")));
    node.send(&down[..10]);
    client.read_bytes(10);
    client.send(&up[..8]);
    node.read_bytes(8);
    let long_ago = Instant::now();
    bed.gateway.terminate();
    // no Close fits into these frames, and the session is not cut for it
    eventually("the drain has reached the session", || {
        bed.gateway.admin_get("/api/sessions").json()["sessions"][0]["state"] == "closing"
    });
    eventually("much longer than the close timeout", || long_ago.elapsed() > Duration::from_secs(2));
    node.send(&down[10..]);
    client.send(&up[8..]);
    assert_eq!(client.read_bytes(down.len() - 10), &down[10..]);
    assert_eq!(node.read_bytes(up.len() - 8), &up[8..]);
    node.expect_close(1001);
    client.expect_close(1001);
    client.answer_close(1001);
    assert_eq!(node.expect_end(), End::Clean);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
    assert!(bed.gateway.stderr().contains("told=1 cut=0"), "{}", bed.gateway.stderr());
}

#[test]
fn sessions_left_at_the_end_of_the_drain_are_cut_and_counted() {
    let mut bed = TestBed::with(|config, _| {
        config.set("gateway.drain", "2s");
        config.set("log.access", "stderr");
    });
    let listener = bed.node(1);
    let (mut idle_client, mut idle_node) = bed.relay(&listener);
    let (mut client, mut node) = bed.relay(&listener);
    let half = &Frame::text("one half and the other").bare()[..10];
    node.send(half);
    client.read_bytes(10);
    bed.gateway.terminate();
    idle_client.expect_close(1001);
    idle_node.expect_close(1001);
    idle_client.answer_close(1001);
    drop((idle_client, idle_node));
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
    assert_eq!(client.read_to_end().1, End::Abrupt, "a cut is an abrupt end");
    let log = bed.gateway.stderr();
    assert!(log.contains("told=1 cut=1"), "{log}");
    for how in ["drain", "cut"] {
        assert!(
            log.contains(&format!("by=\"gateway\" how=\"{how}\"")),
            "each session has its line in the access log: {log}"
        );
    }
}

#[test]
fn a_second_signal_cuts_and_counts_the_sessions() {
    let mut bed = bed_with_one_worker("60s");
    let listener = bed.node(1);
    let _sessions: Vec<_> = (0..5).map(|_| bed.relay(&listener)).collect();
    bed.gateway.terminate();
    wait_until_not_listening(&bed);
    bed.gateway.terminate();
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
    assert!(bed.gateway.stderr().contains("cut=5"), "{}", bed.gateway.stderr());
}
