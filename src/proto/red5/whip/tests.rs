//! Requests of WHIP and WHEP as SDKs build them: targets at nodes and managers, refusals, keys, handles, locations.

use super::*;
use crate::proto::red5::location::{self, UnusableLocation};
use crate::proto::red5::route::{self, Kind, Route, Step, WhipRoute};
use crate::proto::red5::rules::ParamRules;
use crate::proto::refusal::Refusal;

fn route(target: &str) -> WhipRoute<'_> {
    match route::route(target) {
        Ok(Route::Whip(route)) => route,
        other => panic!("{target}: {other:?}"),
    }
}

fn read(method: &str, target: &str) -> Result<Request, Refusal> {
    let route = route(target);
    let method = Method::read(method, &route).map_err(|_| Refusal::MethodNotAllowed)?;
    Request::read(&route, method, &ParamRules::default(), "")
}

#[test]
fn nodes_and_managers_get_these_targets() {
    for (method, target, node, question) in [
        (
            "POST",
            "/live/whip/endpoint/stream1?signal=true&username=u&password=p%20a+ss&x=y&mode=live",
            "/live/whip/endpoint/stream1?signal=true&username=u&password=p%20a+ss&x=y&mode=live",
            "/streammanager/api/4.0/event/live/stream1?action=broadcast",
        ),
        (
            "OPTIONS",
            "/live/room/whip/endpoint/s?signal=true&region=us-east&transcode=true",
            "/live/room/whip/endpoint/s?signal=true&region=us-east&transcode=true",
            "/streammanager/api/4.0/event/live/room/s?action=broadcast&region=us-east&transcode=true",
        ),
        (
            "PATCH",
            "/live/whep/resource/s?requestId=subscriber-1b31",
            "/live/whep/resource/s?requestId=subscriber-1b31",
            "/streammanager/api/4.0/event/live/s?action=subscribe",
        ),
        (
            "POST",
            "/as/v1/proxy/whip/live/stream1?signal=true&nodeGroup=ng1&mode=live&host=10.0.0.7&region=a",
            "/live/whip/endpoint/stream1?signal=true&mode=live",
            "/as/v1/streams/stream/ng1/publish/live/stream1?region=a",
        ),
        (
            "DELETE",
            "/as/v1/proxy/whip/live/room1/s?nodeGroup=ng1&host=10.0.0.7",
            "/live/room1/whip/resource/s",
            "/as/v1/streams/stream/ng1/publish/live/room1/s",
        ),
        (
            "POST",
            "/streammanager/whep/endpoint/s?requestId=r&host=10.0.0.5&app=live%2Froom&signal=true",
            "/live/room/whep/endpoint/s?requestId=r&signal=true",
            "/streammanager/api/4.0/event/live/room/s?action=subscribe",
        ),
        (
            "POST",
            "/streammanager/room1/whip/endpoint/s?host=10.0.0.5&app=live",
            "/live/room1/whip/endpoint/s",
            "/streammanager/api/4.0/event/live/room1/s?action=broadcast",
        ),
    ] {
        let request = read(method, target).unwrap();
        assert_eq!(request.node_target(), node, "{method} {target}");
        assert_eq!(request.question("4.0").as_deref(), Some(question), "{method} {target}");
    }
    assert_eq!(read("POST", "/as/v1/proxy/whip/live/s?host=10.0.0.5").unwrap().question("4.0"), None);
}

