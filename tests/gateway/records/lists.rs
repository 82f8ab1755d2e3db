//! One id in all places, and the filters of the lists.

use crate::harness::{Frame, Request, TestBed, eventually};
use serde_json::{Value, json};

#[test]
fn one_id_names_a_session_in_answer_log_list_why_and_close() {
    let mut bed = TestBed::with(|config, workspace| {
        config.set("log.access", workspace.file("access.log").to_str().unwrap());
        config.set("log.format", "json");
    });
    let listener = bed.node(1);
    let mut client = bed.client();
    let target = format!("{}&token=hunter2", bed.websocket_target(1));
    let request =
        Request::upgrade(&target).with("User-Agent", "SDK \"14\"").by_page("https://gateway.test:8443");
    client.send_request(&request);
    let mut node = listener.accept();
    node.accept_upgrade();
    let id = client.read_response().session_id();
    client.send_frame(Frame::text("hello"));
    node.read_frame();
    assert_eq!(bed.gateway.ids("/api/sessions?app=live&stream=stream1"), [id.as_str()]);
    assert_eq!(bed.gateway.why(&id)["id"], id.as_str());
    node.reset();
    assert_eq!(client.expect_close(1014), format!("origin lost {id}"));
    client.answer_close(1014);
    bed.gateway.why_ended(&id);
    assert_eq!(bed.gateway.ids("/api/ends?stream=stream1"), [id.as_str()]);
    bed.gateway.terminate();
    bed.gateway.wait_for_exit();
    let log = std::fs::read_to_string(bed.workspace.file("access.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [line] = &lines[..] else { panic!("one line for a session: {log}") };
    for (field, value) in [
        ("message", json!("session")),
        ("session", json!(id)),
        ("route", json!("two_step")),
        ("role", json!("publisher")),
        ("app", json!("live")),
        ("stream", json!("stream1")),
        ("method", json!("GET")),
        ("status", json!(101)),
        ("by", json!("origin")),
        ("how", json!("lost")),
        ("sent_close", json!(1014)),
        ("client_frames", json!(1)),
        ("client_bytes", json!(11)),
        ("node_frames", json!(0)),
        ("agent", json!("SDK \"14\"")),
        ("origin", json!("https://gateway.test:8443")),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    for number in ["answer_ms", "seconds", "node_bytes"] {
        assert!(line[number].is_number(), "{number}: {line}");
    }
    assert!(line.get("code").is_none() && !log.contains("hunter2"), "{line}");
}

#[test]
fn a_list_shows_what_its_filters_accept() {
    let bed = TestBed::start();
    let [first, second] = [1, 2].map(|n| bed.node(n));
    let mut open = Vec::new();
    for (listener, n, from, target) in [
        (&first, 1, 1, "id=stream1&app=live"),
        (&second, 2, 1, "id=stream2&app=live&context=room1"),
        (&second, 2, 2, "id=subscriber-1&app=live"),
    ] {
        let mut client = bed.client_builder().from(bed.workspace.client_ip(from)).connect_tls();
        client.send_request(&Request::upgrade(&format!("/streammanager/?{target}&host={}", bed.ip(n))));
        let mut node = listener.accept();
        node.accept_upgrade();
        open.push((client.read_response().session_id(), client, node));
    }
    let [client, other_node] = [bed.workspace.client_ip(2).to_string(), bed.ip(2).to_string()];
    let cases = [
        (String::new(), &[0, 1, 2][..]),
        ("stream=stream1".into(), &[0]),
        ("role=subscriber".into(), &[2]),
        (format!("node={other_node}"), &[1, 2]),
        (format!("node={other_node}&role=publisher"), &[1]),
        (format!("client={client}"), &[2]),
        ("route=two_step".into(), &[0, 1, 2]),
        ("route=whep".into(), &[]),
        ("app=other".into(), &[]),
    ];
    let ids: Vec<_> = open.iter().map(|(id, ..)| id.clone()).collect();
    let check = |list: &str| {
        for (query, expected) in &cases {
            let mut expected: Vec<_> = expected.iter().map(|at| ids[*at].clone()).collect();
            let mut found = bed.gateway.ids(&format!("{list}?{query}"));
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "{list}?{query}");
        }
    };
    check("/api/sessions");
    for (_, client, _) in &mut open {
        client.send_frame(Frame::close(1000, ""));
    }
    for (_, client, node) in &mut open {
        node.expect_close(1000);
        node.send_frame(Frame::close(1000, ""));
        client.expect_close(1000);
    }
    eventually("all have ended", || bed.gateway.ids("/api/ends").len() == 3);
    check("/api/ends");
    assert_eq!(bed.gateway.ids("/api/ends?limit=2").len(), 2);
    for wrong in ["limit=0", "limit=1001", "role=x", "route=x", "node=x", "client=x", "x=x"] {
        assert_eq!(bed.gateway.admin_get(&format!("/api/ends?{wrong}")).status(), 400, "{wrong}");
    }
}
