//! WHIP and WHEP when a node, the manager or the gateway itself fails.

use crate::harness::node::FullBacklog;
use crate::harness::whip::{ANSWER, FORMS, Form, delete, empty_post, patch, post};
use crate::harness::{Config, Gate, HttpPeer, NodeListener, Reply, Request, TestBed, eventually};
use std::time::{Duration, Instant};

const WHIP: &str = "/as/v1/proxy/whip/live/stream1?nodeGroup=ng1";
const WHEP: &str = "/as/v1/proxy/whep/live/stream1?nodeGroup=ng1&requestId=r";

/// The manager names these nodes, one in each answer.
fn name_nodes(bed: &TestBed, nodes: &[u8]) {
    bed.manager.answer_in_turn("/as/", nodes.iter().map(|n| Reply::nodes(&[bed.ip(*n)])));
}

#[test]
fn a_dead_node_is_invisible_to_the_client() {
    for request in
        [post(WHIP), empty_post(WHEP), Request::new("OPTIONS", WHIP), Request::new("OPTIONS", WHEP)]
    {
        let bed = TestBed::start();
        let node = bed.whip_node(2);
        name_nodes(&bed, &[1, 2]);
        let response = bed.exchange(&request);
        assert!(matches!(response.status(), 201 | 204), "{response:?}");
        assert_eq!((node.count(), bed.manager.count()), (1, 2));
        assert_eq!(response.field("session-host"), Some(bed.ip(2).to_string().as_str()));
        if let Some(location) = response.field("location") {
            assert_eq!(bed.exchange(&patch(location)).status(), 204);
        }
    }
}

#[test]
fn a_node_that_cannot_be_reached_in_time_is_invisible_too() {
    let bed = TestBed::with(|config, _| config.set("origins.connect_timeout", "300ms"));
    let _unresponsive = FullBacklog::listen(bed.workspace.node(1));
    let _node = bed.whip_node(2);
    name_nodes(&bed, &[1, 2]);
    bed.created(&post(WHIP));
}

#[test]
fn a_request_is_never_repeated_once_a_node_has_read_it() {
    for request in [post(WHIP), empty_post(WHEP)] {
        let bed = TestBed::start();
        let [bad, good] = [1, 2].map(|n| bed.whip_node(n));
        name_nodes(&bed, &[1, 2]);
        bad.answer("POST ", Reply::hang_up());
        let response = bed.exchange(&request);
        assert_eq!(response.status(), 502, "{response:?}");
        assert_eq!((bad.count(), good.dials()), (1, 0));
        assert_eq!(bed.manager.count(), 1);
    }
}

#[test]
fn an_error_of_a_node_is_final() {
    for status in [404, 409, 500, 503] {
        let bed = TestBed::start();
        let [bad, good] = [1, 2].map(|n| bed.whip_node(n));
        name_nodes(&bed, &[1, 2]);
        bad.answer("POST ", Reply::typed(status, "text/plain", "no"));
        assert_eq!(bed.exchange(&post(WHIP)).status(), status);
        assert_eq!((bad.count(), good.dials()), (1, 0));
    }
}

#[test]
fn no_more_nodes_are_tried_than_configured() {
    let bed = TestBed::with(|config, _| config.set("origins.attempts", 2));
    let node = bed.whip_node(3);
    name_nodes(&bed, &[1, 2, 3]);
    bed.exchange(&post(WHIP)).assert_refusal(502, "origin_refused");
    assert_eq!((bed.manager.count(), node.dials()), (2, 0));
}

#[test]
fn a_node_that_the_client_named_is_not_replaced() {
    let bed = TestBed::start();
    let node = bed.whip_node(2);
    for target in [format!("{WHIP}&host={}", bed.ip(1)), Form::Manager.endpoint("whip", "s", bed.ip(1), "")] {
        bed.exchange(&post(&target)).assert_refusal(502, "origin_refused");
    }
    assert_eq!((bed.manager.dials(), node.dials()), (0, 0));
}

