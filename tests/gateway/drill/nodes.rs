//! A node that is killed, hangs, refuses, or answers with errors.

use super::{assert_calm, assert_has, line, lines, node_fault, one_step, said, two_step, unwrapped, why};
use crate::harness::records::events;
use crate::harness::whip::{FORMS, Form, empty_post, patch, post};
use crate::harness::{Config, Connection, Reply, TestBed, Workspace, eventually};

fn impatient(config: &mut Config, _: &Workspace) {
    config.set("origins.upgrade_timeout", "500ms");
    config.set("origins.answer_timeout", "500ms");
}

#[test]
fn a_node_that_is_killed_with_its_sessions() {
    const VIEWERS: usize = 20;
    let bed = TestBed::start();
    let listener = bed.node(1);
    let open = || {
        let mut client = bed.client();
        client.send_request(&two_step(&bed, 1));
        let mut node = listener.accept();
        node.accept_upgrade();
        (client.read_response().session_id(), client, node)
    };
    let (mut ids, mut clients, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..VIEWERS {
        let (id, client, node): (String, Connection, Connection) = open();
        ids.push(id);
        clients.push(client);
        nodes.push(node);
    }
    nodes.into_iter().for_each(Connection::reset);
    drop(listener);
    for client in &mut clients {
        client.expect_close(1014);
        client.answer_close(1014);
    }
    for _ in 0..10 {
        bed.exchange(&two_step(&bed, 1)).assert_refusal(502, "origin_refused");
    }
    let node = bed.workspace.node(1).to_string();
    // which node, how many viewers, and what happens to new ones
    line(&bed.gateway, "WARN", &[&format!("node {node} ended 20 sessions: connection reset")]);
    line(&bed.gateway, "WARN", &[&format!("node {node} does not take requests: connection refused")]);
    let refused = line(&bed.gateway, "INFO", &["refused: the node is down", "origin_refused"]);
    assert_has(
        &refused,
        &["origins.port", &format!("node={}", bed.ip(1)), "stream=\"stream1\"", "token=***"],
    );
    // TidegateSessionsLostAtNodes, TidegateNodeFailing
    let lost = [("by", "origin"), ("how", "lost")];
    bed.gateway.wait_for_metric("tidegate_ends_total", &lost, VIEWERS as f64);
    let label = [("node", &*bed.ip(1).to_string())];
    assert_eq!(bed.gateway.metric("tidegate_node_failures_total", &label), 10.0);
    assert_eq!(bed.gateway.metric("tidegate_node_dials_total", &label), VIEWERS as f64 + 10.0);
    let (fault, row) = node_fault(&bed, 1);
    assert!(fault.contains("connection refused") && row["last_fault"]["failing"] == true, "{row}");
    assert!(row["quarantined_seconds"].is_number() && row["sessions"] == 0, "{row}");
    let told = bed.gateway.why_ended(&ids[0]);
    assert_has(
        &why(&bed.gateway, told["id"].as_str().unwrap()),
        &[&node, "it was stopped, it crashed, or its network was lost"],
    );
    let lost = |end: &serde_json::Value| end["how"] == "lost" && end["by"] == "origin";
    let on_it =
        || bed.gateway.rows(&format!("/api/ends?node={}", bed.ip(1))).iter().filter(|end| lost(end)).count();
    eventually("all of them are listed", || on_it() == VIEWERS);
    assert_has(&said(&bed.gateway, &["nodes"]), &[&bed.ip(1).to_string(), "avoided ", "connection refused"]);
    let status = said(&bed.gateway, &["status"]);
    assert_has(&status, &["1 failing", "20 origin lost", "10 origin_refused"]);
    let ended = said(&bed.gateway, &["sessions", "--ended", "--node", &bed.ip(1).to_string()]);
    assert!(ids.iter().all(|id| ended.contains(id.as_str())), "{ended}");
    assert_calm(&bed.gateway);
}

#[test]
fn a_node_of_whip_sessions_that_is_killed() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let endpoint = Form::Proxy.endpoint("whep", "stream1", bed.ip(1), "");
    let made = bed.created(&empty_post(&endpoint));
    drop(node);
    bed.exchange(&patch(made.location())).assert_refusal(502, "origin_refused");
    for form in FORMS {
        let refused = bed.exchange(&post(&form.endpoint("whip", "s2", bed.ip(1), "")));
        refused.assert_refusal(502, "origin_refused");
        let told = bed.gateway.why_ended(&refused.session_id());
        let address = bed.workspace.node(1).to_string();
        assert_has(
            &why(&bed.gateway, told["id"].as_str().unwrap()),
            &["The node refused the connection", &address],
        );
    }
    let name = bed.workspace.node(1).to_string();
    line(&bed.gateway, "WARN", &[&format!("node {name} does not take requests: connection refused")]);
    // which sessions are on it still
    let on_it = bed.gateway.rows(&format!("/api/sessions?node={}", bed.ip(1)));
    assert!(on_it.len() == 1 && on_it[0]["id"] == made.session_id().as_str(), "{on_it:?}");
    let verdict = bed.gateway.why(&made.session_id())["verdict"].to_string();
    assert_has(&verdict, &["only the node knows"]);
    assert_calm(&bed.gateway);
}

