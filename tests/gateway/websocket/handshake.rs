//! The opening handshake: the request to the node, the answer to the client, and every way it can fail.

use crate::harness::client::ACCEPT;
use crate::harness::connection::End;
use crate::harness::node::{FullBacklog, upgrade_response};
use crate::harness::{Frame, Head, Request, TestBed};

#[test]
fn the_node_gets_the_request_that_the_vendors_proxy_would_send() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let host = listener.ip();
    let target =
        format!("/streammanager/?id=stream1&host={host}&app=live%2Froom1&password=a%2Bb%20c&x=&y=%C5%BB&z");
    let request = Request::upgrade(&target)
        .with("User-Agent", "Mozilla/5.0 (X11) Test/1.0")
        .with("Origin", "https://gateway.test:8443")
        .with("Cookie", "secret=1")
        .with("Authorization", "Basic c2VjcmV0")
        .with("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
        .with("X-Forwarded-For", "6.6.6.6")
        .with("X-Forwarded-For-Meta-Type", "DIRECT")
        .with("Forwarded", "for=6.6.6.6")
        .with("X-Real-IP", "6.6.6.6")
        .with("Via", "1.1 liar")
        .with("Referer", "https://gateway.test:8443/page?token=1")
        .with("Accept-Language", "de");
    let mut client = bed.client_builder().from(bed.workspace.client_ip(1)).connect_tls();
    let port = client.tcp().local_addr().unwrap().port().to_string();
    client.send_request(&request);
    let mut node = listener.accept();
    let head = node.accept_upgrade();
    assert_eq!(head.line, "GET /live/room1/?id=stream1&password=a%2Bb%20c&x=&y=%C5%BB&z HTTP/1.1");
    let expected = [
        ("host", format!("{host}:5080")),
        ("x-forwarded-for", bed.workspace.client_ip(1).to_string()),
        ("x-forwarded-for-meta-port", port),
        ("x-forwarded-for-meta-type", "WEB".to_owned()),
        ("x-forwarded-for-meta-secure", "true".to_owned()),
        ("user-agent", "Mozilla/5.0 (X11) Test/1.0".to_owned()),
        ("sec-websocket-protocol", "json".to_owned()),
        ("sec-websocket-version", "13".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(head.field(name), Some(value.as_str()), "{name}");
    }
    assert!(head.field("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
    assert!(head.field("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    let strangers = [
        "origin",
        "cookie",
        "authorization",
        "sec-websocket-extensions",
        "forwarded",
        "x-real-ip",
        "via",
        "referer",
        "accept-language",
    ];
    for stranger in strangers {
        assert_eq!(head.field(stranger), None);
    }
    assert_eq!(client.read_response().status(), 101);
}

#[test]
fn the_client_gets_a_101_of_its_own_without_a_subprotocol() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let mut client = bed.client();
    client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    listener
        .accept()
        .accept_upgrade_with("Sec-WebSocket-Protocol: json\r\nSet-Cookie: node=1\r\nServer: node\r\n");
    let response = client.read_response();
    assert_eq!(response.status(), 101);
    assert_eq!(response.field("sec-websocket-accept"), Some(ACCEPT));
    assert!(response.field("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
    assert!(response.field("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert!(response.field("x-tidegate-session").is_some_and(|id| !id.is_empty()));
    for stranger in ["sec-websocket-protocol", "sec-websocket-extensions", "set-cookie", "server"] {
        assert_eq!(response.field(stranger), None);
    }
}

#[test]
fn every_session_has_a_websocket_key_of_its_own() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let keys = [(); 3].map(|()| {
        let (_client, _node, head) =
            bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
        head.field("sec-websocket-key").unwrap().to_owned()
    });
    assert!(keys[0] != keys[1] && keys[1] != keys[2]);
    assert!(!keys.contains(&crate::harness::client::KEY.to_owned()), "not the client's");
}

#[test]
fn the_client_gets_no_answer_before_the_node_accepts() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node, head) =
        bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
    assert!(!client.receives_within(std::time::Duration::from_millis(100)));
    node.answer_upgrade(&head, "");
    assert_eq!(client.read_response().status(), 101);
}

#[test]
fn subprotocols_may_be_offered_in_several_lines() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    for lines in [&["chat", "json"][..], &["json", "chat"], &["", "chat, json"], &["json"]] {
        let request = lines.iter().fold(Request::upgrade(&bed.websocket_target(1)), |request, line| {
            request.with("Sec-WebSocket-Protocol", line)
        });
        let (mut client, mut node, head) = bed.pending_upgrade(&listener, &request);
        assert_eq!(head.field("sec-websocket-protocol"), Some("json"));
        node.answer_upgrade(&head, "Sec-WebSocket-Protocol: json\r\n");
        assert_eq!(client.read_response().field("sec-websocket-protocol"), Some("json"), "{lines:?}");
    }
}

#[test]
fn a_user_agent_beyond_ascii_reaches_the_node_with_its_visible_part() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let request = Request::upgrade(&bed.websocket_target(1)).with("User-Agent", "Caf\u{e9}/1 (iPhone)");
    let (_, _, head) = bed.pending_upgrade(&listener, &request);
    assert_eq!(head.field("user-agent"), Some("Caf/1 (iPhone)"));
}

#[test]
fn extensions_are_negotiated_end_to_end_when_forwarded() {
    let bed = TestBed::with(|config, _| config.set("origins.extensions", "forward"));
    let listener = bed.node(1);
    let offer = "permessage-deflate; client_max_window_bits";
    // several lines are one list (RFC 6455, 11.3.2)
    let request = Request::upgrade(&bed.websocket_target(1))
        .with("Sec-WebSocket-Extensions", "x-other")
        .with("Sec-WebSocket-Extensions", offer);
    let (mut client, mut node, head) = bed.pending_upgrade(&listener, &request);
    assert_eq!(head.field("sec-websocket-extensions"), Some(format!("x-other, {offer}").as_str()));
    node.send(
        format!("{}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", upgrade_response(&head)).as_bytes(),
    );
    let response = client.read_response();
    assert_eq!(response.field("sec-websocket-extensions"), Some("permessage-deflate"));
    let compressed = Frame { rsv: 4, ..Frame::text("pretend") };
    client.send_frame(compressed.clone());
    assert_eq!(node.read_frame(), compressed);
}

#[test]
fn the_origin_field_and_the_subprotocol_follow_the_configuration() {
    let from = "https://gateway.test:8443";
    for (value, expected) in
        [("client", from), ("node", "http://"), ("https://fixed.example", "https://fixed.example")]
    {
        let bed = TestBed::with(|config, _| {
            config.set("origins.origin_header", value);
            config.set("origins.subprotocol", "");
        });
        let listener = bed.node(1);
        let request = Request::upgrade(&bed.websocket_target(1)).with("Origin", from);
        let (_client, _node, head) = bed.pending_upgrade(&listener, &request);
        let expected =
            if value == "node" { format!("http://{}:5080", listener.ip()) } else { expected.to_owned() };
        assert_eq!(head.field("origin"), Some(expected.as_str()));
        assert_eq!(head.field("sec-websocket-protocol"), None);
    }
}

#[test]
fn bytes_sent_together_with_a_101_are_not_lost() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    // the client does not wait for its 101, and the node sends one and a half frames together with its own
    let mut client = bed.client();
    let early = client.encode(&Frame::text("early client"));
    client.send(&[Request::upgrade(&bed.websocket_target(1)).bytes(), early].concat());
    let mut node = listener.accept();
    let head = node.read_head();
    let frames = [Frame::text("early node").bare(), Frame::text("and more").bare()].concat();
    node.send(&[format!("{}\r\n", upgrade_response(&head)).as_bytes(), &frames[..15]].concat());
    assert_eq!(node.read_frame(), Frame::text("early client"));
    assert_eq!(client.read_response().status(), 101);
    assert_eq!(client.read_frame(), Frame::text("early node"));
    node.send(&frames[15..]);
    assert_eq!(client.read_frame(), Frame::text("and more"));
}

#[test]
fn a_node_may_send_a_close_together_with_its_101() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node, head) =
        bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
    let close = Frame::close(1013, "busy").bare();
    node.send(&[format!("{}\r\n", upgrade_response(&head)).as_bytes(), &close].concat());
    node.shutdown_write();
    assert_eq!(client.read_response().status(), 101);
    assert_eq!(client.read_frame(), Frame::close(1013, "busy"));
}

