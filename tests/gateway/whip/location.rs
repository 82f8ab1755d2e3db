//! `Location`: no node address, no mixed content and no foreign host leaves the gateway, whatever a node sends.

use crate::harness::whip::{ANSWER, FORMS, delete, patch, post};
use crate::harness::{Reply, TestBed, eventually};

#[test]
fn every_location_of_a_node_becomes_a_working_path_on_the_gateway() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let ip = bed.ip(1);
    for (given, expected) in [
        ("/live/whip/resource/stream1".to_owned(), "/live/whip/resource/stream1"),
        (
            "/live/whip/resource/1b4e-28ba?host=10.0.0.7".to_owned(),
            "/live/whip/resource/1b4e-28ba?host=10.0.0.7",
        ),
        (format!("http://{ip}:5080/live/whip/resource/x"), "/live/whip/resource/x"),
        (format!("https://{ip}/live/whip/resource/x?a=b"), "/live/whip/resource/x?a=b"),
        ("HTTP://10.0.0.99:5080/live/whip/resource/x".to_owned(), "/live/whip/resource/x"),
        ("https://gateway.test:8443/live/whip/resource/x".to_owned(), "/live/whip/resource/x"),
        ("http://[fd00::7]:5080/live/whip/resource/x".to_owned(), "/live/whip/resource/x"),
        ("live/whip/resource/x".to_owned(), "/live/whip/resource/x"),
        ("../resource/x".to_owned(), "/live/whip/resource/x"),
        ("/other/path".to_owned(), "/other/path"),
        ("/live/whip/resource/b\u{fc}hne 1".to_owned(), "/live/whip/resource/b%C3%BChne%201"),
        (format!("http://{ip}:5080/live/whip/resource/\u{5bae}"), "/live/whip/resource/%E5%AE%AE"),
    ] {
        node.answer("POST ", Reply::created(&given, ANSWER));
        for form in FORMS {
            let created = bed.created(&post(&form.endpoint("whip", "s", ip, "")));
            created.assert_names_no_node(ip);
            let location = created.location().to_owned();
            assert!(!location.contains("10.0.0") && !location.contains("fd00:"), "{given}: {location}");
            assert!(
                location.starts_with("/as/v1/proxy/whip/live/s")
                    || location.starts_with("/live/whip/resource/s")
            );
            assert_eq!(bed.exchange(&patch(&location)).status(), 204, "{form:?}: {given} became {location}");
            assert_eq!(node.last().line(), format!("PATCH {expected}"), "{form:?}: {given}");
            assert_eq!(bed.exchange(&delete(&location)).status(), 200);
            assert_eq!(node.last().line(), format!("DELETE {expected}"), "{form:?}: {given}");
        }
    }
}

#[test]
fn without_a_usable_location_the_usual_path_is_used() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let head = "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nContent-Length: 4\r\nLocation: ";
    let latin_1 = [head.as_bytes(), b"/live/whip/resource/b\xfchne\r\n\r\nv=0\n"].concat();
    for reply in [
        Reply::typed(201, "application/sdp", ANSWER),
        Reply::created("", ANSWER),
        Reply::created("/live/whip/resource/a", ANSWER).field("Location", "/live/whip/resource/b"),
        Reply::created("//b\u{fc}hne.example/x", ANSWER),
        Reply::raw(latin_1),
    ] {
        node.answer("POST ", reply);
        for form in FORMS {
            let created = bed.created(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
            assert_eq!(bed.exchange(&delete(created.location())).status(), 200);
            assert_eq!(node.last().line(), "DELETE /live/whip/resource/s", "{form:?}");
        }
    }
}

#[test]
fn an_invalid_location_is_refused_and_its_session_deleted() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let ip = bed.ip(1);
    for given in [
        "//evil.example/x".to_owned(),
        "httpfoo".to_owned(),
        "http:/x".to_owned(),
        "http://".to_owned(),
        "javascript:alert(1)".to_owned(),
        format!("ftp://{ip}/x"),
        format!("http://user@{ip}/x"),
        "/live/../../x".to_owned(),
        "/x#y".to_owned(),
        "?x=y".to_owned(),
        "/live\\x".to_owned(),
        "\\\\evil.example\\x".to_owned(),
    ] {
        node.answer("POST ", Reply::created(&given, ANSWER));
        for form in FORMS {
            let response = bed.exchange(&post(&form.endpoint("whip", "s", ip, "")));
            assert_eq!(response.status(), 502, "{given}: {response:?}");
            response.assert_refusal(502, "origin_bad_handshake");
            response.assert_names_no_node(ip);
            assert_eq!(response.field("location"), None);
        }
    }
    eventually("the session is deleted at its usual path", || {
        let lines = node.lines();
        let count = |method: &str| lines.iter().filter(|line| line.starts_with(method)).count();
        assert!(count("DELETE ") <= count("POST "), "{lines:?}");
        count("DELETE ") + 1 >= count("POST ")
    });
    let deleted = node.lines().into_iter().filter(|line| line.starts_with("DELETE "));
    deleted.for_each(|line| {
        assert_eq!(line.split('?').next(), Some("DELETE /live/whip/resource/s"));
    });
}

#[test]
fn only_a_new_session_has_a_location() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let ip = bed.ip(1);
    let foreign = format!("http://{ip}:5080/elsewhere");
    for status in [200, 204, 400, 404, 409, 500] {
        let reply = Reply::empty(status).field("Location", &foreign);
        for method in ["PATCH ", "DELETE ", "OPTIONS "] {
            node.answer(method, reply.clone());
        }
        let created = bed.created(&post(&FORMS[0].endpoint("whip", "s", ip, "")));
        for request in [
            crate::harness::Request::new("OPTIONS", &FORMS[0].endpoint("whip", "s", ip, "")),
            patch(created.location()),
            delete(created.location()),
        ] {
            let response = bed.exchange(&request);
            assert_eq!(response.status(), status);
            response.assert_names_no_node(ip);
        }
    }
}

#[test]
fn redirects_of_a_node_are_not_passed() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let ip = bed.ip(1);
    for status in [301, 302, 303, 307, 308] {
        let reply = Reply::typed(status, "text/html", format!("<a href=\"http://{ip}/\">here</a>"));
        node.answer("POST ", reply.field("Location", &format!("http://{ip}:5080/live/whip/endpoint/s")));
        for form in FORMS {
            let response = bed.exchange(&post(&form.endpoint("whip", "s", ip, "")));
            response.assert_names_no_node(ip);
            assert_eq!(response.status(), 502, "{response:?}");
        }
    }
}
