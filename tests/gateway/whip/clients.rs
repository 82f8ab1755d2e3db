//! How WHIP clients use their connection: several requests, early bytes, leaving.

use crate::harness::whip::{ANSWER, FORMS, Form, OFFER, SDP, delete, patch, post};
use crate::harness::{Gate, Reply, Request, TestBed, eventually};

const ENDPOINT: &str = "/as/v1/proxy/whip/live/s?nodeGroup=ng1";

fn long(size: usize) -> String {
    (0..size).map(|n| char::from(b'a' + (n % 26) as u8)).collect()
}

#[test]
fn a_client_that_leaves_in_mid_body_leaves_nothing_at_the_node() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let bytes = post(ENDPOINT).bytes();
    let mut client = bed.client();
    client.send(&bytes[..bytes.len() - 6]);
    client.reset();
    bed.gateway.wait_for_metric("tidegate_http_connections_active", &[], 0.0);
    assert_eq!(node.count(), 0);
}

#[test]
fn a_session_whose_client_left_is_deleted() {
    for form in FORMS {
        let bed = TestBed::start();
        let node = bed.whip_node(1);
        let gate = Gate::default();
        node.answer("POST ", Reply::created("/live/whip/resource/orphan", ANSWER).held(&gate));
        let mut client = bed.client();
        client.send_request(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
        node.wait_for_requests(1);
        client.reset();
        bed.gateway.wait_for_metric("tidegate_http_connections_active", &[], 0.0);
        gate.open();
        eventually("the orphan is deleted", || {
            node.lines().iter().any(|line| line.starts_with("DELETE /live/whip/resource/orphan"))
        });
    }
}

#[test]
fn requests_may_follow_each_other_without_waiting() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let replies =
        (0..3).map(|n| Reply::created(&format!("/live/whip/resource/r{n}"), &format!("answer {n}")));
    node.answer_in_turn("POST ", replies);
    let mut client = bed.client();
    let endpoint = Form::Direct.endpoint("whip", "s", bed.ip(1), "");
    let requests = [
        post(&endpoint),
        Request::new("POST", &endpoint).chunked_body(SDP, OFFER, 5),
        Request::get("/nowhere"),
        post(&endpoint),
        patch("/live/whip/resource/s"),
        delete("/live/whip/resource/s"),
    ];
    client.send(&requests.iter().flat_map(Request::bytes).collect::<Vec<_>>());
    let answers = requests.each_ref().map(|_| client.read_response());
    assert_eq!(answers.each_ref().map(|answer| answer.status()), [201, 201, 404, 201, 204, 200]);
    let texts = [0, 1, 3].map(|n| answers[n].text());
    assert_eq!(texts, ["answer 0", "answer 1", "answer 2"]);
    assert_eq!(node.lines().pop().unwrap(), "DELETE /live/whip/resource/s");
    // the connection still is usable
    assert_eq!(client.get("/nowhere").status(), 404);
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let bytes = post(ENDPOINT).with("Expect", "100-continue").bytes();
    let (head, body) = bytes.split_at(bytes.len() - OFFER.len());
    let mut client = bed.client();
    client.send(head);
    assert_eq!(client.read_head().line, "HTTP/1.1 100 Continue");
    client.send(body);
    assert_eq!(client.read_response().status(), 201);
    assert_eq!(node.last().text(), OFFER);
    assert_eq!(node.last().field("expect"), None);
    // a request that is refused anyway is refused at once, and its body is not read
    for (target, length, status) in [("/nowhere", "9", 404), (ENDPOINT, "9999999", 413)] {
        let wrong = Request::new("POST", target).with("Content-Type", SDP).with("Expect", "100-continue");
        let mut client = bed.client();
        client.send_request(&wrong.with("Content-Length", length));
        let answer = client.read_response();
        assert_eq!((answer.status(), answer.field("connection")), (status, Some("close")), "{target}");
        client.expect_end();
    }
}