#[test]
fn the_head_of_a_node_may_arrive_in_pieces() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node, head) =
        bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
    let answer = format!("{}\r\n", upgrade_response(&head));
    answer.as_bytes().chunks(1).for_each(|byte| node.send(byte));
    assert_eq!(client.read_response().status(), 101);
    node.send_frame(Frame::text("hello"));
    assert_eq!(client.read_frame(), Frame::text("hello"));
}

#[test]
fn any_answer_of_a_node_but_a_valid_101_is_a_bad_handshake() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let plain = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n10.0.");
    type Answer = Box<dyn Fn(&Head) -> String>;
    let fixed = |text: String| -> Answer { Box::new(move |_| text.clone()) };
    let edited = |from: &'static str, to: &'static str| -> Answer {
        Box::new(move |head| format!("{}\r\n", upgrade_response(head)).replace(from, to))
    };
    let added = |field: &'static str| -> Answer {
        Box::new(move |head| format!("{}{field}\r\n\r\n", upgrade_response(head)))
    };
    let cases: Vec<(&str, Answer)> = vec![
        ("200", fixed(plain("200 OK"))),
        ("302", fixed(plain("302 Found\r\nLocation: http://10.0.0.1/"))),
        ("401", fixed(plain("401 Unauthorized"))),
        ("404", fixed(plain("404 Not Found"))),
        ("500", fixed(plain("500 Oh"))),
        ("no HTTP", fixed("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned())),
        ("a wrong accept", edited("Accept: ", "Accept: x")),
        ("no accept", edited("Sec-WebSocket-Accept", "X-Nothing")),
        ("no upgrade", edited("Upgrade: websocket\r\n", "")),
        ("another upgrade", edited("Upgrade: websocket", "Upgrade: h2c")),
        ("no connection", edited("Connection: Upgrade\r\n", "")),
        ("an unrequested subprotocol", added("Sec-WebSocket-Protocol: chat")),
        ("an unrequested extension", added("Sec-WebSocket-Extensions: permessage-deflate")),
        ("an endless head", added(Box::leak(format!("X-Long: {}", "x".repeat(100_000)).into_boxed_str()))),
    ];
    let total = cases.len();
    for (name, answer) in cases {
        eprintln!("node answers {name}");
        let (mut client, mut node, head) =
            bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
        node.try_send(answer(&head).as_bytes()).ok();
        let response = client.read_response();
        response.assert_refusal(502, "origin_bad_handshake");
        assert!(!response.text().contains(&listener.ip().to_string()), "the node is not named");
        assert!(response.field("x-tidegate-session").is_some());
        node.read_to_end();
    }
    let refusals = bed.gateway.metric("tidegate_refusals_total", &[("code", "origin_bad_handshake")]);
    assert_eq!(refusals, total as f64);
}

#[test]
fn a_node_that_hangs_up_instead_of_answering_is_a_502() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    for reset in [false, true] {
        let (mut client, node, _) =
            bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
        if reset {
            node.reset()
        } else {
            drop(node)
        }
        let response = client.read_response();
        assert_eq!(response.status(), 502, "{response:?}");
        response.assert_refusal(502, response.json()["code"].as_str().unwrap());
    }
}

