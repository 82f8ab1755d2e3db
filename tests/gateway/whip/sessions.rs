//! WHIP and WHEP: all three forms of path lead to the same node, and both sides receive what the other one sends.

use crate::harness::whip::{
    ANSWER, CANDIDATES, FORMS, Form, ICE, OFFER, SDP, TRICKLE, delete, empty_post, patch, post,
};
use crate::harness::{NodeListener, Reply, Request, TestBed};

#[test]
fn a_publisher_completes_a_session_in_each_form() {
    for form in FORMS {
        let bed = TestBed::start();
        let node = bed.whip_node(1);
        let endpoint = form.endpoint("whip", "stream1", bed.ip(1), "&mode=live&username=u");
        let mut client = bed.client();
        let options = client.exchange(&Request::new("OPTIONS", &endpoint));
        assert_eq!(options.status(), 204, "{options:?}");
        assert_eq!(options.field("link"), Some(ICE));
        let created = client.exchange(&post(&endpoint));
        assert_eq!((created.status(), created.text().as_str()), (201, ANSWER), "{created:?}");
        assert_eq!(created.field("content-type"), Some(SDP));
        assert!(created.field("x-tidegate-session").is_some());
        let location = created.location().to_owned();
        assert_eq!(client.exchange(&patch(&location)).status(), 204);
        assert_eq!(client.exchange(&delete(&location)).status(), 200);
        let signal = if form == Form::Direct { "signal=true&" } else { "" };
        let target = format!("/live/whip/endpoint/stream1?{signal}mode=live&username=u");
        assert_eq!(
            node.lines(),
            [
                format!("OPTIONS {target}"),
                format!("POST {target}"),
                "PATCH /live/whip/resource/stream1".to_owned(),
                "DELETE /live/whip/resource/stream1".to_owned(),
            ],
            "{form:?}"
        );
        let bodies: Vec<String> = node.received().iter().map(|asked| asked.text()).collect();
        assert_eq!(bodies, ["", OFFER, CANDIDATES, ""]);
    }
}

#[test]
fn a_player_completes_a_session_in_each_form() {
    for form in FORMS {
        let bed = TestBed::start();
        let node = bed.whip_node(1);
        let endpoint = form.endpoint("whep", "stream1", bed.ip(1), "&requestId=subscriber-1b31");
        let mut client = bed.client();
        assert_eq!(client.exchange(&Request::new("OPTIONS", &endpoint)).status(), 204);
        let created = client.exchange(&empty_post(&endpoint));
        assert_eq!((created.status(), created.text().as_str()), (201, OFFER), "{created:?}");
        // SDKs append the parameters of their endpoint to a relative Location
        let (_, query) = endpoint.split_once('?').unwrap();
        let resource = format!("{}?{query}", created.location());
        let answer = Request::new("PATCH", &resource).body(SDP, ANSWER);
        assert_eq!(client.exchange(&answer).status(), 204);
        assert_eq!(client.exchange(&patch(&resource)).status(), 204);
        assert_eq!(client.exchange(&delete(&resource)).status(), 200);
        let asked = node.received();
        assert_eq!(asked.len(), 5);
        assert_eq!((asked[1].body.len(), asked[1].field("content-length")), (0, Some("0")));
        assert_eq!((asked[2].text().as_str(), asked[2].field("content-type")), (ANSWER, Some(SDP)));
        assert_eq!((asked[3].text().as_str(), asked[3].field("content-type")), (CANDIDATES, Some(TRICKLE)));
        for asked in &asked[2..] {
            let target = asked.head.target();
            assert!(target.starts_with("/live/whep/resource/stream1?"), "{target}");
            assert!(target.contains("requestId=subscriber-1b31"), "{target}");
            assert!(!["host=", "nodeGroup=", "app="].iter().any(|ours| target.contains(ours)), "{target}");
        }
    }
}

#[test]
fn each_generation_of_managers_is_asked_on_its_own_route() {
    for (endpoint, question) in [
        (
            "/as/v1/proxy/whip/live/room/s?nodeGroup=ng1&region=us&strict=true&a=b",
            "/as/v1/streams/stream/ng1/publish/live/room/s?region=us&strict=true",
        ),
        ("/as/v1/proxy/whep/live/s?nodeGroup=ng1&requestId=x", "/as/v1/streams/stream/ng1/subscribe/live/s"),
        (
            "/live/room/whip/endpoint/s?signal=true",
            "/streammanager/api/4.0/event/live/room/s?action=broadcast",
        ),
        (
            "/live/whep/endpoint/s?requestId=x&region=us",
            "/streammanager/api/4.0/event/live/s?action=subscribe&region=us",
        ),
    ] {
        let bed = TestBed::start();
        let _node = bed.whip_node(1);
        bed.created(&post(endpoint));
        assert_eq!(bed.manager.lines(), [format!("GET {question}")], "{endpoint}");
    }
}