#[test]
fn an_offer_of_a_client_that_shut_its_sending_half_is_answered_or_undone() {
    for form in FORMS {
        let bed = TestBed::start();
        let node = bed.whip_node(1);
        let gate = Gate::default();
        node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
        let mut client = bed.client();
        client.send_request(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
        node.wait_for_requests(1);
        client.shutdown_write();
        gate.open();
        // a browser that closes a tab and a tool that has nothing more to send look the same
        let answered = client.next_head().is_some_and(|head| head.line.starts_with("HTTP/1.1 201"));
        eventually("every session has an owner", || {
            let deletes = node.lines().iter().filter(|line| line.starts_with("DELETE ")).count();
            answered || deletes == node.count() - deletes
        });
    }
}

#[test]
fn the_delete_of_a_page_that_leaves_at_once_reaches_the_node() {
    for form in FORMS {
        let bed = TestBed::start();
        let node = bed.whip_node(1);
        let mut client = bed.client();
        let created = client.exchange(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
        client.send_request(&delete(created.location()));
        client.shutdown_write();
        drop(client);
        eventually("the session ends", || {
            node.lines().last().is_some_and(|line| line == "DELETE /live/whip/resource/stream1")
        });
    }
}

/// Checks that a client that sends on while its first request waits is held back, and costs bounded memory.
#[track_caller]
fn send_while_first_request_waits(request: &Request, waits_at: impl FnOnce(&TestBed)) {
    const SENT_MAX: usize = 64 << 20;
    let bed = TestBed::start();
    bed.manager.answer("", Reply::nodes(&[bed.ip(1)]));
    let mut client = bed.client();
    client.send_request(request);
    waits_at(&bed);
    let before = bed.gateway.memory();
    // rustls reads when it can't write
    let short = Some(std::time::Duration::from_millis(300));
    client.tcp().set_write_timeout(short).unwrap();
    client.tcp().set_read_timeout(short).unwrap();
    let piece = vec![b'x'; 64 << 10];
    let sent =
        (0..SENT_MAX / piece.len()).take_while(|_| client.try_send(&piece).is_ok()).count() * piece.len();
    let after = bed.gateway.memory();
    assert!(sent < SENT_MAX, "the client was neither held back nor ended");
    assert!(after < before + (8 << 20), "memory grew from {before} to {after} bytes after {sent} bytes");
}

#[test]
fn a_client_that_sends_on_while_its_node_is_silent_is_held_back() {
    let kept = std::cell::OnceCell::new();
    send_while_first_request_waits(&post(ENDPOINT), |bed| {
        let node = bed.node(1);
        let mut connection = node.accept();
        connection.next_request().expect("the offer");
        kept.set((node, connection)).ok();
    });
    let kept = std::cell::OnceCell::new();
    send_while_first_request_waits(
        &Request::upgrade("/as/v1/proxy/ws/publish/live/s?nodeGroup=ng1"),
        |bed| {
            let node = bed.node(1);
            let mut connection = node.accept();
            connection.read_head();
            kept.set((node, connection)).ok();
        },
    );
}

/// Bytes that the gateway may keep of a client that sends ahead: twice 16 KiB, and what its buffer has to spare.
const AHEAD_KEPT_MAX: usize = 44 << 10;

#[test]
fn what_a_client_sends_ahead_is_bounded_and_counted_and_freed_when_it_is_used() {
    const CLIENTS: usize = 20;
    let bed = TestBed::with(|config, _| config.set("gateway.workers", 1));
    let node = bed.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    let kept = || bed.gateway.metric("tidegate_worker_buffers_lent_bytes", &[]) as usize;
    // ends with half a head, and waits for the rest
    let ahead =
        [Request::get("/nowhere").bytes().repeat(1500), b"GET /nowhere HTTP/1.1\r\n".to_vec()].concat();
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = bed.client();
            client.send_request(&post(ENDPOINT));
            client
        })
        .collect();
    node.wait_for_requests(CLIENTS);
    std::thread::scope(|scope| {
        for client in &mut clients {
            let ahead = &ahead;
            scope.spawn(move || {
                client.send(ahead);
                assert_eq!(client.read_response().status(), 201);
                for _ in 0..1500 {
                    assert_eq!(client.read_response().status(), 404);
                }
            });
        }
        eventually("all clients have sent ahead", || kept() >= CLIENTS * (16 << 10));
        std::thread::sleep(std::time::Duration::from_millis(300));
        let most = kept();
        assert!(most <= CLIENTS * AHEAD_KEPT_MAX, "{} bytes for each client", most / CLIENTS);
        gate.open();
    });
    eventually("what is used is freed", || kept() == 0);
    drop(clients);
}

#[test]
fn a_long_stream_name_works_until_the_delete() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    for form in FORMS {
        for length in [400, 480, 500, 512] {
            let stream = long(length);
            let request = post(&form.endpoint("whip", &stream, bed.ip(1), ""));
            let created = bed.exchange(&request);
            assert_eq!(created.status(), 201, "{length}: {created:?}");
            let patched = bed.exchange(&patch(created.location()));
            assert_eq!(patched.status(), 204, "{length} {form:?}: {patched:?}");
            assert_eq!(bed.exchange(&delete(created.location())).status(), 200);
        }
    }
    assert_eq!(node.count(), FORMS.len() * 4 * 3);
}