#[test]
fn a_node_that_does_not_listen_is_a_502() {
    let bed = TestBed::start();
    let response = bed.exchange(&Request::upgrade(&bed.websocket_target(1)));
    response.assert_refusal(502, "origin_refused");
    assert!(!response.text().contains("127."), "the node is not named");
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[("outcome", "refused")]), 1.0);
}

#[test]
fn a_node_that_cannot_be_reached_in_time_is_a_504() {
    let bed = TestBed::with(|config, _| config.set("origins.connect_timeout", "200ms"));
    let _unresponsive = FullBacklog::listen(bed.workspace.node(1));
    let response = bed.exchange(&Request::upgrade(&bed.websocket_target(1)));
    response.assert_refusal(504, "origin_timeout");
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[("outcome", "timeout")]), 1.0);
}

#[test]
fn a_node_that_never_answers_the_upgrade_is_a_504() {
    let bed = TestBed::with(|config, _| config.set("origins.upgrade_timeout", "200ms"));
    let listener = bed.node(1);
    let (mut client, mut node, head) =
        bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
    // half an answer is no answer
    node.send(&upgrade_response(&head).as_bytes()[..20]);
    client.read_response().assert_refusal(504, "origin_timeout");
    node.expect_end();
}

#[test]
fn after_a_failed_upgrade_the_client_connection_still_serves() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node, _) =
        bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
    node.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let response = client.read_response();
    response.assert_refusal(502, "origin_bad_handshake");
    if response.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        assert_eq!(client.expect_end(), End::Clean);
        client = bed.client();
    }
    let mut node = bed.open_websocket(&mut client, &listener);
    node.send_frame(Frame::text("now"));
    assert_eq!(client.read_frame(), Frame::text("now"));
}

