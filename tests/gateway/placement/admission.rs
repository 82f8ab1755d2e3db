//! Which nodes may be dialled: those that the stream manager named or the operator listed, and no others.

use crate::harness::{Frame, NodeListener, Reply, Request, TestBed};
use std::net::Ipv6Addr;

const EVENT: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";

fn target(host: &str) -> String {
    format!("/streammanager/?id=stream1&host={host}&app=live")
}

#[test]
fn a_node_that_was_never_named_is_not_dialled() {
    let bed = TestBed::start();
    // node 20 exists and listens, but is neither listed nor learned
    let stranger = bed.node(20);
    bed.exchange(&Request::upgrade(&bed.websocket_target(20))).assert_refusal(403, "origin_not_admitted");
    for host in ["10.0.0.5", "203.0.113.7", "2001:db8::5"] {
        bed.exchange(&Request::upgrade(&target(host))).assert_refusal(403, "origin_not_admitted");
    }
    assert_eq!(stranger.dials(), 0);
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[]), 0.0);
    assert_eq!(bed.gateway.metric("tidegate_refusals_total", &[("code", "origin_not_admitted")]), 4.0);
}

#[test]
fn a_node_learned_on_one_connection_is_dialled_from_any_other() {
    let bed = TestBed::with(|config, _| config.set("origins.strict", true));
    let listener = bed.node(1);
    bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(403, "origin_not_admitted");
    assert_eq!(listener.dials(), 0);
    bed.manager.answer("/stream1", Reply::node(listener.ip()));
    assert_eq!(bed.get(EVENT).status(), 200);
    // enough connections that every worker gets some
    for _ in 0..16 {
        let (mut client, mut node) = bed.relay(&listener);
        client.send_frame(Frame::text("hello"));
        assert_eq!(node.read_frame(), Frame::text("hello"));
    }
    assert_eq!(listener.dials(), 16);
}