#[test]
fn the_app_may_have_a_context_in_each_form() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let ip = bed.ip(1);
    for endpoint in [
        "/as/v1/proxy/whip/live/room/sub/s%201?nodeGroup=ng1".to_owned(),
        "/live/room/sub/whip/endpoint/s%201".to_owned(),
        format!("/streammanager/whip/endpoint/s%201?host={ip}&app=live%2Froom%2Fsub"),
        format!("/streammanager/room/sub/whip/endpoint/s%201?host={ip}&app=live"),
    ] {
        bed.created(&post(&endpoint));
        assert_eq!(node.last().line(), "POST /live/room/sub/whip/endpoint/s%201", "{endpoint}");
    }
}

#[test]
fn unknown_parameters_reach_the_node_byte_for_byte() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let opaque = "username=u&password=p%20a+ss&x=y&q=%e3%82%ab&flag&token=a:b=c";
    for form in FORMS {
        bed.created(&post(&form.endpoint("whip", "s", bed.ip(1), &format!("&{opaque}"))));
        let target = node.last().head.target().to_owned();
        assert!(target.ends_with(opaque), "{form:?}: {target}");
    }
}

#[test]
fn unusual_characters_pass_or_are_refused_consistently() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let statuses: Vec<u16> =
        (0..4).map(|_| bed.exchange(&post("/live/whip/endpoint/s?a={%22x%22:1}")).status()).collect();
    assert!(statuses.iter().all(|status| *status == statuses[0]), "{statuses:?}");
    match statuses[0] {
        400 => assert_eq!(node.dials(), 0),
        _ => assert_eq!(node.last().head.target(), "/live/whip/endpoint/s?a={%22x%22:1}"),
    }
}

#[test]
fn an_options_request_reaches_the_node_and_returns_its_ice_servers() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let other = "<turn:turn.example?transport=udp>; rel=\"ice-server\"; username=\"u\"; credential=\"YQ==\"";
    node.answer(
        "OPTIONS ",
        Reply::empty(200).field("Link", ICE).field("Link", other).field("Accept-Post", SDP),
    );
    for form in FORMS {
        let request = Request::new("OPTIONS", &form.endpoint("whip", "s", bed.ip(1), "&signal=true"));
        // a page of the gateway's own web origin sends one without a preflight
        let request = request.by_page("https://gateway.test:8443");
        let response = bed.exchange(&request);
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(response.all("link"), [ICE, other]);
        assert_eq!(response.field("accept-post"), Some(SDP));
    }
    assert_eq!(node.count(), 3);
}

#[test]
fn session_host_holds_the_node_that_the_client_shall_name() {
    let bed = TestBed::start();
    let _node = bed.whip_node(1);
    let endpoint = Form::Proxy.endpoint("whip", "s", bed.ip(1), "");
    let ip = bed.ip(1).to_string();
    for request in [Request::new("OPTIONS", &endpoint), post(&endpoint)] {
        let response = bed.exchange(&request);
        assert_eq!(response.field("session-host"), Some(ip.as_str()), "{response:?}");
    }
}

#[test]
fn every_status_of_the_node_passes_with_its_body() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    for status in [200, 400, 401, 404, 405, 406, 409, 412, 417, 500, 503] {
        let body = format!("because {status}");
        let mut reply = Reply::typed(status, "text/plain", body.as_str());
        if status == 401 {
            reply = reply.field("WWW-Authenticate", "Bearer realm=\"x\"");
        }
        node.answer("POST ", reply);
        for form in FORMS {
            let response = bed.exchange(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
            assert_eq!((response.status(), response.text().as_str()), (status, body.as_str()), "{form:?}");
            assert_eq!(response.field("content-type"), Some("text/plain"));
            assert!(response.field("x-tidegate-session").is_some());
            assert_eq!(response.field("www-authenticate").is_some(), status == 401);
        }
    }
}

