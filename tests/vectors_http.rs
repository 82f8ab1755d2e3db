//! Cases W01 to W17 and W25 of the vectors, as far as the text of the request decides them: Stream Manager 2.0, WHIP, WHEP.
//!
//! Here a case is a method, a target and the expected decision. Which node is dialled, and how a preflight is answered, is
//! tested in `tests/gateway`.

#![allow(clippy::unwrap_used)] // a failed unwrap in a helper fails the test

use std::net::IpAddr;

use tidegate::oracles::param_rules;
use tidegate::proto::admission;
use tidegate::proto::admission::AdmissionRules;
use tidegate::proto::http::head;
use tidegate::proto::http::head::HeadLimits;
use tidegate::proto::http::redact::redact_target;
use tidegate::proto::red5::one_step::OneStep;
use tidegate::proto::red5::params::Host;
use tidegate::proto::red5::route;
use tidegate::proto::red5::route::Route;
use tidegate::proto::red5::whip::{Method, Request};
use tidegate::proto::refusal::Refusal;

/// What the gateway would do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decided {
    /// The node that the client named, after admission.
    node: Option<String>,
    /// The target that the gateway would send to the node.
    target: String,
    /// The question to the stream manager, if the client named no node.
    question: Option<String>,
}

/// Decides about a request. Known are the nodes of the vectors' fixture; `group` is the configured node group.
fn decide(method: &str, target: &str, group: &str) -> Result<Decided, Refusal> {
    let rules = param_rules();
    match route::route(target)? {
        Route::OneStep(route) => {
            let ask = OneStep::read(&route, &rules, group)?;
            let question = ask.question().filter(|_| ask.host.is_none());
            Ok(Decided { node: admit(ask.host)?, target: ask.node_target, question })
        }
        Route::Whip(route) => {
            let method = Method::read(method, &route).map_err(|_| Refusal::MethodNotAllowed)?;
            let request = Request::read(&route, method, &rules, group)?;
            let question = request.question("4.0").filter(|_| request.host.is_none());
            Ok(Decided { target: request.node_target(), node: admit(request.host)?, question })
        }
        other => panic!("{target}: {other:?}"),
    }
}

fn admit(host: Option<Host>) -> Result<Option<String>, Refusal> {
    let address = match host {
        None => return Ok(None),
        Some(Host::Name(name)) => return Ok(Some(name)),
        Some(Host::Address(address)) => address,
    };
    let known = ["10.0.0.5", "10.0.0.6", "203.0.113.7", "2001:db8::5"];
    let known = known.iter().any(|node| node.parse::<IpAddr>().unwrap() == address);
    let rules =
        AdmissionRules { networks: Vec::new(), learned: true, strict: false, own: Vec::new(), port: 5080 };
    let admitted = admission::admit(&rules, address, known)?;
    Ok(Some(admitted.address().ip().to_string()))
}

/// Case, method, target, configured group, and the expected decision.
type Case = (&'static str, &'static str, &'static str, &'static str, Result<Expected, Refusal>);

