//! A page of a foreign origin, a client behind a slow or lost line, a gateway that is full, and one viewer that dropped.

use super::{SECRET, assert_calm, assert_has, line, lines, one_step, said, two_step, why};
use crate::harness::records::events;
use crate::harness::whip::{Form, post};
use crate::harness::{Frame, TestBed, eventually};
use std::time::Duration;

#[test]
fn a_page_of_a_foreign_origin() {
    let bed = TestBed::start();
    let page = "https://shop.example";
    let offer = post(&Form::Direct.endpoint("whip", "s2", bed.ip(1), ""));
    for request in [two_step(&bed, 1), one_step(), offer] {
        for _ in 0..5 {
            let refused = bed.exchange(&request.clone().by_page(page));
            refused.assert_refusal(403, "cross_site");
            let told = bed.gateway.why_ended(&refused.session_id());
            assert_has(&why(&bed.gateway, told["id"].as_str().unwrap()), &["cors.allow_origins"]);
            assert_eq!(told["session"]["origin"], page);
        }
    }
    let refused = line(&bed.gateway, "INFO", &["refused: its origin matches none of cors.allow_origins"]);
    assert_has(&refused, &["origin=\"https://shop.example\"", "code=\"cross_site\""]);
    // TidegateManyRefusals
    assert_eq!(bed.gateway.metric("tidegate_refusals_total", &[("code", "cross_site")]), 15.0);
    assert_calm(&bed.gateway);
}

#[test]
fn a_client_that_does_not_read() {
    let bed = TestBed::with(|config, _| {
        config.set("websocket.ping_interval", "1500ms");
        config.set("websocket.pong_timeout", "1500ms");
        config.set("log.access", "stderr");
    });
    let listener = bed.node(1);
    let mut client = bed.client();
    client.send_request(&two_step(&bed, 1));
    let mut node = listener.accept();
    node.accept_upgrade();
    let id = client.read_response().session_id();
    let frame = node.encode(&Frame::binary(vec![1; 48 << 10]));
    let writer = std::thread::spawn(move || {
        for _ in 0..1000 {
            if node.try_send(&frame).is_err() {
                return;
            }
        }
    });
    // "its picture is frozen": while it lasts
    let verdict = || bed.gateway.why(&id)["verdict"].as_str().unwrap().to_owned();
    eventually("it is told while it lasts", || verdict().contains("Open, but the client does not take"));
    assert_has(&verdict(), &["its line is too slow or gone", "holds the node back"]);
    // and after it
    let told = bed.gateway.why_ended(&id);
    assert_has(
        &why(&bed.gateway, told["id"].as_str().unwrap()),
        &["bytes waited that it did not take: its line was too slow"],
    );
    let words = "bytes for the client could not be sent: it does not take them";
    assert_eq!(events(&told).matches(words).count(), 1, "{told:#}");
    assert!(!events(&told).contains("goes on"), "it never took them: {told:#}");
    eventually("its line", || !lines(&bed.gateway, &[" access: ", &id]).is_empty());
    assert_has(
        &lines(&bed.gateway, &[" access: ", &id])[0],
        &["by=\"client\"", "how=\"lost\"", "node_bytes="],
    );
    drop(client);
    writer.join().unwrap();
    assert_calm(&bed.gateway);
}

#[test]
fn a_client_that_reads_again_after_a_while() {
    let bed = TestBed::with(|config, _| config.set("websocket.ping_interval", "off"));
    let listener = bed.node(1);
    let mut client = bed.client();
    client.send_request(&two_step(&bed, 1));
    let mut node = listener.accept();
    node.accept_upgrade();
    let id = client.read_response().session_id();
    let frame = node.encode(&Frame::binary(vec![1; 48 << 10]));
    const FRAMES: usize = 400;
    let writer = std::thread::spawn(move || {
        for _ in 0..FRAMES {
            node.send(&frame);
        }
        node
    });
    let told = || bed.gateway.why(&id);
    eventually("it does not read", || told()["verdict"].as_str().unwrap().contains("does not take"));
    for _ in 0..FRAMES {
        client.read_frame();
    }
    eventually("it reads again", || told()["verdict"].as_str().unwrap().starts_with("Open; the last data"));
    assert_has(&events(&told()), &["the client had taken nothing for ", " ms, and goes on"]);
    drop(writer.join().unwrap());
}