#[test]
fn a_client_that_leaves_cancels_the_dial() {
    let bed = TestBed::with(|config, _| config.set("origins.upgrade_timeout", "60s"));
    let listener = bed.node(1);
    for reset in [false, true] {
        let (mut client, mut node, _) =
            bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
        if reset {
            client.reset();
        } else {
            client.shutdown_write();
            drop(client);
        }
        node.expect_end();
    }
    bed.gateway.wait_for_metric("tidegate_origin_dials_total", &[("outcome", "cancelled")], 2.0);
}

#[test]
fn a_client_that_leaves_cancels_an_unfinished_connect() {
    let bed = TestBed::with(|config, _| config.set("origins.connect_timeout", "60s"));
    let _unresponsive = FullBacklog::listen(bed.workspace.node(1));
    let mut client = bed.client();
    client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    bed.gateway.wait_for_metric("tidegate_sessions_active", &[("route", "two_step")], 1.0);
    client.reset();
    bed.gateway.wait_for_metric("tidegate_origin_dials_total", &[("outcome", "cancelled")], 1.0);
    bed.gateway.wait_for_metric("tidegate_worker_sessions", &[], 0.0);
}

#[test]
fn an_invalid_upgrade_is_refused_before_any_dial() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let good = Request::upgrade(&bed.websocket_target(1));
    let cases: Vec<(&str, Request, u16, &str)> = vec![
        ("a plain request", Request::get(&bed.websocket_target(1)), 426, "upgrade_required"),
        ("no upgrade", good.clone().without("Upgrade"), 426, "upgrade_required"),
        ("another upgrade", good.clone().instead("Upgrade", "h2c"), 426, "upgrade_required"),
        ("version 8", good.clone().instead("Sec-WebSocket-Version", "8"), 426, "websocket_version"),
        ("no version", good.clone().without("Sec-WebSocket-Version"), 426, "websocket_version"),
        ("no key", good.clone().without("Sec-WebSocket-Key"), 400, "bad_request"),
        ("a short key", good.clone().instead("Sec-WebSocket-Key", "c2hvcnQ="), 400, "bad_request"),
        ("two keys", good.clone().with("Sec-WebSocket-Key", crate::harness::client::KEY), 400, "bad_request"),
    ];
    for (name, request, status, code) in cases {
        eprintln!("upgrade with {name}");
        let response = bed.exchange(&request);
        response.assert_refusal(status, code);
        if status == 426 {
            let connection = response.field("connection").expect("Connection").to_ascii_lowercase();
            assert!(connection.split(',').any(|option| option.trim() == "upgrade"), "{connection}");
        }
        match code {
            "upgrade_required" => {
                assert!(response.field("upgrade").is_some_and(|v| v.eq_ignore_ascii_case("websocket")));
            }
            "websocket_version" => assert_eq!(response.field("sec-websocket-version"), Some("13")),
            _ => {}
        }
    }
    let post = Request::new("POST", &bed.websocket_target(1)).with("Content-Length", "0");
    let response = bed.exchange(&post);
    response.assert_refusal(405, "method_not_allowed");
    assert!(response.field("allow").is_some_and(|methods| methods.contains("GET")));
    assert_eq!(listener.dials(), 0);
}

#[test]
fn fields_of_an_upgrade_may_be_lists_in_any_case() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let request = Request::upgrade(&bed.websocket_target(1))
        .instead("Connection", "keep-alive, uPGRADE")
        .instead("Upgrade", "WebSocket");
    let (mut client, mut node, head) = bed.pending_upgrade(&listener, &request);
    node.answer_upgrade(&head, "");
    assert_eq!(client.read_response().status(), 101);
}