#[test]
fn nodes_are_learned_from_every_form_of_answer() {
    let bed = TestBed::with(|config, _| config.set("origins.strict", true));
    let listeners: Vec<_> = (1..=5).map(|n| bed.node(n)).collect();
    let ip = |n: usize| listeners[n - 1].ip();
    let bodies = [
        format!(r#"{{"name":"s","scope":"/live","serverAddress":"{}","region":"r"}}"#, ip(1)),
        format!(r#"{{"name":"s","scope":"live","serverAddress":"{}"}}"#, ip(2)),
        format!(r#"[{{"serverAddress":"{}"}},{{"serverAddress":"{}","streamGuid":"live/s"}}]"#, ip(3), ip(4)),
    ];
    for (n, body) in bodies.into_iter().enumerate() {
        bed.manager.answer(&format!("/s{n}?"), Reply::json(200, body));
        bed.get(&format!("/streammanager/api/4.0/event/live/s{n}?action=broadcast"));
    }
    for listener in &listeners[..4] {
        bed.relay(listener);
    }
    bed.exchange(&Request::upgrade(&bed.websocket_target(5))).assert_refusal(403, "origin_not_admitted");
}

#[test]
fn nodes_are_learned_from_answers_that_are_not_stored_too() {
    let bed = TestBed::with(|config, _| config.set("origins.strict", true));
    let listener = bed.node(1);
    bed.manager.answer("/stream1", Reply::node(listener.ip()));
    assert_eq!(bed.get(&format!("{EVENT}&username=u&password=p")).status(), 200);
    bed.relay(&listener);
}

#[test]
fn nodes_are_learned_from_good_answers_only() {
    let bed = TestBed::with(|config, _| config.set("origins.strict", true));
    let listener = bed.node(1);
    let ip = listener.ip();
    let replies = [
        Reply::json(404, Reply::node(ip).body()),
        Reply::json(500, Reply::node(ip).body()),
        Reply::node(ip).truncated(),
        Reply::json(
            200,
            format!(r#"{{"name":"{ip}","serverAddress":"127.0.0.1","note":"serverAddress {ip}"}}"#),
        ),
        Reply::json(200, format!(r#"{{"serverAddress":"{ip}:22"}}"#)),
        Reply::json(200, format!(r#"{{"serverAddress":"{ip}"#)),
    ];
    for (n, reply) in replies.into_iter().enumerate() {
        bed.manager.answer(&format!("/s{n}?"), reply);
        bed.get(&format!("/streammanager/api/4.0/event/live/s{n}?action=broadcast"));
        bed.exchange(&Request::upgrade(&bed.websocket_target(1))).assert_refusal(403, "origin_not_admitted");
    }
    assert_eq!(listener.dials(), 0);
}

#[test]
fn learned_nodes_are_forgotten_in_time() {
    let bed = TestBed::with(|config, _| {
        config.set("origins.strict", true);
        config.set("answers.learned_ttl", "300ms");
        config.set("answers.broadcast_ttl", "100ms");
        config.set("answers.subscribe_ttl", "100ms");
    });
    let listener = bed.node(1);
    bed.manager.answer("/stream1", Reply::node(listener.ip()));
    bed.get(EVENT);
    bed.relay(&listener);
    crate::harness::eventually("the node is forgotten", || {
        let mut client = bed.client();
        client.send_request(&Request::upgrade(&bed.websocket_target(1)));
        if client.receives_within(std::time::Duration::from_millis(100)) {
            let response = client.read_response();
            response.assert_refusal(403, "origin_not_admitted");
            return true;
        }
        listener.accept().accept_upgrade();
        false
    });
}

#[test]
fn without_learning_only_listed_nodes_are_dialled() {
    let bed = TestBed::with(|config, workspace| {
        config.set("origins.learned", false);
        config.set("origins.networks", vec![workspace.node(1).ip().to_string()]);
    });
    let (listed, named) = (bed.node(1), bed.node(2));
    bed.manager.answer("/stream1", Reply::node(named.ip()));
    assert_eq!(bed.get(EVENT).status(), 200);
    bed.exchange(&Request::upgrade(&bed.websocket_target(2))).assert_refusal(403, "origin_not_admitted");
    assert_eq!(named.dials(), 0);
    bed.relay(&listed);
}

#[test]
fn a_listed_prefix_does_not_admit_denied_addresses() {
    let bed =
        TestBed::with(|config, _| config.set("origins.networks", vec!["127.0.0.0/8", "10.0.0.0/8", "::/0"]));
    let listener = bed.node(1);
    bed.manager.answer("/stream1", Reply::node(listener.ip()));
    assert_eq!(bed.get(EVENT).status(), 200);
    for host in [listener.ip().to_string(), "127.0.0.1".to_owned(), "::1".to_owned(), "%3A%3A1".to_owned()] {
        let response = bed.exchange(&Request::upgrade(&target(&host)));
        response.assert_refusal(403, "origin_not_admitted");
    }
    assert_eq!(listener.dials(), 0);
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[]), 0.0);
}

#[test]
fn denied_addresses_are_not_dialled_even_if_the_manager_names_them() {
    let bed = TestBed::start();
    let unlisted = bed.node(20);
    let unlisted_ip = unlisted.ip().to_string();
    let hosts = [
        unlisted_ip.as_str(),
        "127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:10.0.0.5",
        "64:ff9b::a00:5",
        "2002:a00:5::",
    ];
    for (n, host) in hosts.iter().enumerate() {
        bed.manager.answer(&format!("/s{n}?"), Reply::node(host.parse().unwrap()));
        bed.get(&format!("/streammanager/api/4.0/event/live/s{n}?action=broadcast"));
        let response = bed.exchange(&Request::upgrade(&target(host)));
        assert_eq!(response.status(), 403, "{host}: {response:?}");
        response.assert_refusal(403, "origin_not_admitted");
    }
    assert_eq!(unlisted.dials(), 0);
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[]), 0.0);
}

#[test]
fn every_refusal_of_parameters_comes_before_any_dial() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let ip = listener.ip();
    // where the contract leaves the code open, any refusal with this status will do
    let any = "";
    let cases = [
        (format!("id=s&host={ip}&app=vod"), 403, "app_not_allowed"),
        (format!("id=s&host={ip}&app=streammanager"), 403, "app_not_allowed"),
        (format!("id=s&host={ip}"), 400, any),
        ("id=s&app=live".to_owned(), 400, any),
        (format!("id=s&host={ip}&app=live%2F..%2Fx"), 400, "bad_app"),
        (format!("id=s&host={ip}&app=live/a/b/c/d"), 400, "bad_app"),
        (format!("id=s&host={ip}&host={ip}&app=live"), 400, "duplicate_param"),
        (format!("id=s&Host={ip}&host={ip}&app=live"), 400, any),
        (format!("id=s&host={ip}%3A22&app=live"), 400, "bad_host"),
        (format!("id=s&host={ip}.&app=live"), 400, "bad_host"),
        ("id=s&host=2130706433&app=live".to_owned(), 400, "bad_host"),
        ("id=s&host=0x7f.0.0.1&app=live".to_owned(), 400, "bad_host"),
        ("id=s&host=undefined&app=live".to_owned(), 400, "script_leftover"),
        (format!("id=s&host={ip}&app=null"), 400, "script_leftover"),
        (format!("id=s&host={ip}&app=live&accessToken=x"), 403, "admin_parameter"),
        (format!("id=s&host={ip}&app=live&username=cluster-restreamer"), 403, "reserved_account"),
    ];
    for (query, status, code) in cases {
        let response = bed.exchange(&Request::upgrade(&format!("/streammanager/?{query}")));
        assert_eq!(response.status(), status, "{query}: {response:?}");
        let found = response.json()["code"].as_str().unwrap().to_owned();
        assert!(code == any || code == found, "{query}: {found}");
        response.assert_refusal(status, &found);
    }
    assert_eq!(listener.dials(), 0);
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[]), 0.0);
}

#[test]
fn nodes_with_the_same_port_are_told_apart_by_address() {
    let bed = TestBed::start();
    let (one, two) = (bed.node(1), bed.node(2));
    let (mut first, mut node_one) = bed.relay(&one);
    let (mut second, mut node_two) = bed.relay(&two);
    first.send_frame(Frame::text("one"));
    second.send_frame(Frame::text("two"));
    assert_eq!(node_one.read_frame(), Frame::text("one"));
    assert_eq!(node_two.read_frame(), Frame::text("two"));
    assert_eq!((one.dials(), two.dials()), (1, 1));
}

#[test]
fn a_node_on_ipv6_may_be_written_in_every_standard_form() {
    let listener = NodeListener::listen((Ipv6Addr::LOCALHOST, 0).into());
    let bed = TestBed::with(|config, _| {
        config.set("origins.port", i64::from(listener.port()));
        config.set("origins.networks", vec!["::1"]);
    });
    for host in ["::1", "[::1]", "%3A%3A1", "%5B::1%5D", "0:0:0:0:0:0:0:1"] {
        let (mut client, mut node, head) = bed.pending_upgrade(&listener, &Request::upgrade(&target(host)));
        assert_eq!(head.field("host"), Some(format!("[::1]:{}", listener.port()).as_str()), "{host}");
        node.answer_upgrade(&head, "");
        assert_eq!(client.read_response().status(), 101);
    }
}

#[test]
fn a_denied_node_does_not_hide_an_admitted_one() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let denied = "169.254.169.254".parse().unwrap();
    bed.manager.answer("", Reply::nodes(&[denied, bed.ip(1)]));
    let target = "/as/v1/proxy/ws/subscribe/live/s?nodeGroup=ng1";
    let (mut client, mut node, head) = bed.pending_upgrade(&listener, &Request::upgrade(target));
    node.answer_upgrade(&head, "");
    assert_eq!(client.read_response().status(), 101);
    bed.manager.answer("/alone", Reply::nodes(&[denied]));
    let target = "/as/v1/proxy/ws/subscribe/live/alone?nodeGroup=ng1";
    bed.exchange(&Request::upgrade(target)).assert_refusal(403, "origin_not_admitted");
}

#[test]
fn a_configured_name_leads_to_no_node_outside_of_strict() {
    let address = "127.0.0.1";
    let bed = TestBed::with(|config, _| {
        config.set("origins.strict", true);
        config.set("origins.names", vec!["localhost"]);
        config.set("origins.networks", vec![address]);
    });
    bed.exchange(&Request::upgrade(&target("localhost"))).assert_refusal(403, "origin_not_admitted");
    assert_eq!(bed.gateway.metric("tidegate_origin_dials_total", &[]), 0.0);
    bed.manager.answer("", Reply::node(address.parse().expect("an address")));
    bed.get(EVENT);
    // nothing listens there
    bed.exchange(&Request::upgrade(&target("localhost"))).assert_refusal(502, "origin_refused");
}