#[test]
fn a_client_that_loses_its_network() {
    // its pings are not answered, as from a phone that leaves its cell
    let bed = TestBed::with(|config, _| {
        config.set("websocket.ping_interval", "200ms");
        config.set("websocket.pong_timeout", "300ms");
    });
    let listener = bed.node(1);
    let mut client = bed.client();
    client.send_request(&two_step(&bed, 1));
    let mut node = listener.accept();
    node.accept_upgrade();
    let id = client.read_response().session_id();
    assert_eq!(node.expect_close(1001), format!("client silent {id}"));
    let told = bed.gateway.why_ended(&id);
    assert_has(
        &why(&bed.gateway, told["id"].as_str().unwrap()),
        &["answered no Ping", "its network was lost", "pong_timeout"],
    );
    assert_eq!(bed.gateway.metric("tidegate_ends_total", &[("how", "silent")]), 1.0);
    assert_calm(&bed.gateway);
}

#[test]
fn a_gateway_that_is_full() {
    let bed = TestBed::with(|config, _| config.set("limits.sessions", 2));
    bed.whip_node(2);
    let listener = bed.node(1);
    let inside = [bed.relay(&listener), bed.relay(&listener)];
    let offer = post(&Form::Direct.endpoint("whip", "s2", bed.ip(2), ""));
    for request in [two_step(&bed, 1), one_step(), offer] {
        for _ in 0..4 {
            let refused = bed.exchange(&request);
            refused.assert_refusal(503, "overloaded");
            assert!(refused.field("retry-after").is_some());
            let told = bed.gateway.why_ended(&refused.session_id());
            assert_has(
                &why(&bed.gateway, told["id"].as_str().unwrap()),
                &["This gateway is full", "limits.sessions"],
            );
        }
    }
    let refused = line(&bed.gateway, "INFO", &["refused: limits.sessions is reached"]);
    assert_has(&refused, &["code=\"overloaded\"", "route=\"two_step\""]);
    // TidegateNearLimit
    let limit = [("limit", "sessions")];
    let used =
        bed.gateway.metric("tidegate_limit_used", &limit) / bed.gateway.metric("tidegate_limit", &limit);
    assert_eq!(used, 1.0);
    assert_has(&said(&bed.gateway, &["status"]), &["2 of limits.sessions = 2 (reached)", "12 overloaded"]);
    assert_calm(&bed.gateway);
    drop(inside);
}

#[test]
fn a_viewer_that_dropped_and_asks_why() {
    let bed = TestBed::with(|config, _| config.set("log.access", "stderr"));
    bed.manager_names(1);
    let listener = bed.node(1);
    let mut client = bed.client();
    client.send_request(&one_step().with("User-Agent", "Player/7"));
    let mut node = listener.accept();
    node.accept_upgrade();
    let id = client.read_response().session_id();
    node.send_frame(Frame::text("hello"));
    client.read_frame();
    node.reset();
    // the viewer can read the id on its own screen
    assert_eq!(client.expect_close(1014), format!("origin lost {id}"));
    client.answer_close(1014);
    let address = bed.workspace.node(1).to_string();
    let told = bed.gateway.why_ended(&id);
    let words = ["ended its connection without a Close", &address, "The client got Close 1014"];
    assert_has(&why(&bed.gateway, told["id"].as_str().unwrap()), &words);
    let story =
        ["asked the stream manager: 200, 1 node", "took the request", "first frame of the node", "token=***"];
    assert_has(&events(&told), &story);
    // without the id: by stream, node or client
    let client_ip = told["session"]["client"].as_str().unwrap().split(':').next().unwrap().to_owned();
    for filter in
        ["stream=stream1", "app=live", &format!("node={}", bed.ip(1)), &format!("client={client_ip}")]
    {
        assert_eq!(bed.gateway.ids(&format!("/api/ends?{filter}")), [id.as_str()], "{filter}");
    }
    let by_stream = said(&bed.gateway, &["sessions", "--ended", "--stream", "stream1"]);
    assert_has(&by_stream, &[&id, &bed.ip(1).to_string(), "origin lost"]);
    eventually("its line", || !lines(&bed.gateway, &[" access: ", &id]).is_empty());
    let access = lines(&bed.gateway, &[" access: ", &id]);
    let words = [
        "role=\"subscriber\"",
        "by=\"origin\"",
        "how=\"lost\"",
        &address,
        "agent=\"Player/7\"",
        "status=101",
    ];
    assert_has(&access[0], &words);
    let seconds = access[0].split(" seconds=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(seconds.len() <= "1234.123456".len(), "a time that can be read: {seconds}");
    assert!(!access[0].contains(SECRET), "{access:?}");
    std::thread::sleep(Duration::from_millis(1100));
    line(&bed.gateway, "WARN", &[&format!("node {address} ended 1 session: connection reset")]);
    assert_calm(&bed.gateway);
}