#[test]
fn requests_against_the_rules_are_refused() {
    for (method, target, refusal) in [
        ("POST", "/as/v1/proxy/whip/live/s", Refusal::BadParams),
        ("POST", "/as/v1/proxy/whip/live/s?nodeGroup=undefined", Refusal::ScriptLeftover),
        ("POST", "/as/v1/proxy/whip/other/s?nodeGroup=a", Refusal::AppNotAllowed),
        ("DELETE", "/as/v1/proxy/whip/live/s?host=10.0.0.5&host=10.0.0.6", Refusal::DuplicateParam),
        ("DELETE", "/as/v1/proxy/whip/live/s?Host=10.0.0.5", Refusal::DuplicateParam),
        ("POST", "/as/v1/proxy/whip/live/s?host=10.0.0.5:5080", Refusal::BadHost),
        ("POST", "/live/whip/endpoint/s?accessToken=x", Refusal::AdminParameter),
        ("POST", "/live/whip/endpoint/s?username=cluster-restreamer", Refusal::ReservedAccount),
        ("POST", "/live/whip/endpoint/s?app=webrtc", Refusal::AppNotAllowed),
        ("POST", "/live/whip/endpoint/s?app=live%2Fa", Refusal::BadParams),
        ("POST", "/live/whip/endpoint/s?context=a", Refusal::BadParams),
        ("POST", "/admin/whip/endpoint/s", Refusal::AppNotAllowed),
        ("POST", "/a%20b/whip/endpoint/s", Refusal::BadApp),
        ("POST", "/streammanager/whip/endpoint/s?host=10.0.0.5", Refusal::BadParams),
        ("POST", "/streammanager/room1/whip/endpoint/s?app=live&context=room2", Refusal::BadParams),
        // the path of its Location could not have such a segment
        ("POST", "/streammanager/null/room1/whip/endpoint/s?app=live", Refusal::ScriptLeftover),
        ("POST", "/streammanager/whip/endpoint/s?app=live&context=room1/undefined", Refusal::ScriptLeftover),
        ("PATCH", "/live/whip/endpoint/s", Refusal::MethodNotAllowed),
        ("POST", "/live/whip/resource/s", Refusal::MethodNotAllowed),
        ("GET", "/as/v1/proxy/whip/live/s", Refusal::MethodNotAllowed),
    ] {
        assert_eq!(read(method, target), Err(refusal), "{method} {target}");
    }
    let long = format!("/live/whep/resource/s?requestId={}", "r".repeat(257));
    assert_eq!(read("PATCH", &long), Err(Refusal::BadParams));
    let endpoint = |length: usize| read("POST", &format!("/live/whip/endpoint/{}", "s".repeat(length)));
    assert!(endpoint(512).is_ok());
    assert_eq!(endpoint(513), Err(Refusal::BadTarget));
    // an SDK repeats the parameters of its endpoint: they may stand in path and query if they are equal
    assert!(read("PATCH", "/live/room1/whip/resource/s?host=10.0.0.5&app=live&context=room1").is_ok());
    // if the endpoint's path has the context, the query has the app alone
    let made = read("POST", "/streammanager/room1/whip/endpoint/s?app=live").unwrap();
    let location = location::for_client(&made, Handle::new([1; 16]));
    for query in ["?app=live", "?app=live&context=", "?app=live&context=room1", "?app=live%2Froom1", ""] {
        assert_eq!(
            read("DELETE", &format!("{location}{query}")).map(|again| again.scope),
            Ok(made.scope.clone())
        );
    }
    for query in
        ["?app=liv", "?app=webrtc", "?app=live&context=room", "?app=live%2Froom1%2Fx", "?app=live/room"]
    {
        assert!(read("DELETE", &format!("{location}{query}")).is_err(), "{query}");
    }
    assert_eq!(read("POST", "/live/room1/whip/endpoint/s?app=live"), Err(Refusal::BadParams));
}

#[test]
fn each_step_takes_its_methods() {
    let allow = |method, target| Method::read(method, &route(target));
    assert_eq!(allow("PUT", "/as/v1/proxy/whip/live/s"), Err("OPTIONS, POST, PATCH, DELETE"));
    assert_eq!(allow("post", "/live/whip/endpoint/s"), Err("OPTIONS, POST"));
    assert_eq!(allow("POST", "/live/whip/resource/s"), Err("OPTIONS, PATCH, DELETE"));
    for method in [Method::Options, Method::Post, Method::Patch, Method::Delete] {
        assert_eq!(allow(method.word(), "/as/v1/proxy/whep/live/s"), Ok(method));
    }
}

#[test]
fn keys_tell_sessions_apart_and_find_them_again() {
    let key = |method: &str, target: &str| read(method, target).unwrap().affinity_key();
    let made = key("POST", "/live/whep/endpoint/s?requestId=r&signal=true");
    assert_eq!(made, key("PATCH", "/live/whep/resource/s?requestId=r"));
    assert_eq!(made, key("DELETE", "/as/v1/proxy/whep/live/s?requestId=r&host=10.0.0.7"));
    assert_eq!(made, key("POST", "/streammanager/whep/endpoint/s?app=%2Flive&requestId=r&host=10.0.0.7"));
    let handle = Handle::new([7; 16]);
    assert_eq!(made, key("PATCH", &format!("/live/whep/resource/s{handle}?requestId=r")));
    for other in [
        "/live/whep/resource/s?requestId=q",
        "/live/whep/resource/s",
        "/live/whip/resource/s?requestId=r",
        "/live/whep/resource/t?requestId=r",
        "/live/s/whep/resource/s?requestId=r",
    ] {
        assert_ne!(made, key("PATCH", other), "{other}");
    }
    assert_eq!(
        key("POST", "/live/whip/endpoint/s?requestId=r"),
        key("PATCH", "/live/whip/resource/s"),
        "a publisher is the only one of its name"
    );
    assert!(made.size() < 32);
    let escaped = key("PATCH", "/live/whip/resource/a%7Eb%20c");
    assert_eq!(escaped, key("POST", "/live/whip/endpoint/a~b%20%63"), "a node decodes both");
    assert_ne!(escaped, key("POST", "/live/whip/endpoint/a~b+c"));
}

