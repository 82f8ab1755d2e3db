//! Pages of other sites: which pages may read answers, and which may open a WebSocket.

use crate::harness::{Reply, Request, TestBed};
use crate::questions::answers::SUBSCRIBE;

#[test]
fn cors_fields_are_the_gateways_own_and_depend_on_the_page() {
    let bed = TestBed::with(|config, _| {
        config.set("answers.subscribe_ttl", "60s");
        config.set("cors.allow_origins", vec!["https://a.example", "https://b.example"]);
    });
    let reply = Reply::node(bed.workspace.node(1).ip())
        .field("Access-Control-Allow-Origin", "https://manager.example")
        .field("Access-Control-Allow-Credentials", "true")
        .field("Set-Cookie", "manager=1");
    bed.manager.answer("", reply);
    for page in ["https://a.example", "https://b.example"] {
        let response = bed.exchange(&Request::get(SUBSCRIBE).with("Origin", page));
        assert_eq!(response.field("access-control-allow-origin"), Some(page));
        assert!(response.field("vary").is_some_and(|vary| vary.to_ascii_lowercase().contains("origin")));
        assert_eq!(response.field("set-cookie"), None);
    }
    for stranger in ["https://c.example", "null"] {
        let response = bed.exchange(&Request::get(SUBSCRIBE).with("Origin", stranger));
        assert_eq!(response.field("access-control-allow-origin"), None);
    }
    assert_eq!(bed.get(SUBSCRIBE).field("access-control-allow-origin"), None);
}

#[test]
fn the_page_that_caused_a_refusal_can_read_it() {
    let bed = TestBed::with(|config, _| config.set("cors.allow_origins", vec!["https://a.example"]));
    let response = bed.exchange(&Request::get("/nowhere").with("Origin", "https://a.example"));
    response.assert_refusal(404, "no_such_route");
    assert_eq!(response.field("access-control-allow-origin"), Some("https://a.example"));
}

#[test]
fn a_preflight_is_answered_by_the_gateway() {
    let bed = TestBed::with(|config, _| config.set("cors.allow_origins", vec!["https://a.example"]));
    let request = Request::new("OPTIONS", SUBSCRIBE)
        .with("Origin", "https://a.example")
        .with("Access-Control-Request-Method", "GET")
        .with("Access-Control-Request-Headers", "content-type");
    let response = bed.exchange(&request);
    assert!(matches!(response.status(), 200 | 204), "{response:?}");
    assert_eq!(response.field("access-control-allow-origin"), Some("https://a.example"));
    assert!(response.field("access-control-allow-methods").is_some_and(|methods| methods.contains("GET")));
    assert_eq!(bed.manager.count(), 0);
    let foreign = request.instead("Origin", "https://evil.example");
    assert_eq!(bed.exchange(&foreign).field("access-control-allow-origin"), None);
}

#[test]
fn only_pages_of_allowed_web_origins_open_a_websocket() {
    let bed = TestBed::with(|config, _| {
        config.set("cors.allow_origins", vec!["https://app.example"]);
        config.set("cors.allow_missing", false);
    });
    let listener = bed.node(1);
    let plain = Request::upgrade(&bed.websocket_target(1));
    for foreign in [
        "https://evil.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil",
        "null",
    ] {
        let response = bed.exchange(&plain.clone().with("Origin", foreign));
        response.assert_refusal(403, "cross_site");
    }
    bed.exchange(&plain).assert_refusal(403, "cross_site");
    assert_eq!(listener.dials(), 0);
    let (mut client, mut node, head) =
        bed.pending_upgrade(&listener, &plain.with("Origin", "https://app.example"));
    node.answer_upgrade(&head, "");
    assert_eq!(client.read_response().status(), 101);
}

#[test]
fn by_default_only_pages_of_the_same_host_open_a_websocket() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let plain = Request::upgrade(&bed.websocket_target(1));
    bed.exchange(&plain.clone().with("Origin", "https://evil.example")).assert_refusal(403, "cross_site");
    assert_eq!(listener.dials(), 0);
    let (mut client, mut node, head) =
        bed.pending_upgrade(&listener, &plain.with("Origin", "https://gateway.test:8443"));
    node.answer_upgrade(&head, "");
    assert_eq!(client.read_response().status(), 101);
}
