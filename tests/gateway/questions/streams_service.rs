//! Questions to the streams service of Stream Manager 2.0: players may share an answer, each publisher gets its own.

use crate::harness::{Gate, Reply, Request, TestBed};

const PUBLISH: &str = "/as/v1/streams/stream/ng1/publish/live/stream1";
const SUBSCRIBE: &str = "/as/v1/streams/stream/ng1/subscribe/live/stream1";

fn bed_with_lasting_answers() -> TestBed {
    let bed = TestBed::with(|config, _| {
        config.set("answers.subscribe_ttl", "60s");
        config.set("answers.missing_ttl", "60s");
        config.set("answers.subscribe_uses", 100_000);
    });
    bed.manager.answer("", Reply::nodes(&[bed.ip(1)]));
    bed
}

#[test]
fn an_array_and_an_object_pass_unchanged() {
    let bed = bed_with_lasting_answers();
    let object =
        Reply::json(200, format!(r#"{{"streamGuid":"live/stream1","serverAddress":"{}"}}"#, bed.ip(1)));
    for reply in [Reply::nodes(&[bed.ip(1), bed.ip(2)]), object] {
        for target in [PUBLISH, SUBSCRIBE] {
            let target = format!("{target}{}?region=us", bed.manager.count());
            bed.manager.answer("", reply.clone());
            let response = bed.get(&target);
            assert_eq!((response.status(), response.text()), (200, reply.body()));
            assert_eq!(response.field("cache-control"), Some("no-store"));
            assert_eq!(bed.manager.lines().pop(), Some(format!("GET {target}")));
        }
    }
}

#[test]
fn a_publishers_answer_is_never_stored_and_a_players_is() {
    let bed = bed_with_lasting_answers();
    for n in 1..=3 {
        bed.get(PUBLISH);
        assert_eq!(bed.manager.count(), n);
    }
    for _ in 0..4 {
        bed.get(SUBSCRIBE);
        assert_eq!(bed.manager.count(), 4);
    }
    assert_eq!(bed.get(SUBSCRIBE).field("cache-status").map(|status| status.contains("hit")), Some(true));
}

#[test]
fn concurrent_publishers_share_no_question() {
    let bed = bed_with_lasting_answers();
    let gate = Gate::default();
    bed.manager.answer("", Reply::nodes(&[bed.ip(1)]).held(&gate));
    let mut clients = [bed.client(), bed.client(), bed.client()];
    clients.iter_mut().for_each(|client| client.send_request(&Request::get(PUBLISH)));
    bed.manager.wait_for_requests(3);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.read_response().status(), 200));
}

#[test]
fn a_publishers_question_is_never_repeated() {
    let bed = bed_with_lasting_answers();
    // on a kept connection that is closed during the question
    bed.get(SUBSCRIBE);
    bed.manager.answer("/publish/", Reply::hang_up());
    bed.get(PUBLISH).assert_refusal(502, "manager_failed");
    assert_eq!(bed.manager.count(), 2);
    bed.get(SUBSCRIBE);
    bed.manager.answer_in_turn("/subscribe/live/other", [Reply::hang_up(), Reply::nodes(&[bed.ip(1)])]);
    let _ = bed.get(&SUBSCRIBE.replace("stream1", "warm-up"));
    assert_eq!(bed.get(&SUBSCRIBE.replace("stream1", "other")).status(), 200, "a player's is");
}

#[test]
fn placing_and_personal_questions_are_not_stored_either() {
    let bed = bed_with_lasting_answers();
    for (n, rest) in ["?transcode=true", "?token=x", "?username=u&password=p", "?foo=bar"].iter().enumerate()
    {
        let before = bed.manager.count();
        let target = format!("{SUBSCRIBE}{n}{rest}");
        bed.get(&target);
        bed.get(&target);
        assert_eq!(bed.manager.count(), before + 2, "{rest}");
    }
    let request = Request::get(SUBSCRIBE).with("Authorization", "Bearer jwt");
    let before = bed.manager.count();
    bed.exchange(&request);
    bed.exchange(&request);
    assert_eq!(bed.manager.count(), before + 2);
}

#[test]
fn an_error_passes_with_status_and_body() {
    let bed = bed_with_lasting_answers();
    for (status, body) in
        [(409, r#"{"error":"live"}"#), (404, r#"{"error":"none"}"#), (400, "{}"), (500, "{}")]
    {
        bed.manager.answer("", Reply::json(status, body));
        for target in [PUBLISH, SUBSCRIBE] {
            let response = bed.get(&format!("{target}-{status}"));
            assert_eq!((response.status(), response.text().as_str()), (status, body));
        }
    }
}

#[test]
fn only_publish_and_subscribe_questions_are_passed() {
    let bed = bed_with_lasting_answers();
    for target in [
        "/as/v1/streams/stream/ng1",
        "/as/v1/streams/stream/ng1/stream/live/s",
        "/as/v1/streams/provision/ng1",
        "/as/v1/streams/stream/ng1/unpublish/live/s",
        "/as/v2/streams/stream/ng1/publish/live/s",
        "/as/v1/admin/rtcproxy",
        "/as/v1/auth/login",
    ] {
        bed.get(target).assert_refusal(404, "no_such_route");
    }
    for target in ["/as/v1/streams/stream/ng1/publish/s", "/as/v1/streams/stream/ng1/publish/live/%2e%2e/s"] {
        assert_eq!(bed.get(target).status(), 400, "{target}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        bed.exchange(&Request::new(method, PUBLISH)).assert_refusal(405, "method_not_allowed");
    }
    assert_eq!(bed.manager.dials(), 0);
}
