//! The old process keeps its sessions after a hand-over (`gateway.upgrade_drain`), and ends them in order.

use crate::harness::systemd::ServiceManager;
use crate::harness::takeover::{self, Takeover, is_running};
use crate::harness::whip::{ANSWER, post};
use crate::harness::{Frame, Gate, Reply, Request, eventually};
use rustix::process::Signal;
use std::time::{Duration, Instant};

fn start(drain: &'static str, upgrade_drain: &'static str) -> Takeover {
    Takeover::start(|config, _| {
        config.set("gateway.drain", drain);
        config.set("gateway.upgrade_drain", upgrade_drain);
    })
}

#[test]
fn sessions_outlive_an_upgrade_and_are_closed_in_the_last_drain_of_upgrade_drain() {
    let mut takeover = start("1s", "4s");
    let listener = takeover.bed.node(1);
    let (mut client, mut node) = takeover.bed.relay(&listener);
    let second = takeover.upgrade();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_500) {
        client.send_frame(Frame::text("still here"));
        assert_eq!(node.read_frame(), Frame::text("still here"));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(client.expect_close(1001).starts_with("draining"));
    node.expect_close(1001);
    client.answer_close(1001);
    node.answer_close(1001);
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(takeover.bed.gateway.stderr().contains("ended told=1 cut=0"));
    assert!(is_running(second));
}

#[test]
fn one_signal_lets_the_old_process_drain_and_cuts_no_session() {
    let mut takeover = start("5s", "1h");
    let listener = takeover.bed.node(1);
    let mut sessions: Vec<_> = (0..5).map(|_| takeover.bed.relay(&listener)).collect();
    let first = takeover.bed.gateway.pid();
    takeover.upgrade();
    takeover::signal(first, Signal::TERM);
    for (client, node) in &mut sessions {
        assert!(client.expect_close(1001).starts_with("draining"));
        node.expect_close(1001);
        client.answer_close(1001);
        node.answer_close(1001);
    }
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
    assert!(takeover.bed.gateway.stderr().contains("ended told=5 cut=0"));
}

#[test]
fn a_signal_in_the_moment_of_the_hand_over_cuts_no_session() {
    let mut takeover = start("5s", "1h");
    let listener = takeover.bed.node(1);
    let (mut client, mut node) = takeover.bed.relay(&listener);
    // a client that has not sent its first request keeps the old process waiting
    let _silent = takeover.bed.client();
    let first = takeover.bed.gateway.pid();
    takeover::signal(first, Signal::USR2);
    takeover.wait_for_log("handed the listeners over");
    takeover::signal(first, Signal::TERM);
    assert!(client.expect_close(1001).starts_with("draining"));
    node.expect_close(1001);
    client.answer_close(1001);
    node.answer_close(1001);
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
}

#[test]
fn the_end_of_the_service_drains_the_old_process_too() {
    let mut takeover = start("5s", "1h");
    let listener = takeover.bed.node(1);
    let (mut client, mut node) = takeover.bed.relay(&listener);
    let second = takeover.upgrade();
    let (mut new_client, mut its_node) = takeover.bed.relay(&listener);
    takeover::signal(second, Signal::TERM);
    for side in [&mut client, &mut node, &mut new_client, &mut its_node] {
        assert!(side.expect_close(1001).starts_with("draining"));
        side.answer_close(1001);
    }
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
    assert_eq!(takeover.wait_for_exit_of(second), Some(0));
}

