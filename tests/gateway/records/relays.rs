//! Why each WebSocket session ended.

use crate::harness::records::{assert_told, events};
use crate::harness::{Config, Connection, Frame, Gate, NodeListener, Reply, Request, TestBed, eventually};
use serde_json::{Value, json};

/// An open two-step session: its id, the client's end and the node's end.
#[track_caller]
fn open(bed: &TestBed, listener: &NodeListener) -> (String, Connection, Connection) {
    let mut client = bed.client();
    client.send_request(&Request::upgrade(&bed.websocket_target(1)));
    let mut node = listener.accept();
    node.accept_upgrade();
    (client.read_response().session_id(), client, node)
}

/// Opens a session, ends it as `end` says, and returns what is told of it.
#[track_caller]
fn told(
    configure: impl FnOnce(&mut Config),
    end: impl FnOnce(&TestBed, &str, Connection, Connection),
) -> Value {
    let bed = TestBed::with(|config, _| configure(config));
    let listener = bed.node(1);
    let (id, client, node) = open(&bed, &listener);
    end(&bed, &id, client, node);
    let told = bed.gateway.why_ended(&id);
    assert_told(
        &told,
        &[
            ("route", json!("two_step")),
            ("role", json!("publisher")),
            ("app", json!("live")),
            ("stream", json!("stream1")),
            ("node", json!(bed.workspace.node(1).to_string())),
            ("tries", json!(1)),
            ("status", json!(101)),
        ],
        "",
        &["TLS 1.3, full handshake", "took the request", "the client got 101"],
    );
    assert_eq!((&told["id"], &told["now"], &told["missing_events"]), (&json!(id), &Value::Null, &json!(0)));
    told
}

#[test]
fn a_close_of_either_side_is_told_with_its_code() {
    let by_node = told(
        |_| {},
        |_, _, mut client, mut node| {
            node.send_frame(Frame::close(1000, "bye"));
            client.expect_close(1000);
            client.answer_close(1000);
        },
    );
    let fields = [
        ("by", json!("origin")),
        ("how", json!("close")),
        ("node_close", json!(1000)),
        ("client_close", json!(1000)),
    ];
    assert_told(&by_node, &fields, "ended it with Close 1000 (normal)", &["the node sent Close 1000"]);
    let by_client = told(
        |_| {},
        |_, _, mut client, mut node| {
            client.send_frame(Frame::close(4242, "secret-reason"));
            node.expect_close(4242);
            node.send_frame(Frame::close(4242, ""));
            client.expect_close(4242);
        },
    );
    let fields = [
        ("by", json!("client")),
        ("how", json!("close")),
        ("client_close", json!(4242)),
        ("gateway_close", Value::Null),
    ];
    assert_told(&by_client, &fields, "The client ended it with Close 4242", &["the client sent Close 4242"]);
    assert!(!by_client.to_string().contains("secret-reason"), "{by_client:#}");
}

#[test]
fn the_loss_of_either_side_is_told() {
    let node_lost = told(
        |_| {},
        |_, id, mut client, node| {
            node.reset();
            assert_eq!(client.expect_close(1014), format!("origin lost {id}"));
            client.answer_close(1014);
        },
    );
    let fields = [("by", json!("origin")), ("how", json!("lost")), ("gateway_close", json!(1014))];
    assert_told(
        &node_lost,
        &fields,
        "ended its connection without a Close",
        &["the gateway sent Close 1014"],
    );
    let client_lost = told(
        |_| {},
        |_, _, client, mut node| {
            client.reset();
            node.expect_close(1001);
        },
    );
    let fields = [("by", json!("client")), ("how", json!("lost")), ("client_close", Value::Null)];
    assert_told(
        &client_lost,
        &fields,
        "client's connection ended without a Close",
        &["Close 1001 (going away) to the node"],
    );
    let truncated = told(
        |_| {},
        |_, _, mut client, mut node| {
            let frame = Frame::text("one half and the other").bare();
            node.send(&frame[..10]);
            client.read_bytes(10);
            node.reset();
            client.expect_end();
        },
    );
    assert_told(&truncated, &[("how", json!("torn"))], "in the middle of a message", &[]);
}

#[test]
fn what_the_gateway_ends_is_told_with_the_rule() {
    let silent = told(
        |config| {
            config.set("websocket.ping_interval", "100ms");
            config.set("websocket.pong_timeout", "200ms");
        },
        |_, _, mut client, _node| drop(client.expect_close(1001)),
    );
    assert_told(&silent, &[("how", json!("silent"))], "answered no Ping", &["1 pings of the gateway"]);
    let idle = told(
        |config| config.set("websocket.idle", "200ms"),
        |_, _, mut client, _node| drop(client.expect_close(1001)),
    );
    assert_told(&idle, &[("how", json!("idle"))], "websocket.idle", &[]);
    let old = told(
        |config| config.set("websocket.lifetime", "200ms"),
        |_, _, mut client, _node| drop(client.expect_close(1001)),
    );
    assert_told(&old, &[("how", json!("lifetime"))], "websocket.lifetime", &[]);
    let large = told(
        |config| config.set("websocket.message_max", "1KiB"),
        |_, _, mut client, mut node| {
            client.send_frame(Frame::text(&"x".repeat(2000)));
            client.expect_close(1009);
            node.expect_close(1001);
            client.answer_close(1009);
        },
    );
    let fields = [("by", json!("client")), ("how", json!("too_big")), ("gateway_close", json!(1009))];
    assert_told(&large, &fields, "message of the client was longer than websocket.message_max", &[]);
    let illegal = told(
        |_| {},
        |_, _, mut client, mut node| {
            node.send(&Frame { rsv: 4, ..Frame::text("x") }.bare());
            client.expect_close(1002);
            client.answer_close(1002);
        },
    );
    let fields = [("by", json!("origin")), ("how", json!("violation")), ("gateway_close", json!(1002))];
    assert_told(&illegal, &fields, "node sent a frame that WebSocket forbids", &[]);
}

