//! Request heads: limits, timeouts, and heads that the network cuts anywhere. Hostile heads are in `hostile_requests`.

use crate::harness::connection::{End, printable};
use crate::harness::{Connection, Frame, Head, Reply, Request, Response, TestBed};

const EVENT: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";

/// Sends bytes and a valid request after them. Expects exactly one answer, and then the end.
#[track_caller]
fn one_answer(bed: &TestBed, bytes: &[u8]) -> Response {
    let mut client = bed.client();
    client.send(bytes);
    client.try_send(&Request::get(EVENT).bytes()).ok();
    let response = client.read_response();
    let (rest, end) = client.read_to_end();
    assert!(rest.is_empty(), "a second answer: {}", printable(&rest));
    assert_eq!(end, End::Clean);
    response
}

#[test]
fn no_hostile_byte_disturbs_another_session() {
    let mut bed = TestBed::with(|config, _| config.set("gateway.workers", 1));
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    for byte in 0..=255 {
        let mut other = bed.client();
        other.try_send(&[byte, b'\r', b'\n', b'\r', b'\n']).unwrap();
        other.shutdown_write();
        other.read_to_end();
    }
    client.send_frame(Frame::text("unmoved"));
    assert_eq!(node.read_frame(), Frame::text("unmoved"));
    bed.gateway.assert_healthy();
}

#[test]
fn an_absolute_target_for_this_host_is_served() {
    let bed = TestBed::start();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()));
    let response = bed.exchange(&Request::get(&format!("https://gateway.test:8443{EVENT}")));
    assert_eq!(response.status(), 200);
    assert_eq!(bed.manager.received_heads()[0].target(), EVENT);
}

#[test]
fn a_target_over_the_limit_is_a_414() {
    let bed = TestBed::start();
    let long = format!("/streammanager/?id={}&host=127.0.0.1&app=live", "x".repeat(6 << 10));
    one_answer(&bed, &Request::upgrade(&long).bytes()).assert_refusal(414, "target_too_long");
    // even if it never ends
    let mut client = bed.client();
    client.try_send(format!("GET /{}", "x".repeat(20 << 10)).as_bytes()).ok();
    client.read_response().assert_refusal(414, "target_too_long");
}

#[test]
fn a_head_over_the_limit_is_a_431() {
    let bed = TestBed::start();
    let many = (0..101).fold(Request::get(EVENT), |request, n| request.with(&format!("X-{n}"), "1"));
    one_answer(&bed, &many.bytes()).assert_refusal(431, "head_too_large");
    let long = Request::get(EVENT).with("X-Long", &"x".repeat(16 << 10));
    one_answer(&bed, &long.bytes()).assert_refusal(431, "head_too_large");
    // even if it never ends
    let mut client = bed.client();
    client.try_send(format!("GET {EVENT} HTTP/1.1\r\nX-Long: {}", "x".repeat(40 << 10)).as_bytes()).ok();
    client.read_response().assert_refusal(431, "head_too_large");
}

#[test]
fn a_target_just_under_the_limit_is_read() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let target = format!("{}&token={}", bed.websocket_target(1), "x".repeat(5000));
    let mut client = bed.client();
    client.send_request(&Request::upgrade(&target));
    let head: Head = listener.accept().accept_upgrade();
    assert_eq!(head.target(), format!("/live/?id=stream1&token={}", "x".repeat(5000)));
    assert_eq!(client.read_response().status(), 101);
}

#[test]
fn a_slow_head_ends_after_the_head_timeout() {
    let bed = TestBed::with(|config, _| config.set("limits.head_timeout", "300ms"));
    let mut half = bed.client();
    half.send(b"GET /streamman");
    half.read_response().assert_refusal(408, "head_timeout");
    assert_eq!(half.expect_end(), End::Clean);
    // single bytes do not extend the timeout
    let mut dripping = bed.client();
    let mut sent = 0;
    while !dripping.receives_within(std::time::Duration::from_millis(50)) {
        dripping.try_send(b"G").ok();
        sent += 1;
        assert!(sent < 100, "single bytes for 5 s without an answer");
    }
    dripping.read_response().assert_refusal(408, "head_timeout");
}

#[test]
fn a_silent_connection_ends_after_the_head_timeout() {
    let bed = TestBed::with(|config, _| config.set("limits.head_timeout", "300ms"));
    let mut silent = bed.client();
    let (rest, _) = silent.read_to_end();
    assert!(
        rest.is_empty() || Head::parse(&rest[..find_end(&rest)]).line.contains(" 408 "),
        "{}",
        printable(&rest)
    );
}

fn find_end(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
}

#[test]
fn a_head_may_be_cut_anywhere() {
    let bed = TestBed::start();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()));
    let bytes = Request::get(EVENT).bytes();
    let mut client = bed.client();
    for byte in bytes.chunks(1) {
        client.send(byte);
    }
    assert_eq!(client.read_response().status(), 200);
    for cut in (1..bytes.len()).step_by(7) {
        client.send(&bytes[..cut]);
        client.send(&bytes[cut..]);
        assert_eq!(client.read_response().status(), 200, "cut at {cut}");
    }
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let bed = TestBed::start();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()));
    let mut client = bed.client();
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let response = client.get(EVENT);
            assert_eq!(response.status(), 200);
            response.field("x-tidegate-session").expect("an id").to_owned()
        })
        .collect();
    assert!(ids.iter().all(|id| !id.is_empty()));
    // a refusal that leaves no doubt about framing does not end the connection either
    client.get("/nowhere").assert_refusal(404, "no_such_route");
    assert_eq!(client.get(EVENT).status(), 200);
    client.send_request(&Request::get(EVENT).with("Connection", "close"));
    assert_eq!(client.read_response().status(), 200);
    assert_eq!(client.expect_end(), End::Clean);
}