#[test]
fn handles_are_read_back_from_every_form() {
    let handle = Handle::new(std::array::from_fn(|n| n as u8 * 17));
    assert_eq!(handle.to_string(), "~00112233445566778899aabbccddeeff");
    for (method, target) in [
        ("POST", "/as/v1/proxy/whip/live/a~b%20c?nodeGroup=n"),
        ("POST", "/live/room1/whep/endpoint/s~0?requestId=r"),
        ("POST", "/streammanager/whip/endpoint/s?host=10.0.0.5&app=live&context=x"),
    ] {
        let made = read(method, target).unwrap();
        let location = location::for_client(&made, handle);
        // SDKs 11 to 14.3 put the endpoint's own query behind a path
        let (_, query) = target.split_once('?').unwrap();
        for resource in [location.clone(), format!("{location}?{query}")] {
            let back = read("PATCH", &resource).unwrap();
            assert_eq!((back.handle, &back.stream, &back.scope), (Some(handle), &made.stream, &made.scope));
            assert_eq!((back.step, back.kind, back.api), (Step::Resource, made.kind, made.api));
        }
    }
}

#[test]
fn a_text_that_is_not_exactly_a_handle_belongs_to_the_name() {
    let digits = "0123456789abcdef0123456789abcdef";
    for mark in ["~", "%7E", "%7e"] {
        let segment = format!("s{mark}{digits}");
        let (stream, handle) = Handle::split(&segment);
        assert_eq!((stream, handle.map(|handle| handle.to_string())), ("s", Some(format!("~{digits}"))));
    }
    for name in [
        format!("~{digits}"),
        format!("s-{digits}"),
        format!("s~{}", digits.to_uppercase()),
        format!("s~{}", &digits[1..]),
        format!("s~{digits}0"),
        format!("s%7F{digits}"),
        format!("%7E{digits}"),
        format!("s%257E{digits}"),
        "s~+123456789abcdef0123456789abcdef0".into(),
        "s".into(),
        String::new(),
    ] {
        assert_eq!(Handle::split(&name), (name.as_str(), None));
    }
    for dots in [".", "..", "%2e%2E", "%252e"] {
        let resource = format!("/live/whip/resource/{dots}~{digits}");
        assert_eq!(read("DELETE", &resource), Err(Refusal::BadTarget), "{dots}");
    }
    let endpoint = format!("/live/whip/endpoint/s~{digits}");
    assert_eq!(read("POST", &endpoint).unwrap().handle, None, "an endpoint has no handle");
}

