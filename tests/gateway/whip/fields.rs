//! Which fields of WHIP and WHEP pass to the node and back, and which do not.

use crate::harness::whip::{ANSWER, FORMS, Form, ICE, SDP, TRICKLE, delete, post};
use crate::harness::{Reply, TestBed};

#[test]
fn the_node_gets_the_clients_address_and_only_permitted_fields() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    for form in FORMS {
        let mut client = bed.client_builder().from(bed.workspace.client_ip(1)).connect_tls();
        let port = client.tcp().local_addr().unwrap().port().to_string();
        let request = post(&form.endpoint("whip", "s", bed.ip(1), ""))
            .by_page("https://gateway.test:8443")
            .with("User-Agent", "Mozilla/5.0 (iPhone)")
            .with("Accept", "application/sdp")
            .with("Accept-Encoding", "gzip, br")
            .with("If-Match", "\"tag\"")
            .with("Authorization", "Bearer jwt")
            .with("Cookie", "a=b")
            .with("Referer", "https://gateway.test:8443/page")
            .with("X-Forwarded-For", "6.6.6.6")
            .with("Forwarded", "for=6.6.6.6")
            .with("Via", "1.1 x")
            .with("X-Real-IP", "6.6.6.6")
            .with("Connection", "keep-alive, X-Hop")
            .with("X-Hop", "1")
            .with("Keep-Alive", "timeout=5")
            .with("Proxy-Authorization", "Basic x")
            .with("TE", "trailers");
        let created = client.exchange(&request);
        assert_eq!(created.status(), 201, "{created:?}");
        let asked = node.last();
        for (name, value) in [
            ("host", format!("{}:5080", bed.ip(1))),
            ("user-agent", "Mozilla/5.0 (iPhone)".to_owned()),
            ("accept", "application/sdp".to_owned()),
            ("accept-encoding", "identity".to_owned()),
            ("if-match", "\"tag\"".to_owned()),
            ("content-type", SDP.to_owned()),
            ("x-forwarded-for", bed.workspace.client_ip(1).to_string()),
            ("x-forwarded-for-meta-port", port),
            ("x-forwarded-for-meta-secure", "true".to_owned()),
        ] {
            assert_eq!(asked.field(name), Some(value.as_str()), "{name}: {asked:?}");
        }
        for name in
            ["cookie", "origin", "referer", "forwarded", "via", "x-real-ip", "x-hop", "keep-alive", "te"]
        {
            assert_eq!(asked.field(name), None, "{asked:?}");
        }
        assert_eq!(asked.field("proxy-authorization"), None);
        let expected = (form == Form::Proxy).then_some("Bearer jwt");
        assert_eq!(asked.field("authorization"), expected, "{form:?}");
    }
}

#[test]
fn the_client_gets_only_permitted_fields() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let created = Reply::created("/live/whip/resource/s", ANSWER)
        .field("ETag", "\"38sdf4fdsf54:EsAw\"")
        .field("Accept-Patch", TRICKLE)
        .field("Link", ICE)
        .field("Set-Cookie", "JSESSIONID=1")
        .field("Server", &format!("Red5/{}", bed.ip(1)))
        .field("X-Node", &bed.ip(1).to_string())
        .field("Content-Location", &format!("http://{}:5080/x", bed.ip(1)))
        .field("Access-Control-Allow-Origin", "*")
        .field("Access-Control-Allow-Credentials", "true")
        .field("Access-Control-Expose-Headers", "X")
        .field("Keep-Alive", "timeout=1");
    node.answer("POST ", created);
    for form in FORMS {
        let response = bed.created(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
        assert_eq!(response.field("etag"), Some("\"38sdf4fdsf54:EsAw\""));
        assert_eq!(response.field("accept-patch"), Some(TRICKLE));
        assert_eq!(response.field("link"), Some(ICE));
        for name in ["set-cookie", "server", "x-node", "content-location", "keep-alive"] {
            assert_eq!(response.field(name), None, "{response:?}");
        }
        for name in ["access-control-allow-origin", "access-control-allow-credentials"] {
            assert_eq!(
                response.field(name),
                None,
                "a request without an Origin gets no CORS fields: {response:?}"
            );
        }
        response.assert_names_no_node(bed.ip(1));
    }
}

#[test]
fn large_fields_pass_or_are_refused_and_are_never_lost() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let endpoint = Form::Proxy.endpoint("whip", "s", bed.ip(1), "");
    for size in [4000, 4097, 7000] {
        let token = format!("Bearer {}", "x".repeat(size));
        bed.created(&post(&endpoint).with("Authorization", &token));
        assert!(node.last().field("authorization") == Some(&token), "{size}");
    }
    let count = node.count();
    let token = format!("Bearer {}", "x".repeat(9000));
    bed.exchange(&post(&endpoint).with("Authorization", &token)).assert_refusal(431, "head_too_large");
    assert_eq!(node.count(), count);
    for size in [4097, 7000, 12_000] {
        let link = format!("<turn:turn.example>; rel=\"ice-server\"; credential=\"{}\"", "x".repeat(size));
        node.answer("POST ", Reply::created("/live/whip/resource/s", ANSWER).field("Link", &link));
        assert!(bed.created(&post(&endpoint)).field("link") == Some(&link), "{size}");
    }
}

#[test]
fn a_user_agent_beyond_ascii_keeps_its_visible_part() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let bytes = post(&Form::Direct.endpoint("whip", "s", bed.ip(1), "")).with("User-Agent", "Caf#/1 (iPad)");
    for letter in ["\u{e9}".as_bytes(), b"\xe9", "\u{1f4f7}".as_bytes()] {
        let bytes = bytes.bytes();
        let mark = bytes.iter().position(|byte| *byte == b'#').unwrap();
        let mut client = bed.client();
        client.send(&[&bytes[..mark], letter, &bytes[mark + 1..]].concat());
        assert_eq!(client.read_response().status(), 201);
        assert_eq!(node.last().field("user-agent"), Some("Caf/1 (iPad)"));
    }
}

#[test]
fn secrets_of_ice_servers_and_accounts_are_not_logged() {
    let bed = TestBed::with(|config, _| {
        config.set("log.level", "trace");
        config.set("log.access", "stderr");
    });
    let _node = bed.whip_node(1);
    let secrets = "&ice-username=hush-one&ice-credential=hush-two&password=hush-three&token=hush-four";
    let request = post(&Form::Proxy.endpoint("whip", "seen-stream", bed.ip(1), secrets));
    let created = bed.created(&request.with("Authorization", "Bearer hush-five"));
    bed.exchange(&delete(created.location()));
    crate::harness::eventually("the access log", || bed.gateway.stderr().contains("seen-stream"));
    assert!(!bed.gateway.stderr().contains("hush"), "{}", bed.gateway.stderr());
}

#[test]
fn the_origin_field_that_a_node_gets_is_the_configured_one() {
    let page = "https://gateway.test:8443";
    for (configured, seen) in [
        ("none", None),
        ("client", Some(page.to_owned())),
        ("https://fixed.example", Some("https://fixed.example".to_owned())),
        ("node", Some("http://NODE:5080".to_owned())),
    ] {
        let bed = TestBed::with(|config, _| config.set("origins.origin_header", configured));
        let node = bed.whip_node(1);
        let seen = seen.map(|seen| seen.replace("NODE", &bed.ip(1).to_string()));
        bed.created(&post(&Form::Proxy.endpoint("whip", "s", bed.ip(1), "")).by_page(page));
        assert_eq!(node.last().field("origin"), seen.as_deref(), "{configured}");
    }
}
