//! WHIP and WHEP sessions: listed, told, kicked, and named by one id from their POST to their end.

use crate::harness::records::{assert_told, events};
use crate::harness::takeover::Takeover;
use crate::harness::whip::{ANSWER, FORMS, Form, SDP, delete, empty_post, patch, post};
use crate::harness::{Gate, Reply, Request, TestBed, eventually};
use serde_json::{Value, json};

fn kick(bed: &TestBed, id: &str) -> Value {
    let answer = bed.gateway.send_admin(&bed.gateway.admin_request("DELETE", &format!("/api/sessions/{id}")));
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.json()
}

#[test]
fn a_whip_session_has_one_id_from_its_post_to_its_delete() {
    for form in FORMS {
        let bed = TestBed::start();
        let node = bed.whip_node(1);
        let created = bed.created(&post(&form.endpoint("whip", "stream1", bed.ip(1), "")));
        let id = created.session_id();
        let rows = bed.gateway.rows("/api/sessions");
        let [row] = &rows[..] else { panic!("{rows:?}") };
        for (field, value) in [
            ("id", json!(id)),
            ("route", json!("whip")),
            ("role", json!("publisher")),
            ("state", json!("open")),
            ("app", json!("live")),
            ("stream", json!("stream1")),
            ("node", json!(bed.workspace.node(1).to_string())),
            ("worker", Value::Null),
            ("requests", json!(0)),
        ] {
            assert_eq!(row[field], value, "{field}: {row}");
        }
        assert!(row["answer_ms"].is_u64() && row["age_seconds"].as_f64() < Some(60.0), "{row}");
        for refused in [
            Request::new("PATCH", created.location()).body("text/plain", "x"),
            Request::new("PATCH", created.location()).body(SDP, "x".repeat(300_000)),
        ] {
            let refused = bed.exchange(&refused);
            assert!(matches!(refused.status(), 400 | 413), "{refused:?}");
            assert_eq!(refused.session_id(), id, "a refusal is about the session too");
        }
        assert_eq!(bed.exchange(&patch(created.location())).session_id(), id);
        assert_told(
            &bed.gateway.why(&id),
            &[("status", json!(201))],
            "until its client ends it",
            &["PATCH (WHIP"],
        );
        node.answer("PATCH ", Reply::empty(500));
        assert_eq!(bed.exchange(&patch(created.location())).session_id(), id);
        let deleted = bed.exchange(&delete(created.location()));
        assert_eq!((deleted.status(), deleted.session_id()), (200, id.clone()));
        let told = bed.gateway.why(&id);
        let fields =
            [("by", json!("client")), ("how", json!("deleted")), ("status", json!(201)), ("tries", json!(4))];
        let words = [
            "POST ",
            "PATCH (WHIP, publisher)",
            "DELETE (WHIP, publisher)",
            "the client got 500",
            "the client got 200",
        ];
        assert_told(&told, &fields, "the client ended it with a DELETE", &words);
        assert!(bed.gateway.ids("/api/sessions").is_empty());
        assert_eq!(
            bed.gateway.ids("/api/ends?route=whip&stream=stream1").iter().filter(|of| **of == id).count(),
            1
        );
    }
}

#[test]
fn a_page_that_closes_ends_its_session_although_it_reads_no_answer() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let created = bed.created(&post(&Form::Proxy.endpoint("whip", "stream1", bed.ip(1), "")));
    let gate = Gate::default();
    node.answer("DELETE ", Reply::empty(200).held(&gate));
    let mut client = bed.client();
    client.send_request(&delete(created.location()));
    node.wait_for_requests(2);
    client.reset();
    eventually("the client is gone", || !bed.gateway.rows("/api/ends?route=whip").is_empty());
    gate.open();
    let told = bed.gateway.why_ended(&created.session_id());
    assert_told(&told, &[("how", json!("deleted"))], "DELETE", &[]);
    assert!(bed.gateway.ids("/api/sessions").is_empty());
}

#[test]
fn a_subscriber_is_told_from_a_publisher() {
    let bed = TestBed::start();
    let _node = bed.whip_node(1);
    let publisher = bed.created(&post(&Form::Proxy.endpoint("whip", "stream1", bed.ip(1), ""))).session_id();
    let target = Form::Proxy.endpoint("whep", "stream1", bed.ip(1), "&requestId=r");
    let player = bed.created(&empty_post(&target)).session_id();
    for (query, id) in [
        ("role=publisher", &publisher),
        ("role=subscriber", &player),
        ("route=whip", &publisher),
        ("route=whep&stream=stream1&app=live", &player),
    ] {
        assert_eq!(bed.gateway.ids(&format!("/api/sessions?{query}")), [id.as_str()], "{query}");
    }
    let node = bed.ip(1);
    assert_eq!(bed.gateway.ids(&format!("/api/sessions?node={node}")).len(), 2);
    assert_told(
        &bed.gateway.why(&player),
        &[("role", json!("subscriber"))],
        "",
        &["(WHEP, subscriber of live/stream1)"],
    );
}

