//! Runs every vector for connection parameters through route, rules and admission, in the order of a real request, and the
//! cases of the event route that need no stream manager.
//!
//! The file of vectors is part of the domain's specification and is unchanged. A vector gives status, node and upstream
//! target, and the tests check only these.

#![allow(clippy::unwrap_used)] // a failed unwrap in a helper fails the test

use std::net::IpAddr;

use serde_json::Value;
use tidegate::proto::admission;
use tidegate::proto::admission::AdmissionRules;
use tidegate::proto::red5::params::{ConnectionParams, Host};
use tidegate::proto::red5::route;
use tidegate::proto::red5::route::{EventKind, Keep, Route};
use tidegate::proto::red5::rules::ParamRules;
use tidegate::proto::refusal::Refusal;

const VECTORS: &str = include_str!("data/connection-params.json");

/// Returns the node that the gateway would dial and the target it would send there, or the refusal.
fn decide(target: &str, fixture: &Value) -> Result<(String, String), Refusal> {
    let texts = |key: &str| -> Vec<String> {
        let list = fixture[key].as_array().unwrap();
        list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let Route::TwoStep { suffix, query } = route::route(target)? else {
        panic!("expected a two-step target: {target}")
    };
    let rules = ParamRules {
        apps: texts("configured_apps"),
        names: texts("configured_names"),
        ..ParamRules::default()
    };
    let params = ConnectionParams::read(suffix, query, &rules)?;
    let address = match params.host {
        Host::Name(name) => return Ok((name, params.node_target)),
        Host::Address(address) => address,
    };
    let known: Vec<IpAddr> = texts("known_nodes").iter().map(|text| text.parse().unwrap()).collect();
    let port = fixture["origin_port"].as_u64().unwrap().try_into().unwrap();
    let rules = AdmissionRules { networks: Vec::new(), learned: true, strict: false, own: Vec::new(), port };
    let admitted = admission::admit(&rules, address, known.contains(&address))?;
    assert_eq!(admitted.address().port(), port);
    Ok((admitted.address().ip().to_string(), params.node_target))
}

#[test]
fn every_vector_has_the_expected_result() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 130);
    let mut wrong = Vec::new();
    for vector in vectors {
        let text = |key: &str| vector[key].as_str().unwrap();
        let target = format!("{}?{}", text("path"), text("query"));
        let expected = match vector.get("accept") {
            Some(accept) => Ok((
                accept["node"].as_str().unwrap().to_owned(),
                accept["target"].as_str().unwrap().to_owned(),
            )),
            None => Err(vector["reject"]["status"].as_u64().unwrap()),
        };
        let decided = decide(&target, &file["fixture"]);
        if decided.clone().map_err(|refusal| u64::from(refusal.status())) != expected {
            wrong.push(format!("{} ({}): expected {expected:?}, found {decided:?}", text("id"), text("why")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refusal_has_the_code_of_the_broken_rule() {
    use Refusal::*;
    let expected = [
        ("V042", BadParams),
        ("V044", ScriptLeftover),
        ("V046", ScriptLeftover),
        ("V052", DuplicateParam),
        ("V056", DuplicateParam),
        ("V058", OriginNotAdmitted),
        ("V059", OriginNotAdmitted),
        ("V062", BadHost),
        ("V099", BadApp),
        ("V107", AppNotAllowed),
        ("V114", ReservedAccount),
        ("V116", BadTarget),
        ("V118", TargetTooLong),
        ("V123", AdminParameter),
        ("V129", BadTarget),
        ("V130", NoSuchRoute),
    ];
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    for (id, refusal) in expected {
        let vector = file["vectors"].as_array().unwrap().iter().find(|vector| vector["id"] == id).unwrap();
        let target = format!("{}?{}", vector["path"].as_str().unwrap(), vector["query"].as_str().unwrap());
        assert_eq!(decide(&target, &file["fixture"]), Err(refusal), "{id}");
    }
}

/// Cases W18 to W24 of the vectors, which are about the event route.
#[test]
fn only_the_answer_to_a_plain_question_is_stored() {
    let event = |rest: &str| match route::route(&format!("/streammanager/api/4.0/event/{rest}")) {
        Ok(Route::Event(event)) => Ok((event.kind, event.keep)),
        Ok(_) => panic!("expected an event target: {rest}"),
        Err(refusal) => Err(refusal.status()),
    };
    assert_eq!(
        route::route("/as/v1/proxy/forward/?target=http%3A%2F%2F169.254.169.254%2F"),
        Err(Refusal::NoSuchRoute),
        "W18"
    );
    assert_eq!(event("live/stream1?action=subscribe&accessToken=xyz123"), Err(403), "W19");
    assert_eq!(event("live/..%2f..%2fadmin/proxy/clients?action=subscribe"), Err(400), "W20");
    assert_eq!(
        event("live/stream1?action=broadcast&region=true"),
        Ok((EventKind::Broadcast, Keep::Never)),
        "W21"
    );
    assert_eq!(event("live/stream1?action=Subscribe"), Ok((EventKind::Other, Keep::Never)), "W22");
    assert_eq!(
        event("live/stream1?action=subscribe&action=broadcast"),
        Ok((EventKind::Other, Keep::Never)),
        "W23"
    );
    assert_eq!(
        event("live/stream1?action=subscribe&endpoints=2"),
        Ok((EventKind::Subscribe, Keep::Both)),
        "W24"
    );
    assert_eq!(event("live/stream1?action=broadcast"), Ok((EventKind::Broadcast, Keep::Both)));
}