#[test]
fn a_kept_connection_is_answered_once_more_and_then_closed() {
    let takeover = start("5s", "1h");
    let first = takeover.bed.gateway.pid();
    let (mut asks, mut posts) = (takeover.bed.client(), takeover.bed.client());
    for client in [&mut asks, &mut posts] {
        client.exchange(&Request::get("/nowhere")).assert_refusal(404, "no_such_route");
    }
    takeover.upgrade();
    assert!(is_running(first));
    let answer = asks.exchange(&Request::get("/nowhere"));
    answer.assert_refusal(404, "no_such_route");
    assert_eq!(answer.field("connection"), Some("close"));
    // the process that serves the listeners would not know this WHIP session
    posts.exchange(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1")).assert_refusal(503, "draining");
}

#[test]
fn a_websocket_that_is_just_being_opened_is_not_refused_for_an_upgrade() {
    let takeover = start("5s", "1h");
    let listener = takeover.bed.node(1);
    let mut client = takeover.bed.client();
    client.send_request(&Request::upgrade(&takeover.bed.websocket_target(1)));
    let mut node = listener.accept();
    takeover.upgrade();
    node.accept_upgrade();
    assert_eq!(client.read_response().status(), 101);
    client.send_frame(Frame::text("hello"));
    assert_eq!(node.read_frame(), Frame::text("hello"));
}

#[test]
fn the_socket_file_of_the_admin_listener_goes_with_the_service() {
    let takeover = start("5s", "5s");
    let file = takeover.bed.workspace.admin_socket();
    takeover.request_successor();
    let serving =
        |times: usize| takeover.bed.gateway.stderr().matches("took over the listeners").count() == times;
    eventually("the second process serves", || serving(1));
    eventually("the first one has ended", || {
        takeover.running_pids().iter().filter(|pid| is_running(**pid)).count() == 1
    });
    let pid = || takeover.running_pids().into_iter().find(|pid| is_running(*pid)).unwrap();
    let second = pid();
    assert!(file.exists());
    // it goes over to the third process, and the second one leaves it
    takeover::signal(second, Signal::USR2);
    eventually("the third process serves", || serving(2));
    assert_eq!(takeover.wait_for_exit_of(second), Some(0));
    assert!(file.exists());
    let third = pid();
    takeover::signal(third, Signal::TERM);
    assert_eq!(takeover.wait_for_exit_of(third), Some(0));
    assert!(!file.exists());
}

#[test]
fn a_socket_file_that_is_not_configured_any_more_is_removed() {
    let takeover = start("5s", "5s");
    let file = takeover.bed.workspace.admin_socket();
    takeover.request_successor();
    let first = takeover.bed.gateway.pid();
    takeover.wait_for_log("took over the listeners");
    eventually("the first process has ended", || !is_running(first));
    let second = takeover.running_pids().into_iter().find(|pid| is_running(*pid)).unwrap();
    assert!(file.exists());
    takeover.configure(|config| config.set("admin.listen", "off"));
    takeover::signal(second, Signal::USR2);
    eventually("the third process serves", || takeover.bed.gateway.ready() == Some(200));
    eventually("the file is removed", || !file.exists());
}

#[test]
fn a_whip_session_that_is_made_during_a_hand_over_is_known_to_the_successor() {
    let takeover = start("5s", "1h");
    let node = takeover.bed.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/made", ANSWER).held(&gate));
    node.answer("DELETE ", Reply::empty(200));
    let mut client = takeover.bed.client();
    client.send_request(&post("/as/v1/proxy/whip/live/s?nodeGroup=ng1"));
    eventually("the node has the request", || node.lines().iter().any(|line| line.starts_with("POST ")));
    takeover.upgrade();
    gate.open();
    let response = client.read_response();
    let location = response.field("location").expect("a WHIP session was made").to_owned();
    eventually("the successor finds the node", || {
        takeover.bed.client().exchange(&Request::new("DELETE", &location)).status() == 200
    });
    assert_eq!(node.lines().last().unwrap(), "DELETE /live/whip/resource/made");
}

#[test]
fn systemd_is_asked_for_more_time_again_and_again_and_hears_no_ready_after_stopping() {
    let mut service = None;
    let mut takeover = Takeover::start(|config, workspace| {
        config.set("gateway.drain", "2h");
        let path = workspace.file("notify");
        config.set_env("NOTIFY_SOCKET", path.to_str().expect("UTF-8"));
        service = Some(ServiceManager::listen(path));
    });
    let mut service = service.unwrap();
    let listener = takeover.bed.node(1);
    let (mut client, mut node, rest) = takeover.bed.relay_mid_frame(&listener);
    service.wait_for("READY=1");
    let first = takeover.bed.gateway.pid();
    takeover::signal(first, Signal::HUP);
    takeover::signal(first, Signal::TERM);
    takeover::signal(first, Signal::HUP);
    let extended = |manager: &ServiceManager| -> Vec<u64> {
        let lines = manager.messages.iter().flat_map(|message| message.lines());
        lines.filter_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC=")?.parse().ok()).collect()
    };
    service.wait_until("three requests", |manager| extended(manager).len() >= 3);
    assert!(extended(&service).iter().all(|micros| *micros > 7_190_000_000), "{:?}", extended(&service));
    node.send(&rest);
    client.read_bytes(rest.len());
    client.expect_close(1001);
    client.answer_close(1001);
    node.expect_close(1001);
    node.answer_close(1001);
    drop((client, node));
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
    service.take_all();
    let stopping = service.messages.iter().position(|message| message.contains("STOPPING=1")).unwrap();
    let after = &service.messages[stopping..];
    assert!(
        !after.iter().any(|message| message.contains("READY=1") || message.contains("RELOADING")),
        "{after:?}"
    );
}
