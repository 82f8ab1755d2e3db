//! WHIP and pages of other web origins: preflights, and that every answer can be read by the page that asked, and by no
//! other.

use crate::harness::whip::{FORMS, Form, delete, empty_post, patch, post};
use crate::harness::{Reply, Request, Response, TestBed};
use crate::questions::answers::SUBSCRIBE;

const PAGE: &str = "https://app.example";
const OTHER: &str = "https://second.example";

fn bed_with_pages() -> TestBed {
    TestBed::with(|config, _| {
        config.set("cors.allow_origins", vec![PAGE, OTHER]);
        config.set("limits.body_max", "8KiB");
    })
}

/// What a browser sends before the first request that is not a simple one.
fn preflight(target: &str, method: &str) -> Request {
    Request::new("OPTIONS", target)
        .with("Access-Control-Request-Method", method)
        .with("Access-Control-Request-Headers", "content-type")
}

/// The elements of a field that is a list, in lower case.
#[track_caller]
fn list(response: &Response, name: &str) -> Vec<String> {
    let value = response.field(name).unwrap_or_else(|| panic!("{name}: {response:?}"));
    value.split(',').map(|word| word.trim().to_ascii_lowercase()).collect()
}

/// Checks that this page, and no other, may read this answer and all the fields that it needs.
#[track_caller]
fn assert_readable(response: &Response, page: &str) {
    assert_eq!(response.field("access-control-allow-origin"), Some(page), "{response:?}");
    assert!(list(response, "vary").contains(&"origin".to_owned()), "{response:?}");
    assert_eq!(response.field("access-control-allow-credentials"), None);
    let exposed = list(response, "access-control-expose-headers");
    for name in [
        "location",
        "link",
        "session-host",
        "etag",
        "accept-patch",
        "retry-after",
        "access-control-allow-methods",
        "x-tidegate-session",
    ] {
        assert!(exposed.contains(&name.to_owned()), "{name}: {exposed:?}");
    }
}

#[test]
fn a_preflight_is_answered_by_the_gateway() {
    let bed = bed_with_pages();
    let node = bed.whip_node(1);
    for form in FORMS {
        for kind in ["whip", "whep"] {
            let endpoint = form.endpoint(kind, "s", bed.ip(1), "&signal=true");
            let resource = form.resource(kind, "s", bed.ip(1), "");
            let cases = [(&endpoint, "POST"), (&resource, "PATCH"), (&resource, "DELETE")];
            for (target, method) in cases {
                for page in [PAGE, OTHER, "https://gateway.test:8443"] {
                    let response = bed.exchange(&preflight(target, method).by_page(page));
                    assert!(matches!(response.status(), 200 | 204), "{response:?}");
                    assert_eq!(response.field("access-control-allow-origin"), Some(page));
                    assert!(list(&response, "vary").contains(&"origin".to_owned()));
                    let methods = list(&response, "access-control-allow-methods");
                    assert!(methods.contains(&method.to_ascii_lowercase()), "{target}: {methods:?}");
                    let headers = list(&response, "access-control-allow-headers");
                    assert!(headers.contains(&"content-type".to_owned()), "{headers:?}");
                    assert!(response.body.is_empty());
                }
            }
        }
    }
    assert_eq!((bed.manager.dials(), node.dials()), (0, 0));
}

#[test]
fn a_preflight_allows_the_fields_that_other_clients_send() {
    let bed = bed_with_pages();
    let endpoint = Form::Proxy.endpoint("whip", "s", bed.ip(1), "");
    let request = preflight(&endpoint, "PATCH")
        .instead("Access-Control-Request-Headers", "authorization,content-type,if-match")
        .by_page(PAGE);
    let response = bed.exchange(&request);
    let headers = list(&response, "access-control-allow-headers");
    for name in ["authorization", "content-type", "if-match", "etag"] {
        assert!(headers.contains(&name.to_owned()), "{headers:?}");
    }
}

#[test]
fn a_preflight_allows_the_configured_fields() {
    let bed = TestBed::with(|config, _| {
        config.set("cors.allow_origins", vec![PAGE]);
        config.set("cors.allow_headers", vec!["baggage", "sentry-trace", "traceparent"]);
    });
    let whip = Form::Proxy.endpoint("whip", "s", bed.ip(1), "");
    for (target, method) in [(whip.as_str(), "POST"), (SUBSCRIBE, "GET")] {
        let request = preflight(target, method)
            .instead("Access-Control-Request-Headers", "baggage,content-type,sentry-trace,traceparent")
            .by_page(PAGE);
        let headers = list(&bed.exchange(&request), "access-control-allow-headers");
        for name in ["baggage", "sentry-trace", "traceparent", "content-type", "authorization"] {
            assert!(headers.contains(&name.to_owned()), "{target}: {headers:?}");
        }
        let foreign = request.instead("Origin", "https://evil.example");
        assert_eq!(bed.exchange(&foreign).field("access-control-allow-headers"), None);
    }
}

