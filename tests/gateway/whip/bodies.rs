//! Bodies of WHIP and WHEP: every framing both ways, with limits, and the connection stays usable.

use crate::harness::reply::chunks;
use crate::harness::whip::{ANSWER, FORMS, Form, OFFER, SDP, empty_post, post};
use crate::harness::{Connection, Reply, Request, TestBed, eventually};
use std::time::Instant;

const ENDPOINT: &str = "/as/v1/proxy/whip/live/s?nodeGroup=ng1";

fn long(size: usize) -> String {
    (0..size).map(|n| char::from(b'a' + (n % 26) as u8)).collect()
}

#[test]
fn a_body_arrives_in_any_framing() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let mut client = bed.client();
    for size in [1, 100, 16 << 10, 200 << 10] {
        let offer = long(size);
        let whole = Request::new("POST", ENDPOINT).body(SDP, &offer);
        let mut in_pieces = |piece| {
            client.exchange(&Request::new("POST", ENDPOINT).chunked_body(SDP, &offer, piece)).status()
        };
        assert_eq!((in_pieces(size), in_pieces(size.div_ceil(7))), (201, 201));
        assert_eq!(client.exchange(&whole).status(), 201);
        for asked in node.received().iter().rev().take(3) {
            assert!(asked.text() == offer, "{size}: {} bytes", asked.body.len());
        }
    }
}

#[test]
fn the_network_may_cut_a_body_anywhere() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    for request in [post(ENDPOINT), Request::new("POST", ENDPOINT).chunked_body(SDP, OFFER, 9)] {
        let bytes = request.bytes();
        let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        for cut in [head - 1, head, head + 1, head + 2, head + 3, head + 13, bytes.len() - 2, bytes.len() - 1]
        {
            let mut client = bed.client();
            client.send(&bytes[..cut]);
            assert!(!client.receives_within(std::time::Duration::from_millis(20)), "{cut}");
            client.send(&bytes[cut..]);
            assert_eq!(client.read_response().status(), 201, "{cut}");
            assert_eq!(node.last().text(), OFFER, "{cut}");
        }
    }
}

#[test]
fn an_empty_chunked_body_is_an_empty_body() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let endpoint = Form::Proxy.endpoint("whep", "s", bed.ip(1), "");
    for request in [
        empty_post(&endpoint),
        Request::new("POST", &endpoint),
        empty_post(&endpoint).with("Content-Type", SDP),
    ] {
        bed.created(&request);
        assert_eq!((node.last().body.len(), node.last().field("content-length")), (0, Some("0")));
    }
}

#[test]
fn a_delete_and_a_whep_post_may_have_an_empty_chunked_body() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let chunked = |method: &str, target: &str| {
        Request::new(method, target).chunked_body(SDP, "", 1).without("Content-Type")
    };
    for form in FORMS {
        let endpoint = form.endpoint("whep", "s", bed.ip(1), "");
        let created = bed.created(&chunked("POST", &endpoint));
        assert_eq!((node.last().body.len(), node.last().field("content-length")), (0, Some("0")));
        assert_eq!(bed.exchange(&chunked("DELETE", created.location())).status(), 200, "{form:?}");
        assert_eq!(bed.exchange(&chunked("OPTIONS", &endpoint)).status(), 204, "{form:?}");
        let count = node.count();
        for request in [
            chunked("POST", &form.endpoint("whip", "s", bed.ip(1), "")),
            Request::new("POST", &form.endpoint("whip", "s", bed.ip(1), "")).chunked_body(SDP, "", 1),
            Request::new("POST", &endpoint).chunked_body("text/plain", "v=0", 1),
            Request::new("DELETE", created.location()).chunked_body(SDP, "v=0", 1),
        ] {
            bed.exchange(&request).assert_refusal(400, "bad_request");
        }
        assert_eq!(node.count(), count);
    }
}

#[test]
fn an_answer_arrives_in_any_framing() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    for form in FORMS {
        let request = post(&form.endpoint("whip", "s", bed.ip(1), ""));
        let mut client = bed.client();
        for size in [0, 5, 40 << 10, 200 << 10] {
            let reply = Reply::created("/live/whip/resource/s", &long(size));
            for reply in [reply.clone(), reply.clone().chunked(), reply.until_end()] {
                node.answer("POST ", reply);
                let created = client.exchange(&request);
                assert_eq!(created.status(), 201, "{form:?}");
                assert!(created.text() == long(size), "{form:?} {size}: {} bytes", created.body.len());
            }
        }
        node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER));
    }
}