#[test]
fn a_kick_and_a_drain_are_told() {
    let kicked = told(
        |_| {},
        |bed, id, mut client, mut node| {
            let request = bed.gateway.admin_request("DELETE", &format!("/api/sessions/{id}"));
            assert_eq!(bed.gateway.send_admin(&request).status(), 200);
            client.expect_close(1001);
            client.answer_close(1001);
            node.expect_close(1001);
        },
    );
    assert_told(&kicked, &[("by", json!("gateway")), ("how", json!("kicked"))], "operator ended it", &[]);
    let bed = TestBed::with(|config, _| {
        config.set("gateway.drain", "10s");
        // a worker without sessions ends in a drain, and its records with it
        config.set("gateway.workers", 1);
    });
    let listener = bed.node(1);
    let (id, mut client, mut node) = open(&bed, &listener);
    // a question under way keeps the process
    let gate = Gate::default();
    bed.manager.answer("", Reply::node(bed.ip(1)).held(&gate));
    let mut asking = bed.client();
    asking.send_request(&Request::get("/streammanager/api/4.0/event/live/s?action=subscribe"));
    bed.manager.wait_for_requests(1);
    let late = Request::upgrade(&bed.websocket_target(1));
    let (mut late, mut late_node, late_head) = bed.pending_upgrade(&listener, &late);
    assert_eq!(bed.gateway.send_admin(&bed.gateway.admin_request("POST", "/api/drain")).status(), 202);
    // the workers were told once this is logged, and have seen it once they answer
    eventually("the workers drain", || bed.gateway.stderr().contains("draining for at most"));
    bed.gateway.rows("/api/sessions");
    late_node.answer_upgrade(&late_head, "");
    let refused = late.read_response();
    refused.assert_refusal(503, "draining");
    let told = bed.gateway.why_ended(&refused.session_id());
    assert_told(
        &told,
        &[("code", json!("draining")), ("status", json!(503))],
        "Refused with 503 (draining)",
        &[],
    );
    assert_eq!(client.expect_close(1001), format!("draining {id}"));
    node.expect_close(1001);
    node.send_frame(Frame::close(1001, ""));
    client.answer_close(1001);
    let drained = bed.gateway.why_ended(&id);
    assert_told(&drained, &[("how", json!("drain"))], "stopped, drained or upgraded", &[]);
    gate.open();
    assert_eq!(asking.read_response().status(), 200);
}

#[test]
fn the_signalling_of_a_session_is_told_by_kind_and_size_and_without_payload() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let mut client = bed.client();
    let target = format!("/streammanager/?id=subscriber-77&host={}&app=live&context=room1", bed.ip(1));
    client.send_request(&Request::upgrade(&target));
    let mut node = listener.accept();
    node.accept_upgrade();
    let id = client.read_response().session_id();
    node.send_frame(Frame::text(r#"{"data":{"type":"status","code":"NetConnection.Connect.Success"}}"#));
    client.read_frame();
    client.send_frame(Frame::text(r#"{"requestOffer":"stream9","transport":"udp"}"#));
    node.read_frame();
    node.send_frame(Frame::text(r#"{"data":{"sdp":{"type":"offer","sdp":"v=0 a=ice-pwd:hunter2"}}}"#));
    client.read_frame();
    client.send_frame(Frame::text(r#"{"handleAnswer":"x","data":{"sdp":{"sdp":"v=0 a=ice-pwd:hunter3"}}}"#));
    node.read_frame();
    let told = bed.gateway.why(&id);
    assert_told(
        &told,
        &[("role", json!("subscriber")), ("stream", json!("stream9")), ("app", json!("live/room1"))],
        "Open; the last data came",
        &[
            "first frame of the node, 65 bytes",
            "node to client: connection accepted, 65 bytes",
            "client to node: request for an offer",
            "the client asks for the stream stream9",
            "node to client: description (SDP)",
            "client to node: answer (SDP)",
        ],
    );
    assert_eq!((&told["now"]["stream"], &told["now"]["state"]), (&json!("stream9"), &json!("open")));
    assert!(!told.to_string().contains("hunter") && !events(&told).contains("ice-pwd"), "{told:#}");
    assert_eq!(bed.gateway.ids("/api/sessions?stream=stream9&role=subscriber"), [id]);
}