/// The forms of `Location` that nodes write, and others that they could.
#[test]
fn every_location_of_a_node_becomes_a_target_at_it_or_is_unusable() {
    let made = read("POST", "/as/v1/proxy/whip/live/room1/stream1?nodeGroup=ng1").unwrap();
    let usual = "/live/room1/whip/resource/stream1";
    for (location, expected) in [
        (None, Ok(usual)),
        (Some(""), Ok(usual)),
        (Some(usual), Ok(usual)),
        (Some("/live/whip/resource/x?host=10.0.0.7"), Ok("/live/whip/resource/x?host=10.0.0.7")),
        (Some("http://10.0.0.7:5080/live/whip/resource/x"), Ok("/live/whip/resource/x")),
        (Some("HTTPS://node.example/live/x?a=b"), Ok("/live/x?a=b")),
        (Some("http://[2001:db8::5]:5080/x"), Ok("/x")),
        (Some("live/whip/resource/x"), Ok("/live/whip/resource/x")),
        (Some("../resource/x"), Ok("/live/room1/whip/resource/x")),
        (Some("./x?a=/../b"), Ok("/live/room1/whip/endpoint/x?a=/../b")),
        (Some("../../../../../../x"), Ok("/x")),
        (Some("../x/../y"), Err(UnusableLocation)),
        (Some("/live/../admin"), Err(UnusableLocation)),
        (Some("/live/%2e%2e/admin"), Err(UnusableLocation)),
        (Some("//evil/x"), Err(UnusableLocation)),
        (Some("http://10.0.0.7//evil/x"), Err(UnusableLocation)),
        (Some(".//evil/x"), Err(UnusableLocation)),
        (Some("..//x"), Err(UnusableLocation)),
        (Some("httpfoo"), Err(UnusableLocation)),
        (Some("http:/x"), Err(UnusableLocation)),
        (Some("https://"), Err(UnusableLocation)),
        (Some("http://10.0.0.7"), Err(UnusableLocation)),
        (Some("http://10.0.0.7?x"), Err(UnusableLocation)),
        (Some("http://u:p@10.0.0.7/x"), Err(UnusableLocation)),
        (Some("http:///x"), Err(UnusableLocation)),
        (Some("ftp://10.0.0.7/x"), Err(UnusableLocation)),
        (Some("javascript:alert(1)"), Err(UnusableLocation)),
        (Some("/"), Err(UnusableLocation)),
        (Some("?x"), Err(UnusableLocation)),
        (Some("#x"), Err(UnusableLocation)),
        (Some("/a#b"), Err(UnusableLocation)),
        (Some("/a b"), Ok("/a%20b")),
        (Some("/live/whip/resource/\u{fc}?a=\u{e9}"), Ok("/live/whip/resource/%C3%BC?a=%C3%A9")),
        (Some("http://n\u{f6}de/live/x"), Ok(usual)),
        (Some("//evil/\u{fc}"), Ok(usual)),
        (Some("/a\tb"), Ok(usual)),
        (Some("/live/../\u{fc}"), Ok(usual)),
        (Some("/a;b"), Err(UnusableLocation)),
        (Some("\\evil"), Err(UnusableLocation)),
        (Some(".."), Err(UnusableLocation)),
    ] {
        assert_eq!(
            location::at_node(location.map(str::as_bytes), &made).as_deref(),
            expected.as_ref().map(|t| *t),
            "{location:?}"
        );
    }
    assert_eq!(location::at_node(Some(b"/live/\xfc"), &made).as_deref(), Ok(usual));
    let handle = Handle::new([1; 16]);
    assert_eq!(
        location::for_client(&made, handle),
        format!("/as/v1/proxy/whip/live/room1/stream1~{}", "01".repeat(16))
    );
    assert_eq!(location::session_host("[2001:db8::5]:5080".parse().unwrap()), "2001:db8::5");
}

#[test]
fn a_resource_is_requested_at_the_target_that_the_node_named() {
    let patch = read("PATCH", "/live/whep/resource/s?requestId=r&host=10.0.0.7&x=1").unwrap();
    assert_eq!(patch.resource_target("/live/whep/resource/abc"), "/live/whep/resource/abc?requestId=r&x=1");
    assert_eq!(patch.resource_target("/r?requestId=q&b"), "/r?requestId=q&b&x=1");
    let bare = read("DELETE", "/live/whep/resource/s").unwrap();
    assert_eq!(bare.resource_target("/r?requestId=q"), "/r?requestId=q");
    assert_eq!(bare.resource_target("/r"), "/r");
}

#[test]
fn each_method_takes_its_bodies() {
    let fits = |kind, method, content_type, empty| check_body(kind, method, content_type, empty).is_ok();
    let (whip, whep, sdp, trickle) = (
        Kind::Whip,
        Kind::Whep,
        Some("Application/SDP; charset=utf-8"),
        Some("application/trickle-ice-sdpfrag"),
    );
    assert!(fits(whip, Method::Post, sdp, false) && fits(whep, Method::Post, sdp, false));
    assert!(fits(whep, Method::Post, sdp, true) && fits(whep, Method::Post, None, true));
    assert!(!fits(whip, Method::Post, sdp, true) && !fits(whip, Method::Post, trickle, false));
    assert!(fits(whip, Method::Patch, trickle, false) && fits(whep, Method::Patch, sdp, false));
    assert!(!fits(whip, Method::Patch, trickle, true) && !fits(whip, Method::Patch, None, false));
    assert!(!fits(whip, Method::Post, Some("text/html"), false) && !fits(whip, Method::Post, None, false));
    assert!(fits(whip, Method::Delete, None, true) && fits(whip, Method::Options, None, true));
    assert!(!fits(whip, Method::Delete, sdp, false));
    assert_eq!(check_body(whip, Method::Post, None, false), Err(Refusal::BadRequest));
}

#[test]
fn a_node_gets_the_request_id_that_a_client_need_not_repeat() {
    let post = read("POST", "/live/whep/endpoint/s?requestId=r1&host=10.0.0.7").unwrap();
    assert_eq!(post.with_request_id("/live/whep/resource/s".into()), "/live/whep/resource/s?requestId=r1");
    assert_eq!(post.with_request_id("/r?a=b".into()), "/r?a=b&requestId=r1");
    assert_eq!(post.with_request_id("/r?requestId=other".into()), "/r?requestId=other");
    let publisher = read("POST", "/live/whip/endpoint/s?requestId=r1&host=10.0.0.7").unwrap();
    assert_eq!(publisher.with_request_id("/r".into()), "/r");
}