#[test]
fn an_answer_that_is_cut_short_never_looks_complete() {
    // the node of the raw reply keeps its connection open: the gateway has to time out before the test does
    let bed = TestBed::with(|config, _| config.set("origins.answer_timeout", "1s"));
    let node = bed.whip_node(1);
    let half_chunk =
        b"HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nLocation: /live/whip/resource/other\r\n\
                       Transfer-Encoding: chunked\r\n\r\n10\r\nv=0\r\n";
    for reply in
        [Reply::created("/live/whip/resource/other", ANSWER).truncated(), Reply::raw(&half_chunk[..])]
    {
        node.answer("POST ", reply);
        let mut client = bed.client();
        client.send_request(&post(ENDPOINT).with("Connection", "close"));
        let (bytes, _) = client.read_to_end();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let cut = text.starts_with("HTTP/1.1 201") && !text.contains("\r\n0\r\n\r\n");
        let refused = text.starts_with("HTTP/1.1 502") || text.starts_with("HTTP/1.1 504");
        assert!(refused || cut || text.is_empty(), "{text}");
        eventually("the session is deleted where the node said", || {
            node.lines().last().is_some_and(|line| line == "DELETE /live/whip/resource/other")
        });
    }
}

#[test]
fn a_session_whose_answer_is_of_no_use_is_deleted() {
    let bed = TestBed::with(|config, _| config.set("limits.body_max", "8KiB"));
    let node = bed.whip_node(1);
    let created = |fields: &str| Reply::raw(format!("HTTP/1.1 201 Created\r\n{fields}\r\n").into_bytes());
    let large = Reply::created("/live/whip/resource/other", &long(9 << 10));
    let head = "Location: /live/whip/resource/other\r\n";
    for (reply, path) in [
        (large, "/live/whip/resource/other"),
        (created(&format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n")), "/live/whip/resource/s"),
        (created(&format!("{head}X: {}\r\n", long(20 << 10))), "/live/whip/resource/s"),
        (created(&format!("{head}Broken\r\n")), "/live/whip/resource/s"),
    ] {
        node.answer("POST ", reply);
        let posts = node.count();
        assert_eq!(bed.exchange(&post(ENDPOINT)).status(), 502, "{path}");
        eventually("the session is deleted", || {
            node.count() == posts + 2 && node.last().line() == format!("DELETE {path}")
        });
    }
    // a node that refuses made nothing, and the name may be that of another client
    let refused = b"HTTP/1.1 409 Conflict\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_vec();
    node.answer("POST ", Reply::raw(refused));
    let posts = node.count();
    assert_eq!(bed.exchange(&post(ENDPOINT)).status(), 502);
    bed.exchange(&Request::new("OPTIONS", ENDPOINT));
    assert_eq!(node.count(), posts + 2, "{:?}", node.lines());
}

#[test]
fn answers_that_are_not_http_are_a_bad_gateway() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    for bytes in [
        "HTTP/1.1 201 Created\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nv=0\r\n0\r\n\r\n",
        "HTTP/1.1 201 Created\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nv=0",
        "HTTP/1.1 201 Created\r\nContent-Length: -3\r\n\r\nv=0",
        "HTTP/1.1 201 Created\r\nBad Field: 3\r\nContent-Length: 3\r\n\r\nv=0",
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nv=0\r\n",
        "HTTP/2 201 Created\r\nContent-Length: 3\r\n\r\nv=0",
        "ICY 201 OK\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        node.answer("POST ", Reply::raw(bytes));
        let response = bed.exchange(&post(ENDPOINT));
        assert_eq!(response.status(), 502, "{bytes:?}: {response:?}");
        assert_eq!(response.field("location"), None);
    }
}

#[test]
fn an_unrequested_protocol_switch_of_a_node_is_a_bad_gateway() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let bytes = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    node.answer("POST ", Reply::raw(bytes));
    bed.exchange(&post(ENDPOINT)).assert_refusal(502, "origin_bad_handshake");
}

#[test]
fn provisional_answers_are_skipped() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let last = "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0";
    for provisional in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"] {
        node.answer("POST ", Reply::raw(format!("{provisional}{last}")));
        let created = bed.created(&post(ENDPOINT));
        assert_eq!(created.text(), "v=0");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_and_the_node_gets_no_complete_one() {
    let bed = TestBed::with(|config, _| {
        config.set("limits.body_max", "8KiB");
        config.set("cors.allow_origins", vec!["https://app.example"]);
    });
    let node = bed.whip_node(1);
    let offer = long((8 << 10) + 1);
    for form in FORMS {
        let endpoint = form.endpoint("whip", "s", bed.ip(1), "");
        let announced = Request::new("POST", &endpoint).body(SDP, &offer);
        let chunked = Request::new("POST", &endpoint).chunked_body(SDP, &offer, 1000);
        for request in [announced, chunked] {
            let response = bed.exchange(&request.by_page("https://app.example"));
            response.assert_refusal(413, "body_too_large");
            assert_eq!(response.field("access-control-allow-origin"), Some("https://app.example"));
        }
        bed.created(&Request::new("POST", &endpoint).body(SDP, &offer[1..]));
    }
    assert_eq!(node.count(), FORMS.len());
}

#[test]
fn an_answer_over_the_limit_is_a_502() {
    let bed = TestBed::with(|config, _| config.set("limits.body_max", "8KiB"));
    let node = bed.whip_node(1);
    for reply in [
        Reply::created("/live/whip/resource/s", &long(9 << 10)),
        Reply::created("/live/whip/resource/s", &long(9 << 10)).chunked(),
        Reply::created("/live/whip/resource/s", &long(9 << 10)).until_end(),
    ] {
        node.answer("POST ", reply);
        assert_eq!(bed.exchange(&post(ENDPOINT)).status(), 502);
    }
}