/// Node, target at the node, question.
type Expected = (Option<&'static str>, &'static str, Option<&'static str>);

const PUBLISH: Option<&str> = Some("/as/v1/streams/stream/ng1/publish/live/stream1");

const CASES: &[Case] = &[
    (
        "W01",
        "GET",
        "/as/v1/proxy/ws/publish/live/stream1?id=stream1&nodeGroup=ng1",
        "",
        Ok((None, "/live/?id=stream1", PUBLISH)),
    ),
    (
        "W02",
        "GET",
        "/as/v1/proxy/ws/subscribe/live/stream1?nodeGroup=x?id=subscriber-ab&region=us-east",
        "",
        Ok((
            None,
            "/live/?id=subscriber-ab",
            Some("/as/v1/streams/stream/x/subscribe/live/stream1?region=us-east"),
        )),
    ),
    (
        "W03",
        "GET",
        "/as/v1/proxy/ws/publish/live/stream1?id=s&nodeGroup=undefined",
        "ng1",
        Err(Refusal::ScriptLeftover),
    ),
    ("W04", "GET", "/as/v1/proxy/ws/publish/live/stream1?id=s", "ng1", Ok((None, "/live/?id=s", PUBLISH))),
    ("W04", "GET", "/as/v1/proxy/ws/publish/live/stream1?id=s", "", Err(Refusal::BadParams)),
    (
        "W04",
        "GET",
        "/as/v1/proxy/ws/publish/live/stream1?id=s&nodeGroup=default",
        "ng1",
        Ok((None, "/live/?id=s", PUBLISH)),
    ),
    (
        "W05",
        "GET",
        "/as/v1/proxy/ws/publish/live/stream1?id=s&host=10.0.0.5",
        "",
        Ok((Some("10.0.0.5"), "/live/?id=s", None)),
    ),
    (
        "W06",
        "GET",
        "/as/v1/proxy/ws/publish/live/stream1?id=s&host=169.254.169.254&nodeGroup=ng1",
        "ng1",
        Err(Refusal::OriginNotAdmitted),
    ),
    ("W07", "GET", "/as/v1/proxy/ws/publish/stream1?id=s&nodeGroup=ng1", "", Err(Refusal::BadTarget)),
    ("W08", "GET", "/as/v1/proxy/ws/publish/live/../admin/s?id=s&nodeGroup=ng1", "", Err(Refusal::BadTarget)),
    ("W09", "GET", "/as/v1/proxy/ws/publish/live/a%2Fb?id=s&nodeGroup=ng1", "", Err(Refusal::BadTarget)),
    (
        "W10",
        "POST",
        "/as/v1/proxy/whip/live/stream1?signal=true&nodeGroup=ng1&mode=live&transport=udp&keyFramerate=3000&host=10.0.0.7",
        "",
        Err(Refusal::OriginNotAdmitted),
    ),
    (
        "W10",
        "POST",
        "/as/v1/proxy/whip/live/stream1?signal=true&nodeGroup=ng1&mode=live&transport=udp&keyFramerate=3000&host=10.0.0.6",
        "",
        Ok((
            Some("10.0.0.6"),
            "/live/whip/endpoint/stream1?signal=true&mode=live&transport=udp&keyFramerate=3000",
            None,
        )),
    ),
    (
        "W11",
        "POST",
        "/live/whip/endpoint/s?signal=true&username=u&password=p%20a+ss&x=y",
        "",
        Ok((
            None,
            "/live/whip/endpoint/s?signal=true&username=u&password=p%20a+ss&x=y",
            Some("/streammanager/api/4.0/event/live/s?action=broadcast"),
        )),
    ),
    (
        "W12",
        "POST",
        "/live/whip/endpoint/s?a={%22x%22:1}",
        "",
        Ok((
            None,
            "/live/whip/endpoint/s?a={%22x%22:1}",
            Some("/streammanager/api/4.0/event/live/s?action=broadcast"),
        )),
    ),
    (
        "W14",
        "OPTIONS",
        "/live/whip/endpoint/s?signal=true",
        "",
        Ok((
            None,
            "/live/whip/endpoint/s?signal=true",
            Some("/streammanager/api/4.0/event/live/s?action=broadcast"),
        )),
    ),
    (
        "W15",
        "PATCH",
        "/live/whep/resource/s?requestId=subscriber-1b31",
        "",
        Ok((
            None,
            "/live/whep/resource/s?requestId=subscriber-1b31",
            Some("/streammanager/api/4.0/event/live/s?action=subscribe"),
        )),
    ),
    (
        "W16",
        "DELETE",
        "/as/v1/proxy/whip/live/s?host=10.0.0.5&host=10.0.0.6",
        "ng1",
        Err(Refusal::DuplicateParam),
    ),
    (
        "W17",
        "POST",
        "/as/v1/proxy/whip/live/stream1?nodeGroup=ng1&ice-username=a&ice-credential=b",
        "",
        Ok((None, "/live/whip/endpoint/stream1?ice-username=a&ice-credential=b", PUBLISH)),
    ),
];

#[test]
fn every_case_has_the_expected_result() {
    let mut wrong = Vec::new();
    for (id, method, target, group, expected) in CASES {
        let expected = expected.map(|(node, target, question)| Decided {
            node: node.map(str::to_owned),
            target: target.to_owned(),
            question: question.map(str::to_owned),
        });
        let decided = decide(method, target, group);
        if decided != expected {
            wrong.push(format!("{id}: expected {expected:?}, found {decided:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// W13 and W14: only `Access-Control-Request-Method` distinguishes a browser's preflight from the SDK's own OPTIONS.
#[test]
fn a_preflight_is_recognised_by_its_field() {
    let limits = HeadLimits { head_size_max: 1024, target_size_max: 256, headers_max: 16 };
    let acr_method = |field: &str| {
        let head = format!(
            "OPTIONS /live/whip/endpoint/s?signal=true HTTP/1.1\r\nHost: gate.example\r\n{field}\r\n"
        );
        let (request, _) = head::request(head.as_bytes(), 0, &limits).unwrap().unwrap();
        request.acr_method.map(str::to_owned)
    };
    assert_eq!(acr_method("Access-Control-Request-Method: POST\r\n").as_deref(), Some("POST"), "W13");
    assert_eq!(acr_method(""), None, "W14");
}

/// W15: a PATCH that carries only the `requestId` finds the session that the POST created.
#[test]
fn a_client_that_ignores_the_location_is_found_by_its_key() {
    let key = |method: &str, target: &str| {
        let Ok(Route::Whip(route)) = route::route(target) else { panic!("expected a WHIP target: {target}") };
        let method = Method::read(method, &route).unwrap();
        Request::read(&route, method, &param_rules(), "").unwrap().affinity_key()
    };
    let created =
        key("POST", "/live/whep/endpoint/s?requestId=subscriber-1b31&signal=true&doNotSwitch=false");
    assert_eq!(created, key("PATCH", "/live/whep/resource/s?requestId=subscriber-1b31"));
    assert_ne!(created, key("PATCH", "/live/whep/resource/s?requestId=subscriber-1b32"));
}

/// W17: the parameters that are masked by default are masked on these routes too.
#[test]
fn turn_credentials_are_masked_in_logs() {
    let redact = ["ice-credential", "ice-username"].map(str::to_owned);
    let target = "/as/v1/proxy/whip/live/s?nodeGroup=ng1&ice-username=a&ice-credential=b";
    let masked = "/as/v1/proxy/whip/live/s?nodeGroup=ng1&ice-username=***&ice-credential=***";
    assert_eq!(redact_target(target, &redact), masked);
}

/// W25, as far as it is about WHIP: which methods a route accepts, and the value of `Allow`. The event route is tested in
/// `tests/gateway`.
#[test]
fn each_whip_route_accepts_its_own_methods() {
    let allow = |method: &str, target: &str| {
        let Ok(Route::Whip(route)) = route::route(target) else { panic!("expected a WHIP target: {target}") };
        Method::read(method, &route)
    };
    for method in ["GET", "PUT", "HEAD", "post"] {
        let target = "/as/v1/proxy/whip/live/s?nodeGroup=ng1";
        assert_eq!(allow(method, target), Err("OPTIONS, POST, PATCH, DELETE"), "{method}");
    }
    assert_eq!(allow("DELETE", "/live/whip/endpoint/s"), Err("OPTIONS, POST"));
    assert_eq!(allow("POST", "/live/whip/resource/s"), Err("OPTIONS, PATCH, DELETE"));
    assert_eq!(allow("DELETE", "/live/whip/resource/s"), Ok(Method::Delete));
}