#[test]
fn a_node_that_accepts_and_never_answers() {
    let bed = TestBed::with(impatient);
    bed.manager_names(1);
    let listener = bed.node(1);
    let offer = post(&Form::Direct.endpoint("whip", "s2", bed.ip(1), ""));
    let address = bed.workspace.node(1).to_string();
    for request in [two_step(&bed, 1), one_step(), offer] {
        let refused = bed.exchange(&request);
        refused.assert_refusal(504, "origin_timeout");
        let told = bed.gateway.why_ended(&refused.session_id());
        assert_has(
            &why(&bed.gateway, told["id"].as_str().unwrap()),
            &["did not answer in time", &address, "origins.upgrade_timeout"],
        );
        assert_has(&events(&told), &[&format!("node {address} did not answer in time")]);
    }
    line(
        &bed.gateway,
        "WARN",
        &[&format!("node {address} does not take requests: connected, but no answer in time")],
    );
    let refused = line(&bed.gateway, "INFO", &["refused: the node took longer than origins.connect_timeout"]);
    assert_has(&refused, &["code=\"origin_timeout\"", &format!("node={}", bed.ip(1))]);
    let failures = [("node", &*bed.ip(1).to_string()), ("outcome", "upgrade_timeout")];
    assert_eq!(bed.gateway.metric("tidegate_node_failures_total", &failures), 3.0);
    assert!(node_fault(&bed, 1).0.contains("no answer in time"));
    assert_has(
        &unwrapped(&said(&bed.gateway, &["status"])),
        &["connected, but no answer in time", "3 origin_timeout"],
    );
    drop(listener);
    assert_calm(&bed.gateway);
}

#[test]
fn a_node_that_answers_with_errors() {
    let bed = TestBed::start();
    bed.manager_names(1);
    let node = bed.http_node(1);
    let address = bed.workspace.node(1).to_string();
    node.answer("", Reply::json(403, "{}"));
    let refused = bed.exchange(&two_step(&bed, 1));
    refused.assert_refusal(502, "origin_bad_handshake");
    let words = ["the node answered with status 403", "the client's credentials"];
    assert_has(&line(&bed.gateway, "INFO", &["refused: the node answered"]), &words);
    assert_has(&why(&bed.gateway, &refused.session_id()), &words);
    // credentials of one client are no fault of the node
    assert_eq!(lines(&bed.gateway, &["does not take requests"]), [""; 0]);
    node.answer("", Reply::json(500, "{}"));
    for _ in 0..5 {
        let refused = bed.exchange(&two_step(&bed, 1));
        refused.assert_refusal(502, "origin_bad_handshake");
        let told = bed.gateway.why_ended(&refused.session_id());
        assert_has(
            &why(&bed.gateway, told["id"].as_str().unwrap()),
            &["status 500: it has a fault of its own", &address],
        );
    }
    line(
        &bed.gateway,
        "WARN",
        &[&format!("node {address} does not take requests: it answers with a server error")],
    );
    assert!(node_fault(&bed, 1).0.contains("server error"));
    let failures = [("node", &*bed.ip(1).to_string()), ("outcome", "bad_handshake")];
    assert_eq!(bed.gateway.metric("tidegate_node_failures_total", &failures), 6.0);
    assert_calm(&bed.gateway);
}

#[test]
fn a_node_that_answers_whip_with_errors_and_recovers() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    node.answer("POST ", Reply::json(503, "{}"));
    let offer = post(&Form::Direct.endpoint("whip", "s2", bed.ip(1), ""));
    for _ in 0..5 {
        let failed = bed.exchange(&offer);
        assert_eq!(failed.status(), 503, "the client gets the answer of the node");
        let told = bed.gateway.why_ended(&failed.session_id());
        let address = bed.workspace.node(1).to_string();
        assert_has(
            &why(&bed.gateway, told["id"].as_str().unwrap()),
            &[&format!("Answered with 503 by the node {address}")],
        );
    }
    let name = format!("node {}", bed.workspace.node(1));
    line(&bed.gateway, "WARN", &[&name, "does not take requests: it answers with a server error"]);
    node.answer("POST ", Reply::created("/live/whip/resource/s2", "v=0\r\n"));
    bed.created(&offer);
    eventually("its return is told", || !lines(&bed.gateway, &[&name, "takes requests again"]).is_empty());
    assert_has(&said(&bed.gateway, &["status"]), &["phase       serving"]);
    assert_calm(&bed.gateway);
}