#[test]
fn allowed_pages_may_send_credentials_if_that_is_configured() {
    let bed = TestBed::with(|config, _| {
        config.set("cors.allow_origins", vec![PAGE]);
        config.set("cors.allow_credentials", true);
    });
    let _node = bed.whip_node(1);
    let endpoint = Form::Proxy.endpoint("whip", "s", bed.ip(1), "");
    for request in [preflight(&endpoint, "POST"), post(&endpoint), Request::get("/nowhere")] {
        for (page, allowed) in [(PAGE, Some("true")), ("https://evil.example", None)] {
            let response = bed.exchange(&request.clone().by_page(page));
            assert_eq!(response.field("access-control-allow-credentials"), allowed, "{page}: {response:?}");
        }
    }
}

#[test]
fn pages_of_a_domain_and_of_an_app_may_be_allowed() {
    let (domain, app) = ("https://*.example.com", "capacitor://localhost");
    let bed = TestBed::with(|config, _| config.set("cors.allow_origins", vec![domain, app]));
    let _node = bed.whip_node(1);
    let endpoint = Form::Proxy.endpoint("whip", "s", bed.ip(1), "");
    for page in ["https://app.example.com", "https://a.b.example.com", app] {
        assert_readable(&bed.created(&post(&endpoint).by_page(page)), page);
    }
    for page in [
        "https://example.com",
        "https://evilexample.com",
        "https://app.example.com.evil.example",
        "https://app.example.com:444",
        "http://app.example.com",
        "ionic://localhost",
    ] {
        bed.exchange(&post(&endpoint).by_page(page)).assert_refusal(403, "cross_site");
    }
}

#[test]
fn a_real_options_names_the_methods_of_the_session() {
    let bed = bed_with_pages();
    let _node = bed.whip_node(1);
    for form in FORMS {
        let endpoint = form.endpoint("whip", "s", bed.ip(1), "");
        let created = bed.created(&post(&endpoint).by_page(PAGE));
        for target in [endpoint.as_str(), created.location()] {
            let response = bed.exchange(&Request::new("OPTIONS", target).by_page(PAGE));
            assert_eq!(response.status(), 204, "{target}");
            // as a library reads it: split at commas, and nothing trimmed
            let methods = response.field("access-control-allow-methods").expect("the methods");
            assert!(methods.split(',').any(|method| method == "PATCH"), "{methods}");
            assert_readable(&response, PAGE);
        }
    }
}

#[test]
fn a_preflight_of_a_foreign_page_permits_nothing() {
    let bed = bed_with_pages();
    let node = bed.whip_node(1);
    for form in FORMS {
        for page in ["https://evil.example", "http://app.example", "https://app.example:444", "null"] {
            let target = form.endpoint("whip", "s", bed.ip(1), "");
            let response = bed.exchange(&preflight(&target, "POST").by_page(page));
            assert_eq!(response.field("access-control-allow-origin"), None, "{response:?}");
        }
    }
    assert_eq!((bed.manager.dials(), node.dials()), (0, 0));
}

#[test]
fn an_options_without_the_preflight_fields_reaches_the_node() {
    let bed = bed_with_pages();
    let node = bed.whip_node(1);
    for form in FORMS {
        let request = Request::new("OPTIONS", &form.endpoint("whip", "s", bed.ip(1), "")).by_page(PAGE);
        let response = bed.exchange(&request);
        assert_eq!(response.status(), 204);
        assert_readable(&response, PAGE);
    }
    assert_eq!(node.count(), 3);
}

#[test]
fn every_answer_of_a_session_can_be_read_by_its_page() {
    let bed = bed_with_pages();
    let node = bed.whip_node(1);
    let theirs = |reply: Reply| {
        reply
            .field("Access-Control-Allow-Origin", "*")
            .field("Access-Control-Allow-Credentials", "true")
            .field("Access-Control-Expose-Headers", "X-Theirs")
            .field("Access-Control-Allow-Methods", "TRACE")
            .field("Vary", "Accept")
    };
    node.answer("POST ", theirs(Reply::created("/live/whip/resource/s", "v=0")));
    node.answer("PATCH ", theirs(Reply::empty(204)));
    node.answer("DELETE ", theirs(Reply::empty(200)));
    node.answer("OPTIONS ", theirs(Reply::empty(204)));
    for form in FORMS {
        for page in [PAGE, OTHER] {
            let endpoint = form.endpoint("whip", "s", bed.ip(1), "");
            let options = bed.exchange(&Request::new("OPTIONS", &endpoint).by_page(page));
            let created = bed.created(&post(&endpoint).by_page(page));
            let patched = bed.exchange(&patch(created.location()).by_page(page));
            let deleted = bed.exchange(&delete(created.location()).by_page(page));
            for response in [options, created, patched, deleted] {
                assert!(matches!(response.status(), 200 | 201 | 204), "{response:?}");
                assert_readable(&response, page);
                assert!(!response.all("access-control-allow-methods").contains(&"TRACE"), "{response:?}");
            }
        }
    }
}