#[test]
fn the_loss_of_a_node_is_reported_to_its_clients() {
    for form in FORMS {
        let bed = TestBed::start();
        let node = bed.whip_node(1);
        let other = bed.whip_node(2);
        bed.manager_names(1);
        let created = bed.created(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
        drop(node);
        for request in [patch(created.location()), delete(created.location())] {
            let response = bed.exchange(&request);
            response.assert_refusal(502, "origin_refused");
            response.assert_names_no_node(bed.ip(1));
        }
        assert_eq!(other.dials(), 0, "no other node has the session");
        // the node comes back, and so does the session
        let node = bed.whip_node(1);
        assert_eq!(bed.exchange(&delete(created.location())).status(), 200);
        assert_eq!(node.count(), 1);
    }
}

#[test]
fn a_silent_node_is_a_504() {
    let bed = TestBed::with(|config, _| {
        config.set("origins.upgrade_timeout", "300ms");
        config.set("origins.answer_timeout", "300ms");
    });
    let node = bed.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    for form in FORMS {
        let response = bed.exchange(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
        response.assert_refusal(504, "origin_timeout");
    }
    gate.open();
}

#[test]
fn a_failed_node_is_forgotten_and_avoided_by_all_clients() {
    let bed = TestBed::with(|config, _| {
        for key in ["answers.subscribe_ttl", "answers.broadcast_ttl", "origins.quarantine"] {
            config.set(key, "60s");
        }
    });
    let node = bed.whip_node(2);
    let event = "/streammanager/api/4.0/event/live/stream1?action=subscribe";
    bed.manager.answer("", Reply::node(bed.ip(1)));
    assert_eq!(bed.get(event).json()["serverAddress"], bed.ip(1).to_string());
    bed.manager.answer("", Reply::node(bed.ip(2)));
    bed.manager.answer_in_turn("/as/", [1, 2].map(|n| Reply::nodes(&[bed.ip(n)])));
    bed.created(&post(WHIP));
    assert_eq!(bed.get(event).json()["serverAddress"], bed.ip(2).to_string());
    let back = bed.http_node(1);
    name_nodes(&bed, &[1, 2]);
    bed.created(&empty_post(WHEP));
    assert_eq!((back.dials(), node.count()), (0, 2));
}

#[test]
fn an_error_of_the_manager_is_passed_to_the_client() {
    let bed = TestBed::with(|config, _| config.set("cors.allow_origins", vec!["https://app.example"]));
    let node = bed.whip_node(1);
    for (status, body) in
        [(409, r#"{"error":"stream is live"}"#), (404, r#"{"errorMessage":"no"}"#), (500, "{}")]
    {
        bed.manager.answer("", Reply::json(status, body));
        for form in [Form::Proxy, Form::Direct] {
            for kind in ["whip", "whep"] {
                let endpoint = form.endpoint(kind, &format!("s{status}"), bed.ip(1), "");
                let response = bed.exchange(&post(&endpoint).by_page("https://app.example"));
                assert_eq!((response.status(), response.text().as_str()), (status, body), "{form:?} {kind}");
                assert_eq!(response.field("access-control-allow-origin"), Some("https://app.example"));
            }
        }
    }
    assert_eq!(node.dials(), 0);
}

/// What SDK 15 does: a refused OPTIONS is a failed connection to it, a refused POST has a reason.
#[test]
fn an_options_without_a_node_is_answered_and_the_post_tells_the_truth() {
    let bed = TestBed::with(|config, _| config.set("cors.allow_origins", vec!["https://app.example"]));
    let node = bed.whip_node(1);
    let body = r#"{"errorMessage":"no"}"#;
    for form in [Form::Proxy, Form::Direct] {
        for kind in ["whip", "whep"] {
            for status in [404, 409] {
                bed.manager.answer("", Reply::json(status, body));
                let endpoint = form.endpoint(kind, &format!("s{status}"), bed.ip(1), "");
                let options = Request::new("OPTIONS", &endpoint).by_page("https://app.example");
                let response = bed.exchange(&options);
                assert_eq!((response.status(), response.text().as_str()), (204, ""), "{form:?} {kind}");
                assert_eq!(response.field("access-control-allow-origin"), Some("https://app.example"));
                assert_eq!(response.field("session-host"), None);
                let refused = bed.exchange(&post(&endpoint).by_page("https://app.example"));
                assert_eq!((refused.status(), refused.text().as_str()), (status, body), "{form:?} {kind}");
            }
            for status in [400, 401, 403, 500, 503] {
                bed.manager.answer("", Reply::json(status, body));
                let endpoint = form.endpoint(kind, &format!("s{status}"), bed.ip(1), "");
                let response = bed.exchange(&Request::new("OPTIONS", &endpoint));
                assert_eq!(response.status(), status, "{form:?} {kind}");
            }
        }
    }
    assert_eq!(node.dials(), 0);
}

#[test]
fn a_failing_manager_is_answered_with_502_or_504() {
    let mut bed = TestBed::with(|config, _| config.set("stream_manager.timeout", "300ms"));
    let node = bed.whip_node(1);
    let gate = Gate::default();
    bed.manager.answer("", Reply::nodes(&[bed.ip(1)]).held(&gate));
    bed.exchange(&post(WHIP)).assert_refusal(504, "manager_timeout");
    gate.open();
    bed.manager.answer("", Reply::json(200, "[]"));
    bed.exchange(&post(WHIP)).assert_refusal(502, "manager_failed");
    bed.manager = HttpPeer::start((bed.workspace.ip(3), 5080).into());
    bed.exchange(&post(WHIP)).assert_refusal(502, "manager_failed");
    assert_eq!(node.dials(), 0);
}

#[test]
fn each_publisher_gets_its_own_answer_and_players_share_one() {
    let bed = TestBed::with(|config, _| config.set("answers.subscribe_ttl", "60s"));
    let _node = bed.whip_node(1);
    for n in 1..=3 {
        bed.created(&post(WHIP));
        assert_eq!(bed.manager.count(), n);
    }
    for n in 0..3 {
        bed.created(&empty_post(&WHEP.replace("=r", &format!("=r{n}"))));
        assert_eq!(bed.manager.count(), 4);
    }
}

#[test]
fn a_node_outside_the_admitted_networks_is_not_dialled() {
    let bed = TestBed::start();
    let _node = bed.whip_node(1);
    let stranger = NodeListener::listen(bed.workspace.node(10));
    bed.manager.answer("", Reply::nodes(&[stranger.ip()]));
    for request in [post(WHIP), empty_post(WHEP), post("/live/whip/endpoint/s")] {
        let response = bed.exchange(&request);
        assert!(matches!(response.status(), 403 | 502), "{response:?}");
        response.assert_names_no_node(stranger.ip());
    }
    assert_eq!(stranger.dials(), 0);
}

#[test]
fn a_drain_lets_an_exchange_finish_and_takes_no_new_session() {
    let mut bed = TestBed::start();
    let node = bed.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
    let mut idle = bed.client();
    idle.get("/nowhere");
    let mut client = bed.client();
    client.send_request(&post(WHIP));
    node.wait_for_requests(1);
    bed.gateway.terminate();
    eventually("the drain begins", || bed.gateway.ready() != Some(200));
    gate.open();
    let created = client.read_response();
    assert_eq!((created.status(), created.text().as_str()), (201, ANSWER), "{created:?}");
    // an earlier connection either ends or is refused
    if idle.try_send(&post(WHIP).bytes()).is_ok()
        && let Some(head) = idle.next_head()
    {
        assert!(head.line.starts_with("HTTP/1.1 503"), "{head:?}");
    }
    drop((client, idle));
    assert!(bed.gateway.wait_for_exit().success());
    assert_eq!(node.count(), 1);
}

/// What a node may say before it has read a request.
const EARLY_REFUSALS: [&str; 4] = [
    "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig",
    "HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\nbig",
    "HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbig\r\n0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig",
];

fn lasting_answers(config: &mut Config) {
    for key in ["answers.subscribe_ttl", "origins.quarantine"] {
        config.set(key, "60s");
    }
    config.set("answers.subscribe_uses", 100_000);
}

#[test]
fn an_early_refusal_reaches_the_client_although_the_node_resets_the_connection() {
    let bed = TestBed::with(|config, _| lasting_answers(config));
    let event = "/streammanager/api/4.0/event/live/stream1?action=subscribe";
    bed.manager.answer("", Reply::node(bed.ip(1)));
    assert_eq!(bed.get(event).status(), 200);
    let listener = bed.node(1);
    let endpoint = Form::Manager.endpoint("whip", "s", bed.ip(1), "");
    for size in [100, 20 << 10, 250 << 10] {
        for refusal in EARLY_REFUSALS {
            for reads in [false, true] {
                let request = Request::new("POST", &endpoint).body("application/sdp", vec![b'x'; size]);
                let mut client = bed.client();
                client.send_request(&request);
                let mut node = listener.accept();
                if reads {
                    node.read_head();
                } else {
                    // the kernel of the node has some of it, and the node has read nothing
                    assert!(node.receives_within(Duration::from_secs(5)));
                }
                node.send(refusal.as_bytes());
                // with unread bytes, or by force
                node.reset();
                let response = client.read_response();
                let got = (response.status(), response.text());
                assert_eq!(got, (413, "big".to_owned()), "{size} {reads} {refusal}");
            }
        }
    }
    assert_eq!(bed.get(event).status(), 200);
    assert_eq!(bed.manager.count(), 1, "the answer that names the node is still stored");
}

#[test]
fn an_early_refusal_of_a_node_that_reads_no_further_reaches_the_client_at_once() {
    // more than the kernel's buffers on the way take
    const SIZE: usize = 16 << 20;
    let bed = TestBed::with(|config, _| config.set("limits.body_max", "32MiB"));
    let listener = bed.node(1);
    let endpoint = Form::Manager.endpoint("whip", "s", bed.ip(1), "");
    let mut client = bed.client();
    client.send_request(&Request::new("POST", &endpoint).body("application/sdp", vec![b'x'; SIZE]));
    let mut node = listener.accept();
    assert!(node.receives_within(Duration::from_secs(5)));
    let started = Instant::now();
    node.send(EARLY_REFUSALS[0].as_bytes());
    assert_eq!(client.read_response().status(), 413);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn the_node_ends_its_connection_first_after_its_answer() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let mut client = bed.client();
    client.send_request(&Request::new("OPTIONS", &Form::Manager.endpoint("whip", "s", bed.ip(1), "")));
    let mut node = listener.accept();
    node.read_head();
    node.send(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
    let answered = Instant::now();
    assert_eq!(client.read_response().status(), 204, "the client does not wait for the node");
    // a node that does not end its connection is not waited for long
    node.expect_end();
    let waited = answered.elapsed();
    assert!(waited >= Duration::from_millis(500), "the gateway ended the node's connection after {waited:?}");
}

#[test]
fn a_node_that_is_slow_with_the_offers_of_one_client_is_not_put_away() {
    let bed = TestBed::with(|config, _| {
        lasting_answers(config);
        config.set("origins.answer_timeout", "300ms");
    });
    let event = "/streammanager/api/4.0/event/live/stream1?action=subscribe";
    bed.manager.answer("", Reply::node(bed.ip(1)));
    assert_eq!(bed.get(event).status(), 200);
    let _slow = bed.node(1);
    let endpoint = Form::Manager.endpoint("whip", "s", bed.ip(1), "");
    for _ in 0..4 {
        bed.exchange(&post(&endpoint)).assert_refusal(504, "origin_timeout");
    }
    assert_eq!(bed.get(event).status(), 200);
    assert_eq!(bed.manager.count(), 1, "the answer that names the node is still stored");
}

#[test]
fn a_node_may_take_longer_for_its_answer_than_a_client_for_its_body() {
    let bed = TestBed::with(|config, _| config.set("limits.body_timeout", "300ms"));
    let node = bed.whip_node(1);
    for form in FORMS {
        let gate = Gate::default();
        node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).held(&gate));
        let mut client = bed.client();
        client.send_request(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
        assert!(!client.receives_within(Duration::from_secs(1)), "the gateway waits for the node");
        gate.open();
        let created = client.read_response();
        assert_eq!((created.status(), created.text().as_str()), (201, ANSWER), "{created:?}");
    }
}