#[test]
fn a_kick_deletes_the_session_at_its_node_whatever_that_says() {
    for (answer, status) in
        [(Some(Reply::empty(200)), json!(200)), (Some(Reply::empty(404)), json!(404)), (None, Value::Null)]
    {
        let bed = TestBed::start();
        let node = bed.whip_node(1);
        let created = bed.created(&post(&Form::Proxy.endpoint("whip", "stream1", bed.ip(1), "")));
        let id = created.session_id();
        match answer {
            Some(answer) => {
                node.answer("DELETE ", answer);
                assert_eq!(kick(&bed, &id)["node_status"], status);
                assert_eq!(node.lines().last().unwrap(), "DELETE /live/whip/resource/stream1");
            }
            None => {
                drop(node);
                assert_eq!(kick(&bed, &id)["node_status"], status);
            }
        }
        let told = bed.gateway.why_ended(&id);
        assert_told(
            &told,
            &[("by", json!("gateway")), ("how", json!("kicked"))],
            "the operator ended it",
            &[],
        );
        assert!(bed.gateway.ids("/api/sessions").is_empty());
        bed.exchange(&delete(created.location())).assert_refusal(404, "no_such_resource");
    }
}

#[test]
fn a_session_that_its_node_has_lost_is_gone() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let created = bed.created(&post(&Form::Direct.endpoint("whip", "stream1", bed.ip(1), "")));
    node.answer("DELETE ", Reply::json(404, "{}"));
    let deleted = bed.exchange(&delete(created.location()));
    assert_eq!((deleted.status(), deleted.session_id()), (404, created.session_id()));
    let told = bed.gateway.why_ended(&created.session_id());
    assert_told(
        &told,
        &[("by", json!("origin")), ("how", json!("gone"))],
        "the node did not know it any more",
        &[],
    );
}

#[test]
fn a_session_that_no_client_will_use_is_undone_and_told() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let gate = Gate::default();
    node.answer("POST ", Reply::created("/live/whip/resource/stream1", ANSWER).held(&gate));
    let mut client = bed.client();
    client.send_request(&post(&Form::Proxy.endpoint("whip", "stream1", bed.ip(1), "")));
    node.wait_for_requests(1);
    client.reset();
    eventually("the client has left", || {
        bed.gateway.rows("/api/ends?route=whip").iter().any(|row| row["how"] == "left")
    });
    gate.open();
    node.wait_for_requests(2);
    let undone = || bed.gateway.rows("/api/ends?route=whip").into_iter().find(|row| row["how"] == "undone");
    eventually("it is undone", || undone().is_some());
    let id = undone().unwrap()["id"].as_str().unwrap().to_owned();
    let told = bed.gateway.why_ended(&id);
    assert_told(
        &told,
        &[("by", json!("client")), ("stream", json!("stream1"))],
        "the client had left before",
        &["POST "],
    );
}

#[test]
fn a_session_that_its_publisher_replaced_is_superseded() {
    let bed = TestBed::start();
    let _node = bed.whip_node(1);
    let endpoint = Form::Proxy.endpoint("whip", "stream1", bed.ip(1), "");
    let [first, second] = [(), ()].map(|()| bed.created(&post(&endpoint)).session_id());
    let state = |id: &str| bed.gateway.why(id)["now"]["state"].clone();
    assert_eq!((state(&first), state(&second)), (json!("superseded"), json!("open")));
    let rows = bed.gateway.rows("/api/sessions");
    assert!(rows.iter().any(|row| row["id"] == first.as_str() && row["state"] == "superseded"), "{rows:?}");
    assert_told(&bed.gateway.why(&first), &[], "published the same stream again", &[]);
}

#[test]
fn sessions_keep_their_ids_and_ages_over_an_upgrade() {
    let takeover = Takeover::start(|_, _| {});
    let bed = &takeover.bed;
    let _node = bed.whip_node(1);
    let created = bed.created(&post(&Form::Proxy.endpoint("whip", "stream1", bed.ip(1), "")));
    let player =
        bed.created(&empty_post(&Form::Proxy.endpoint("whep", "stream1", bed.ip(1), "&requestId=r")));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = bed.gateway.rows("/api/sessions");
    takeover.upgrade();
    let after = bed.gateway.rows("/api/sessions");
    assert_eq!(after.len(), 2, "{after:?}");
    for (before, after) in before.iter().zip(&after) {
        for field in ["id", "route", "role", "app", "stream", "state", "node"] {
            assert_eq!(before[field], after[field], "{field}: {after}");
        }
        assert!(after["age_seconds"].as_f64() >= before["age_seconds"].as_f64(), "{after}");
    }
    for (made, words) in [(created, "deleted"), (player, "deleted")] {
        assert_eq!(bed.exchange(&patch(made.location())).session_id(), made.session_id());
        assert_eq!(bed.exchange(&delete(made.location())).session_id(), made.session_id());
        let told = bed.gateway.why_ended(&made.session_id());
        assert_eq!(told["session"]["how"], words, "{told:#}");
        assert!(events(&told).contains("DELETE (WH"), "{told:#}");
    }
}
