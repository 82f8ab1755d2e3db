//! Why requests were refused, where their answers came from, and which nodes were tried.

use crate::harness::records::assert_told;
use crate::harness::{Gate, Reply, Request, TestBed, eventually};
use serde_json::json;

const EVENT: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";
const ONE_STEP: &str = "/as/v1/proxy/ws/subscribe/live/stream1?nodeGroup=ng1";

#[test]
fn a_dead_node_and_the_one_after_it_are_two_tries() {
    let bed = TestBed::start();
    let listener = bed.node(2);
    bed.manager.answer_in_turn("/as/", [1, 2].map(|n| Reply::nodes(&[bed.ip(n)])));
    let mut client = bed.client();
    client.send_request(&Request::upgrade(ONE_STEP));
    let mut node = listener.accept();
    node.accept_upgrade();
    let id = client.read_response().session_id();
    let [dead, good] = [1, 2].map(|n| bed.workspace.node(n).to_string());
    assert_told(
        &bed.gateway.why(&id),
        &[
            ("route", json!("one_step")),
            ("role", json!("subscriber")),
            ("stream", json!("stream1")),
            ("tries", json!(2)),
            ("node", json!(good)),
            ("cache", json!("miss")),
        ],
        "Open",
        &[
            "asked the stream manager: 200, 1 node",
            &format!("node {dead} refused the connection"),
            &format!("node {good} took the request"),
        ],
    );
}

#[test]
fn a_refusal_is_told_with_its_code_and_what_was_tried() {
    let bed = TestBed::start();
    let refused = bed.exchange(&Request::upgrade("/streammanager/?id=s&host=10.255.0.1&app=live"));
    refused.assert_refusal(403, "origin_not_admitted");
    let told = bed.gateway.why_ended(&refused.session_id());
    let fields =
        [("code", json!("origin_not_admitted")), ("route", json!("two_step")), ("stream", json!("s"))];
    assert_told(&told, &fields, "Refused with 403 (origin_not_admitted)", &["the client got 403"]);
    let refused = bed.exchange(&Request::upgrade(&bed.websocket_target(1)));
    refused.assert_refusal(502, "origin_refused");
    let node = bed.workspace.node(1).to_string();
    let told = bed.gateway.why_ended(&refused.session_id());
    let verdict = format!("The node {node} was tried.");
    assert_told(&told, &[("tries", json!(1)), ("node", json!(node))], &verdict, &["refused the connection"]);
    let ends = bed.gateway.rows("/api/ends?stream=stream1");
    assert_eq!((ends.len(), &ends[0]["code"]), (1, &json!("origin_refused")), "{ends:?}");
}

#[test]
fn a_manager_that_is_down_is_the_reason() {
    let TestBed { workspace, manager, gateway } = TestBed::start();
    drop(manager);
    let client = crate::harness::ClientBuilder::to(workspace.gateway());
    for request in [Request::get(EVENT), Request::upgrade(ONE_STEP)] {
        let mut client = client.connect_tls();
        client.send_request(&request);
        let refused = client.read_response();
        refused.assert_refusal(502, "manager_failed");
        let id = refused.session_id();
        drop(client);
        let fields =
            [("code", json!("manager_failed")), ("app", json!("live")), ("role", json!("subscriber"))];
        assert_told(&gateway.why_ended(&id), &fields, "(manager_failed)", &["no answer"]);
    }
}

#[test]
fn an_answer_from_memory_and_a_shared_question_are_told_apart() {
    let bed = TestBed::with(|config, _| config.set("answers.subscribe_ttl", "60s"));
    let gate = Gate::default();
    bed.manager.answer("", Reply::node(bed.ip(1)).held(&gate));
    let mut clients = [bed.client(), bed.client()];
    for client in &mut clients {
        client.send_request(&Request::get(EVENT));
    }
    eventually("both wait", || bed.gateway.ids("/api/sessions?route=http").len() == 2);
    gate.open();
    let ids = clients.each_mut().map(|client| client.read_response().session_id());
    let mut from: Vec<_> = ids.iter().map(|id| bed.gateway.why(id)["session"]["cache"].clone()).collect();
    from.sort_by_key(ToString::to_string);
    assert_eq!(from, [json!("collapsed"), json!("miss")]);
    let [mut client, _] = clients;
    let again = client.get(EVENT).session_id();
    assert_eq!(again, ids[0], "the id of its connection");
    let told = bed.gateway.why(&again);
    let words = ["answer of the stream manager from memory: 200, 1 node"];
    assert_told(
        &told,
        &[("cache", json!("hit")), ("status", json!(200))],
        "open for further requests",
        &words,
    );
}

#[test]
fn a_websocket_after_other_requests_is_what_its_connection_is_about() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let mut client = bed.client();
    assert_eq!(client.get("/nowhere").status(), 404);
    let _node = bed.open_websocket(&mut client, &listener);
    let ids = bed.gateway.ids("/api/sessions");
    let fields = [("route", json!("two_step")), ("status", json!(101)), ("code", json!(null))];
    assert_told(&bed.gateway.why(&ids[0]), &fields, "Open", &["the client got 404 no_such_route"]);
}

#[test]
fn a_client_that_left_before_its_answer_is_told() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (client, _node, _head) = bed.pending_upgrade(&listener, &Request::upgrade(&bed.websocket_target(1)));
    let opening = bed.gateway.rows("/api/sessions");
    assert_eq!(opening[0]["state"], "opening", "{opening:?}");
    let id = opening[0]["id"].as_str().unwrap();
    assert_told(&bed.gateway.why(id), &[("status", json!(null))], "being opened", &[]);
    client.reset();
    let told = bed.gateway.why_ended(id);
    let node = bed.workspace.node(1);
    let verdict = format!("while the gateway waited for the node {node}");
    assert_told(&told, &[("by", json!("client")), ("how", json!("left"))], &verdict, &["was given up"]);
}

#[test]
fn an_unknown_id_is_a_404_with_a_reason() {
    let bed = TestBed::start();
    for unknown in ["0000000000000000", "x", "%2e%2e", "00000000000000000"] {
        let answer = bed.gateway.admin_get(&format!("/api/sessions/{unknown}"));
        assert_eq!(answer.status(), 404, "{unknown}");
        assert!(answer.json()["error"].as_str().unwrap().contains("no such session"), "{answer:?}");
    }
}