#[test]
fn every_refusal_can_be_read_by_its_page() {
    let bed = bed_with_pages();
    let node = bed.whip_node(1);
    let ip = bed.ip(1);
    node.answer("/refused?", Reply::typed(406, "text/plain", "no"));
    let long = "x".repeat(9 << 10);
    let dead = format!("/as/v1/proxy/whip/live/s?host={}", bed.ip(2));
    bed.manager.answer("/missing", Reply::manager_error(404));
    let whip = |rest: &str| format!("/as/v1/proxy/whip/{rest}");
    for (request, status) in [
        (post("/nowhere"), 404),
        (Request::get(&Form::Proxy.endpoint("whip", "s", ip, "")), 405),
        (post(&whip("live/s?nodeGroup=undefined")), 400),
        (post(&whip("live/s?nodeGroup=ng1&host=169.254.169.254")), 403),
        (post(&whip("secret/s?nodeGroup=ng1")), 403),
        (post(&whip("live/missing?nodeGroup=ng1")), 404),
        (post(&whip("live/refused?host=IP&x=y").replace("IP", &ip.to_string())), 406),
        (empty_post(&whip("live/s?nodeGroup=ng1")), 400),
        (delete("/live/whip/resource/unknown"), 404),
        (post(&dead), 502),
        (Request::new("POST", &whip("live/s?nodeGroup=ng1")).body("application/sdp", &long), 413),
    ] {
        let response = bed.exchange(&request.by_page(PAGE));
        assert_eq!(response.status(), status, "{response:?}");
        assert_readable(&response, PAGE);
    }
}

#[test]
fn requests_of_a_foreign_page_are_refused() {
    let bed = bed_with_pages();
    let node = bed.whip_node(1);
    let created = bed.created(&post(&Form::Direct.endpoint("whip", "s", bed.ip(1), "")));
    let asked = (bed.manager.count(), node.count());
    for page in ["https://evil.example", "http://app.example", "https://app.example.evil", "null"] {
        for form in FORMS {
            let endpoint = form.endpoint("whip", "s", bed.ip(1), "");
            for request in [
                post(&endpoint),
                Request::new("OPTIONS", &endpoint),
                patch(created.location()),
                delete(created.location()),
            ] {
                let response = bed.exchange(&request.by_page(page));
                response.assert_refusal(403, "cross_site");
                assert_eq!(response.field("access-control-allow-origin"), None);
                assert!(list(&response, "vary").contains(&"origin".to_owned()), "{response:?}");
            }
        }
    }
    assert_eq!((bed.manager.count(), node.count()), asked);
}

#[test]
fn a_client_without_a_web_origin_is_served_without_cors() {
    let bed = TestBed::with(|config, _| {
        config.set("cors.allow_origins", vec![PAGE]);
        // this key applies to WebSockets only
        config.set("cors.allow_missing", false);
    });
    let _node = bed.whip_node(1);
    let created = bed.created(&post(&Form::Direct.endpoint("whip", "s", bed.ip(1), "")));
    assert_eq!(created.field("access-control-allow-origin"), None);
    assert_eq!(bed.exchange(&delete(created.location())).status(), 200);
}

#[test]
fn by_default_only_pages_of_the_same_host_are_served() {
    let bed = TestBed::start();
    let _node = bed.whip_node(1);
    let endpoint = Form::Proxy.endpoint("whip", "s", bed.ip(1), "");
    let own = bed.created(&post(&endpoint).by_page("https://gateway.test:8443"));
    assert_readable(&own, "https://gateway.test:8443");
    bed.exchange(&post(&endpoint).by_page(PAGE)).assert_refusal(403, "cross_site");
}

#[test]
fn all_web_origins_may_be_allowed() {
    let bed = TestBed::with(|config, _| config.set("cors.allow_origins", vec!["*"]));
    let _node = bed.whip_node(1);
    for page in ["https://any.example", "null"] {
        let request = post(&Form::Proxy.endpoint("whip", "s", bed.ip(1), "")).by_page(page);
        let allowed = bed.created(&request).field("access-control-allow-origin").map(str::to_owned);
        assert!(allowed.as_deref() == Some("*") || allowed.as_deref() == Some(page), "{allowed:?}");
    }
}

#[test]
fn a_page_over_the_limits_can_read_its_refusal() {
    let bed = TestBed::with(|config, _| {
        config.set("cors.allow_origins", vec![PAGE]);
        config.set("limits.sessions_per_ip", 1);
    });
    let _node = bed.whip_node(1);
    let mut first = bed.client();
    let request = post(&Form::Proxy.endpoint("whip", "s", bed.ip(1), "")).by_page(PAGE);
    assert_eq!(first.exchange(&request).status(), 201);
    let response = bed.exchange(&request);
    response.assert_refusal(429, "too_many");
    assert!(response.field("retry-after").is_some());
    assert_readable(&response, PAGE);
}