#[test]
fn a_body_that_does_not_arrive_is_a_408() {
    let bed = TestBed::with(|config, _| {
        config.set("limits.body_timeout", "300ms");
        config.set("cors.allow_origins", vec!["https://app.example"]);
    });
    let node = bed.whip_node(1);
    for request in [post(ENDPOINT), Request::new("POST", ENDPOINT).chunked_body(SDP, OFFER, 9)] {
        let bytes = request.by_page("https://app.example").bytes();
        let mut client = bed.client();
        client.send(&bytes[..bytes.len() - 6]);
        let response = client.read_response();
        response.assert_refusal(408, "body_timeout");
        assert_eq!(response.field("access-control-allow-origin"), Some("https://app.example"));
        client.expect_end();
    }
    assert_eq!(node.count(), 0);
}

#[test]
fn a_body_sent_byte_by_byte_gets_no_extra_time() {
    let bed = TestBed::with(|config, _| config.set("limits.body_timeout", "500ms"));
    let _node = bed.whip_node(1);
    let bytes = post(ENDPOINT).bytes();
    let mut client = bed.client();
    let started = Instant::now();
    let (head, body) = bytes.split_at(bytes.len() - OFFER.len());
    client.send(head);
    for byte in body {
        if client.try_send(&[*byte]).is_err() || client.receives_within(std::time::Duration::from_millis(100))
        {
            break;
        }
    }
    client.read_response().assert_refusal(408, "body_timeout");
    assert!(started.elapsed().as_millis() >= 400);
}

#[test]
fn the_body_of_a_refused_request_is_not_read_as_a_request() {
    let bed = TestBed::start();
    let _node = bed.whip_node(1);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    let refused: [Request; 3] = [
        Request::new("POST", "/live/whip/nowhere").body(SDP, smuggled),
        Request::new("POST", "/live/whip/endpoint/s").body("text/plain", smuggled),
        Request::new("DELETE", "/live/whip/resource/s").chunked_body(SDP, smuggled, 10),
    ];
    for request in refused {
        let mut client = bed.client();
        client.send_request(&request);
        client.send_request(&Request::get("/nowhere").with("Connection", "close"));
        let (bytes, _) = client.read_to_end();
        let text = String::from_utf8_lossy(&bytes);
        // either the connection ends after the refusal, or exactly the next request is answered
        assert!(text.matches("HTTP/1.1 ").count() <= 2, "{text}");
        assert!(text.starts_with("HTTP/1.1 4"), "{text}");
    }
}

/// Sends these bytes and returns everything until the end.
fn whole_answer(mut client: Connection, bytes: &[u8]) -> String {
    client.try_send(bytes).ok();
    String::from_utf8_lossy(&client.read_to_end().0).into_owned()
}

#[test]
fn bodies_with_ambiguous_framing_are_refused() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let head = |fields: &str| {
        format!(
            "POST {ENDPOINT} HTTP/1.1\r\nHost: gateway.test:8443\r\nContent-Type: {SDP}\r\nConnection: close\r\n{fields}\r\n"
        )
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    for bytes in [
        head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
        head("Content-Length: 3\r\nContent-Length: 4\r\n") + "v=0\n",
        head("Content-Length: 3, 3\r\n") + "v=0",
        head("Content-Length: +3\r\n") + "v=0",
        head("Transfer-Encoding: identity, chunked\r\n") + "3\r\nv=0\r\n0\r\n\r\n",
        head("Transfer-Encoding: xchunked\r\n") + "3\r\nv=0\r\n0\r\n\r\n",
        head(chunked) + "0x3\r\nv=0\r\n0\r\n\r\n",
        head(chunked) + "-3\r\nv=0\r\n0\r\n\r\n",
        head(chunked) + "3\nv=0\n0\n\n",
        head(chunked) + "3\r\nv=0x\r\n0\r\n\r\n",
        head(chunked) + "10000000000000003\r\nv=0\r\n0\r\n\r\n",
    ] {
        let text = whole_answer(bed.client(), bytes.as_bytes());
        let status = text.get(..12).unwrap_or_default();
        assert!(matches!(status, "HTTP/1.1 400" | "HTTP/1.1 413" | "HTTP/1.1 501"), "{bytes:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{bytes:?}: {text}");
    }
    assert_eq!(node.count(), 0);
}

#[test]
fn trailers_are_dropped() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let mut body = chunks(OFFER.as_bytes(), 11);
    body.truncate(body.len() - 2);
    body.extend(b"X-Trailer: x\r\nAuthorization: y\r\n\r\n");
    let head = Request::new("POST", ENDPOINT).with("Content-Type", SDP).with("Transfer-Encoding", "chunked");
    let mut client = bed.client();
    client.send(&[head.bytes(), body].concat());
    assert_eq!(client.read_response().status(), 201);
    assert_eq!((node.last().text().as_str(), node.last().field("authorization")), (OFFER, None));
    assert_eq!(client.get("/nowhere").status(), 404);
}