#[test]
fn each_route_has_its_methods_and_each_body_its_type() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let ip = bed.ip(1);
    let get = bed.get(&Form::Proxy.endpoint("whip", "s", ip, ""));
    get.assert_refusal(405, "method_not_allowed");
    for method in ["OPTIONS", "POST", "PATCH", "DELETE"] {
        assert!(get.field("allow").is_some_and(|allow| allow.contains(method)), "{get:?}");
    }
    for request in [
        Request::new("PUT", &Form::Proxy.endpoint("whip", "s", ip, "")),
        patch(&Form::Direct.endpoint("whip", "s", ip, "")),
        delete(&Form::Manager.endpoint("whip", "s", ip, "")),
        post(&Form::Direct.resource("whip", "s", ip, "")),
    ] {
        let response = bed.exchange(&request);
        response.assert_refusal(405, "method_not_allowed");
        assert!(response.field("allow").is_some());
    }
    for form in FORMS {
        let (endpoint, whep) = (form.endpoint("whip", "s", ip, ""), form.endpoint("whep", "s", ip, ""));
        for request in [
            empty_post(&endpoint),
            Request::new("POST", &endpoint).body("application/json", "{}"),
            Request::new("POST", &whep).body(TRICKLE, CANDIDATES),
        ] {
            bed.exchange(&request).assert_refusal(400, "bad_request");
        }
    }
    assert_eq!((node.dials(), node.count()), (0, 0));
}

#[test]
fn invalid_requests_are_refused_before_the_manager_is_asked() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let stranger = NodeListener::listen(bed.workspace.node(10));
    let (ip, outside) = (bed.ip(1), stranger.ip());
    for (target, status, code) in [
        (format!("/as/v1/proxy/whip/live/s?nodeGroup=ng1&host={outside}"), 403, "origin_not_admitted"),
        (
            "/as/v1/proxy/whip/live/s?nodeGroup=ng1&host=169.254.169.254".to_owned(),
            403,
            "origin_not_admitted",
        ),
        (format!("/as/v1/proxy/whip/live/s?host={ip}&host={ip}"), 400, "duplicate_param"),
        (format!("/as/v1/proxy/whip/live/s?host={ip}:22"), 400, "bad_host"),
        ("/as/v1/proxy/whip/live/s".to_owned(), 400, "bad_params"),
        ("/as/v1/proxy/whip/live/s?nodeGroup=undefined".to_owned(), 400, "script_leftover"),
        ("/as/v1/proxy/whip/s?nodeGroup=ng1".to_owned(), 400, "bad_target"),
        ("/as/v1/proxy/whip/live/../s?nodeGroup=ng1".to_owned(), 400, "bad_target"),
        ("/as/v1/proxy/whip/live/a%2Fb?nodeGroup=ng1".to_owned(), 400, "bad_target"),
        ("/as/v1/proxy/whip/admin/s?nodeGroup=ng1".to_owned(), 403, "app_not_allowed"),
        ("/as/v1/proxy/whip/live/s?nodeGroup=ng1&accessToken=x".to_owned(), 403, "admin_parameter"),
        ("/secret/whip/endpoint/s".to_owned(), 403, "app_not_allowed"),
        ("/live/whip/endpoint/s?username=cluster-restreamer".to_owned(), 403, "reserved_account"),
        ("/live/whip/endpoint/a%00b".to_owned(), 400, "bad_target"),
        (format!("/streammanager/whip/endpoint/s?host={outside}&app=live"), 403, "origin_not_admitted"),
        (format!("/streammanager/whip/endpoint/s?host={ip}"), 400, "bad_params"),
        (format!("/streammanager/whip/endpoint/s?host={ip}&app=streammanager"), 403, "app_not_allowed"),
        ("/live/whip/s".to_owned(), 404, "no_such_route"),
        ("/live/wish/endpoint/s".to_owned(), 404, "no_such_route"),
        ("/whip/endpoint/s".to_owned(), 404, "no_such_route"),
        ("/as/v1/proxy/forward/?target=http%3A%2F%2F169.254.169.254%2F".to_owned(), 404, "no_such_route"),
        ("/as/v1/proxy/forward/live/s?nodeGroup=ng1".to_owned(), 404, "no_such_route"),
        ("/as/v1/auth/login".to_owned(), 404, "no_such_route"),
        ("/as/v1/admin/rtcproxy".to_owned(), 404, "no_such_route"),
    ] {
        let response = bed.exchange(&post(&target));
        assert_eq!(response.status(), status, "{target}: {response:?}");
        response.assert_refusal(status, code);
        response.assert_names_no_node(outside);
    }
    assert_eq!((bed.manager.dials(), node.dials(), stranger.dials()), (0, 0, 0));
}

