//! A stream manager that is dead, slow, or talks nonsense.

use super::{SECRET, assert_calm, assert_has, line, lines, manager, one_step, said, why};
use crate::harness::whip::{Form, post};
use crate::harness::{Gate, HttpPeer, Reply, Request, TestBed, eventually};

/// Six questions of players, one WebSocket and one publisher, of which each gets this refusal.
#[track_caller]
fn all_refused(bed: &TestBed, status: u16, code: &str) {
    let question =
        |n| Request::get(&format!("/streammanager/api/4.0/event/live/s{n}?action=subscribe&token={SECRET}"));
    let offer = post(&Form::Proxy.endpoint("whip", "s2", bed.ip(1), ""));
    for request in (0..6).map(question).chain([one_step(), offer]) {
        let refused = bed.exchange(&request);
        refused.assert_refusal(status, code);
        let told = bed.gateway.why_ended(&refused.session_id());
        assert_has(&why(&bed.gateway, told["id"].as_str().unwrap()), &[code, "stream_manager."]);
    }
}

#[test]
fn a_stream_manager_that_is_dead() {
    let mut bed = TestBed::start();
    let address = bed.workspace.manager();
    bed.manager = HttpPeer::start((bed.workspace.ip(3), 5080).into());
    all_refused(&bed, 502, "manager_failed");
    line(
        &bed.gateway,
        "WARN",
        &[&format!("stream manager http://{address} is gone: it refuses connections")],
    );
    assert_has(
        &line(&bed.gateway, "INFO", &["refused: no stream manager of stream_manager.urls answers well"]),
        &["stream_manager.url", "`tidegate status`", "code=\"manager_failed\""],
    );
    // TidegateManagerDown, TidegateNoManager, TidegateAnswersFail
    assert_eq!(bed.gateway.metric("tidegate_manager_up", &[]), 0.0);
    assert_eq!(bed.gateway.metric("tidegate_answers_total", &[("outcome", "failed")]), 8.0);
    let status = manager(&bed.gateway);
    assert!(status["up"] == false && status["last_fault"]["cause"] == "refused", "{status}");
    let status = said(&bed.gateway, &["status"]);
    assert_has(
        &status,
        &[&format!("http://{address} DOWN since "), "it refuses connections", "8 manager_failed"],
    );
    assert_calm(&bed.gateway);
}

#[test]
fn a_stream_manager_that_does_not_answer() {
    let bed = TestBed::with(|config, _| config.set("stream_manager.timeout", "300ms"));
    let gate = Gate::default();
    bed.manager.answer("", Reply::json(404, "{}").held(&gate));
    all_refused(&bed, 504, "manager_timeout");
    line(&bed.gateway, "WARN", &["is gone: it does not answer in time"]);
    line(&bed.gateway, "INFO", &["refused: the stream manager took longer than stream_manager.timeout"]);
    eventually("it is down", || bed.gateway.metric("tidegate_manager_up", &[]) == 0.0);
    assert_eq!(manager(&bed.gateway)["last_fault"]["cause"], "timeout");
    gate.open();
    assert_calm(&bed.gateway);
}

#[test]
fn a_stream_manager_that_is_slow_and_answers() {
    let bed = TestBed::start();
    let gate = Gate::default();
    bed.manager.answer("", Reply::node(bed.ip(1)).held(&gate));
    let mut client = bed.client();
    client.send_request(&Request::get("/streammanager/api/4.0/event/live/s?action=subscribe"));
    bed.manager.wait_for_requests(1);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    gate.open();
    let answer = client.read_response();
    // TidegateManagerSlow reads this histogram, and the record of the client says what it waited for
    let buckets = |le: &str| bed.gateway.metric("tidegate_manager_seconds_bucket", &[("le", le)]);
    assert_eq!((buckets("1"), buckets("+Inf")), (0.0, 1.0));
    let told = bed.gateway.why(&answer.session_id());
    assert!(told["session"]["ask_ms"].as_f64() >= Some(1000.0), "{told:#}");
    assert_eq!(lines(&bed.gateway, &["is gone"]), [""; 0]);
    assert_calm(&bed.gateway);
}

#[test]
fn a_stream_manager_that_talks_nonsense_to_publishers_only_is_told() {
    let bed = TestBed::start();
    bed.manager.answer("", Reply::typed(200, "text/html", "<html>It works</html>"));
    // answers to publishers are no proof that it answers well
    for _ in 0..6 {
        let offer = post(&Form::Proxy.endpoint("whip", "s2", bed.ip(1), ""));
        bed.exchange(&offer).assert_refusal(502, "manager_failed");
    }
    let gone = line(&bed.gateway, "WARN", &["is gone: what it answers is no JSON that can be read"]);
    assert_has(&gone, &["text/html, 21 bytes", &bed.workspace.manager().to_string()]);
    eventually("it is down", || bed.gateway.metric("tidegate_manager_up", &[]) == 0.0);
    assert_eq!(manager(&bed.gateway)["last_fault"]["cause"], "json");
    assert_has(&said(&bed.gateway, &["status"]), &["DOWN since ", "no JSON that can be read"]);
    assert_calm(&bed.gateway);
}

#[test]
fn a_stream_manager_whose_answers_name_no_node() {
    let bed = TestBed::start();
    bed.manager.answer("", Reply::json(200, r#"{"hello":"world"}"#));
    for _ in 0..5 {
        bed.exchange(&one_step()).assert_refusal(502, "manager_failed");
    }
    let refused = line(&bed.gateway, "INFO", &["refused: the stream manager's answer names no node"]);
    assert_has(&refused, &["stream_manager.url", "route=\"one_step\"", "code=\"manager_failed\""]);
    let codes = [("code", "manager_failed")];
    assert_eq!(bed.gateway.metric("tidegate_refusals_total", &codes), 5.0, "TidegateSetupsFail");
    assert_calm(&bed.gateway);
}