#[test]
fn requests_in_one_write_are_answered_in_order() {
    let bed = TestBed::start();
    for n in 0..5 {
        bed.manager.answer(&format!("/live/s{n}?"), Reply::json(200, format!(r#"{{"name":"s{n}"}}"#)));
    }
    let target = |n| format!("/streammanager/api/4.0/event/live/s{n}?action=subscribe");
    let bytes: Vec<u8> = (0..5).flat_map(|n| Request::get(&target(n)).bytes()).collect();
    let mut client = bed.client();
    client.send(&bytes);
    for n in 0..5 {
        assert_eq!(client.read_response().json()["name"], format!("s{n}"));
    }
}

#[test]
fn a_websocket_may_follow_a_question_on_the_same_connection() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    bed.manager.answer("/stream1", Reply::node(listener.ip()));
    let mut client: Connection = bed.client();
    assert_eq!(client.get(EVENT).status(), 200);
    let mut node = bed.open_websocket(&mut client, &listener);
    client.send_frame(Frame::text("hello"));
    assert_eq!(node.read_frame(), Frame::text("hello"));
}

#[test]
fn http_1_0_is_answered_and_the_connection_closed() {
    let bed = TestBed::start();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()));
    let mut client = bed.client();
    client.send(format!("GET {EVENT} HTTP/1.0\r\nHost: gateway.test\r\n\r\n").as_bytes());
    let response = client.read_response();
    assert!(matches!(response.status(), 200 | 505), "{response:?}");
    assert_eq!(client.expect_end(), End::Clean);
}

#[test]
fn paths_that_resemble_routes_are_not_found() {
    let bed = TestBed::start();
    let targets = [
        "/",
        "/Streammanager/",
        "/streammanager/api/4.0/event/../admin/event",
        "/streammanager/api/4.0/admin/event/meta/live/stream1?accessToken=xyz123",
        "/streammanager/api/4.0/admin/proxy/clients",
        "/streammanager/api/5.0/event/live/stream1?action=subscribe",
        "/streammanager//api/4.0/event/live/stream1?action=subscribe",
        "/streammanager/api/4.0/event/live/..%2f..%2fadmin/proxy/clients?action=subscribe",
        "/streammanager/api/4.0/event/live/;x/stream1?action=subscribe",
        "/as/v1/admin/nodegroup",
        "/as/v1/auth/login",
        "/as/v1/proxy/forward/?target=http%3A%2F%2F169.254.169.254%2F",
        "/metrics",
        "/api/status",
        "/readyz",
    ];
    for target in targets {
        let response = bed.get(target);
        assert!(matches!(response.status(), 400 | 403 | 404), "{target}: {response:?}");
        assert_eq!(response.json()["error"], response.json()["errorMessage"], "{target}");
    }
    assert_eq!(bed.manager.count(), 0, "the manager was asked: {:?}", bed.manager.received_heads());
}

#[test]
fn a_body_is_never_read_as_a_request() {
    let bed = TestBed::start();
    bed.manager.answer("/stream1", Reply::node(bed.workspace.node(1).ip()));
    let hidden = String::from_utf8(Request::get("/hidden").bytes()).unwrap();
    let chunked = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for method in ["GET", "POST", "OPTIONS", "DELETE"] {
        for target in [EVENT, "/nowhere", "/streammanager/?id=s"] {
            let head = Request::new(method, target);
            let cases = [
                (head.clone().with("Content-Length", &hidden.len().to_string()), &hidden),
                (head.with("Transfer-Encoding", "chunked"), &chunked),
            ];
            for (request, body) in cases {
                let mut client = bed.client();
                let last = Request::get(EVENT).with("Connection", "close");
                client.try_send(&[request.bytes(), body.as_bytes().to_vec(), last.bytes()].concat()).ok();
                let (answers, _) = client.read_to_end();
                let answers = String::from_utf8_lossy(&answers).matches("HTTP/1.1 ").count();
                assert!(
                    (1..=2).contains(&answers),
                    "{answers} answers to {method} {target} and one more request"
                );
            }
        }
    }
    assert!(bed.manager.received_heads().iter().all(|question| question.target() == EVENT));
}

#[test]
fn an_upgrade_over_http_1_0_is_refused() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let request = String::from_utf8(Request::upgrade(&bed.websocket_target(1)).bytes()).unwrap();
    let mut client = bed.client();
    client.send(request.replace("HTTP/1.1", "HTTP/1.0").as_bytes());
    let response = client.read_response();
    assert!(matches!(response.status(), 400 | 426 | 505), "{response:?}");
    assert_eq!(listener.dials(), 0);
}

#[test]
fn an_answer_to_head_has_no_body_and_the_connection_stays_open() {
    let bed = TestBed::start();
    bed.manager.answer("", Reply::node(bed.ip(1)));
    let body = Reply::node(bed.ip(1)).body();
    for (target, status) in [(EVENT, 200), ("/nowhere", 404), ("/streammanager/?id=s", 426)] {
        let mut client = bed.client();
        client.send_request(&Request::new("HEAD", target));
        let head = client.read_head();
        assert!(head.line.contains(&format!(" {status} ")), "{head:?}");
        if status == 200 {
            assert_eq!(head.field("content-length"), Some(body.len().to_string().as_str()));
            assert_eq!(head.field("content-type"), Some("application/json"));
            assert_eq!(bed.get(EVENT).text(), body);
        }
        // the first bytes after the head are the next answer
        client.send_request(&Request::get("/nowhere"));
        client.read_response().assert_refusal(404, "no_such_route");
    }
}