#[test]
fn a_node_that_the_client_names_is_used_without_a_question() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let target = format!(
        "/as/v1/proxy/whip/live/stream1?signal=true&nodeGroup=ng1&mode=live&transport=udp&keyFramerate=3000&host={}",
        bed.ip(1)
    );
    bed.created(&post(&target));
    let expected = "POST /live/whip/endpoint/stream1?signal=true&mode=live&transport=udp&keyFramerate=3000";
    assert_eq!(node.lines(), [expected]);
    assert_eq!(bed.manager.dials(), 0);
}

#[test]
fn whip_and_whep_sessions_are_sessions_from_the_post_to_the_delete() {
    let bed = TestBed::start();
    let _node = bed.whip_node(1);
    let mut client = bed.client();
    let kinds = [("whip", "publisher"), ("whep", "subscriber")];
    let created = kinds.map(|(kind, _)| {
        let created = client.exchange(&post(&Form::Proxy.endpoint(kind, "s", bed.ip(1), "")));
        assert_eq!(created.status(), 201);
        created.location().to_owned()
    });
    for (kind, role) in kinds {
        let labels = [("route", kind), ("role", role)];
        assert_eq!(bed.gateway.metric("tidegate_sessions_active", &labels), 1.0);
        assert_eq!(bed.gateway.metric("tidegate_sessions_total", &labels), 1.0);
    }
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[("outcome", "connected")]), 2.0);
    assert_eq!(bed.gateway.metric("tidegate_http_connections_active", &[]), 1.0);
    drop(client);
    bed.gateway.wait_for_metric("tidegate_http_connections_active", &[], 0.0);
    for (location, (kind, _)) in created.iter().zip(kinds) {
        assert_eq!(bed.gateway.metric("tidegate_sessions_active", &[("route", kind)]), 1.0, "it goes on");
        assert_eq!(bed.exchange(&delete(location)).status(), 200);
        assert_eq!(bed.gateway.metric("tidegate_sessions_active", &[("route", kind)]), 0.0);
    }
}

#[test]
fn a_content_type_may_have_parameters_and_capitals() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let endpoint = Form::Proxy.endpoint("whip", "s", bed.ip(1), "");
    for kind in ["Application/SDP", "application/sdp; charset=utf-8", "application/sdp;x=\"y\""] {
        bed.created(&Request::new("POST", &endpoint).body(kind, OFFER));
        assert_eq!(node.last().field("content-type"), Some(kind));
    }
}

#[test]
fn every_status_of_a_resource_passes_and_only_a_successful_delete_ends_it() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    for form in FORMS {
        let created = bed.created(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
        let location = created.location();
        for status in [200, 400, 401, 405, 409, 412, 417, 500, 503] {
            let reply = Reply::typed(status, "text/plain", "why").field("ETag", "\"2\"");
            node.answer("PATCH ", reply.clone());
            node.answer("DELETE ", reply);
            let patched = bed.exchange(&patch(location).with("If-Match", "\"1\""));
            assert_eq!((patched.status(), patched.text().as_str()), (status, "why"));
            assert_eq!(patched.field("etag"), Some("\"2\""));
            assert_eq!(node.last().field("if-match"), Some("\"1\""));
            if status != 200 {
                assert_eq!(bed.exchange(&delete(location)).status(), status);
            }
        }
        node.answer("DELETE ", Reply::empty(204));
        assert_eq!(bed.exchange(&delete(location)).status(), 204, "the session survives the failures");
        bed.exchange(&delete(location)).assert_refusal(404, "no_such_resource");
    }
}

#[test]
fn a_second_question_mark_is_part_of_the_query() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    bed.created(&post("/live/whip/endpoint/s?flag?signal=true"));
    assert_eq!(node.last().line(), "POST /live/whip/endpoint/s?flag?signal=true");
}

#[test]
fn a_client_without_a_node_group_gets_the_configured_one() {
    let bed = TestBed::with(|config, _| config.set("stream_manager.node_group", "ng7"));
    let _node = bed.whip_node(1);
    for rest in ["", "?nodeGroup=default", "?nodeGroup=ng1"] {
        bed.created(&post(&format!("/as/v1/proxy/whip/live/s{rest}")));
    }
    let question = |group| format!("GET /as/v1/streams/stream/{group}/publish/live/s");
    assert_eq!(bed.manager.lines(), [question("ng7"), question("ng7"), question("ng1")]);
}

#[test]
fn a_client_that_asks_for_close_gets_its_answer_and_the_end() {
    let bed = TestBed::start();
    let _node = bed.whip_node(1);
    let mut client = bed.client();
    let request = post(&Form::Proxy.endpoint("whip", "s", bed.ip(1), "")).with("Connection", "close");
    assert_eq!(client.exchange(&request).status(), 201);
    client.expect_end();
}
