//! PATCH and DELETE reach the node that took the POST, on any connection and with any form of address.

use crate::harness::whip::{ANSWER, FORMS, Form, delete, empty_post, patch, post};
use crate::harness::{Config, Gateway, HttpPeer, Reply, Request, TestBed, eventually};

/// Enough connections that both workers get some.
const CONNECTIONS: usize = 8;

/// Two nodes, each with a resource of its own, for the streams `one` and `two`.
fn two_nodes(bed: &TestBed) -> [HttpPeer; 2] {
    let nodes = [1, 2].map(|n| bed.whip_node(n));
    for (n, stream) in [(1, "one"), (2, "two")] {
        let location = format!("/live/whip/resource/{stream}-at-{n}");
        nodes[n as usize - 1].answer("POST ", Reply::created(&location, "v=0"));
        bed.manager.answer(&format!("/publish/live/{stream}"), Reply::nodes(&[bed.ip(n)]));
        bed.manager.answer(&format!("/event/live/{stream}"), Reply::node(bed.ip(n)));
    }
    nodes
}

#[test]
fn a_location_leads_to_its_node_from_any_connection() {
    for form in FORMS {
        let bed = TestBed::start();
        let nodes = two_nodes(&bed);
        let [one, two] = [(1, "one"), (2, "two")].map(|(n, stream)| {
            let created = bed.created(&post(&form.endpoint("whip", stream, bed.ip(n), "")));
            created.location().to_owned()
        });
        for _ in 0..CONNECTIONS {
            assert_eq!(bed.exchange(&patch(&one)).status(), 204);
            assert_eq!(bed.exchange(&patch(&two)).status(), 204);
        }
        let mut client = bed.client();
        for _ in 0..3 {
            assert_eq!(client.exchange(&patch(&one)).status(), 204);
            assert_eq!(client.exchange(&patch(&two)).status(), 204);
        }
        for (node, name) in nodes.iter().zip(["one-at-1", "two-at-2"]) {
            let patches: Vec<String> = node.lines().into_iter().skip(1).collect();
            assert_eq!(patches.len(), CONNECTIONS + 3, "{form:?}");
            let expected = format!("PATCH /live/whip/resource/{name}");
            assert!(patches.iter().all(|line| *line == expected), "{form:?}: {patches:?}");
        }
    }
}

#[test]
fn a_client_that_ignores_location_is_recognised() {
    for form in [Form::Proxy, Form::Direct] {
        let bed = TestBed::start();
        let [one, two] = two_nodes(&bed);
        for stream in ["one", "two"] {
            bed.created(&post(&form.endpoint("whip", stream, bed.ip(1), "")));
        }
        for _ in 0..CONNECTIONS {
            let resource = form.resource("whip", "one", bed.ip(1), "");
            assert_eq!(bed.exchange(&patch(&resource)).status(), 204, "{form:?}");
        }
        let resource = form.resource("whip", "two", bed.ip(1), "");
        assert_eq!(bed.exchange(&delete(&resource)).status(), 200);
        assert_eq!(one.count(), 1 + CONNECTIONS);
        assert_eq!(one.last().line(), "PATCH /live/whip/resource/one", "{form:?}");
        assert_eq!(two.lines()[1..], ["DELETE /live/whip/resource/two"]);
    }
}

#[test]
fn players_of_one_stream_are_told_apart_by_their_request_id() {
    for form in [Form::Proxy, Form::Direct] {
        let bed = TestBed::start();
        let nodes = [1, 2].map(|n| bed.whip_node(n));
        for (n, id) in [(1, "subscriber-a"), (2, "subscriber-b")] {
            bed.manager.answer("", Reply::nodes(&[bed.ip(n)]));
            // another placement is another question, so no stored answer is used
            let more = format!("&requestId={id}&region=r{n}");
            bed.created(&empty_post(&form.endpoint("whep", "s", bed.ip(n), &more)));
        }
        for _ in 0..CONNECTIONS {
            for (node, id) in nodes.iter().zip(["subscriber-a", "subscriber-b"]) {
                let more = format!("&requestId={id}");
                let before = node.count();
                let response = bed.exchange(&patch(&form.resource("whep", "s", bed.ip(9), &more)));
                assert_eq!(response.status(), 204, "{form:?} {id}: {response:?}");
                assert_eq!(node.count(), before + 1);
                assert!(node.last().line().ends_with(&format!("requestId={id}")), "{:?}", node.last());
            }
        }
        let stranger = form.resource("whep", "s", bed.ip(9), "&requestId=subscriber-c");
        bed.exchange(&patch(&stranger)).assert_refusal(404, "no_such_resource");
    }
}

#[test]
fn the_host_that_the_client_repeats_leads_to_its_node_too() {
    let bed = TestBed::start();
    let nodes = two_nodes(&bed);
    for (n, stream) in [(1, "one"), (2, "two")] {
        let endpoint = Form::Proxy.endpoint("whip", stream, bed.ip(1), "");
        let created = bed.created(&post(&endpoint));
        let host = created.field("session-host").expect("Session-Host").to_owned();
        assert_eq!(host, bed.ip(n).to_string());
        for resource in [
            format!("/as/v1/proxy/whip/live/{stream}?nodeGroup=ng1&host={host}"),
            format!("/as/v1/proxy/whip/live/{stream}?host={host}"),
            format!("{}?nodeGroup=ng1&host={host}", created.location()),
        ] {
            assert_eq!(bed.exchange(&patch(&resource)).status(), 204, "{resource}");
        }
    }
    for ((node, name), secret) in nodes.iter().zip(["one", "two"]).zip(["one-at-1", "two-at-2"]) {
        let paths = [name, name, secret].map(|path| format!("PATCH /live/whip/resource/{path}"));
        assert_eq!(node.lines()[1..], paths, "only a handle is translated");
    }
}

#[test]
fn a_named_host_is_used_although_the_gateway_knows_no_session() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    for (resource, expected) in [
        (Form::Proxy.resource("whip", "s", bed.ip(1), ""), "/live/whip/resource/s".to_owned()),
        (
            Form::Manager.resource("whep", "s", bed.ip(1), "&requestId=x"),
            "/live/whep/resource/s?requestId=x".to_owned(),
        ),
    ] {
        let resource = match resource.contains("host=") {
            true => resource,
            false => format!("{resource}&host={}", bed.ip(1)),
        };
        assert_eq!(bed.exchange(&patch(&resource)).status(), 204, "{resource}");
        assert_eq!(node.last().line(), format!("PATCH {expected}"));
    }
    assert_eq!(bed.manager.dials(), 0);
}

#[test]
fn a_named_host_is_admitted_or_refused_like_any_other() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let created = bed.created(&post(&Form::Proxy.endpoint("whip", "s", bed.ip(1), "")));
    let asked = node.count();
    for host in ["169.254.169.254".to_owned(), bed.ip(10).to_string()] {
        for resource in [
            format!("/as/v1/proxy/whip/live/s?nodeGroup=ng1&host={host}"),
            format!("/live/whip/resource/s?host={host}"),
            format!("{}?host={host}", created.location()),
        ] {
            bed.exchange(&delete(&resource)).assert_refusal(403, "origin_not_admitted");
        }
    }
    let twice = format!("/as/v1/proxy/whip/live/s?host={0}&host={0}", bed.ip(1));
    bed.exchange(&delete(&twice)).assert_refusal(400, "duplicate_param");
    assert_eq!(node.count(), asked);
}

#[test]
fn an_unknown_resource_is_not_found() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let ip = bed.ip(1);
    for resource in [
        Form::Proxy.resource("whip", "s", ip, ""),
        Form::Direct.resource("whip", "s", ip, ""),
        "/live/whep/resource/s?requestId=subscriber-1b31".to_owned(),
        "/live/whip/resource/s~00000000000000000000000000000000".to_owned(),
        "/as/v1/proxy/whip/live/s~00000000000000000000000000000000?nodeGroup=ng1".to_owned(),
    ] {
        for request in [patch(&resource), delete(&resource)] {
            bed.exchange(&request).assert_refusal(404, "no_such_resource");
        }
    }
    assert_eq!((node.dials(), bed.manager.dials()), (0, 0));
    assert_eq!(bed.gateway.metric("tidegate_refusals_total", &[("code", "no_such_resource")]), 10.0);
}

#[test]
fn a_location_leads_to_its_node_however_it_is_escaped() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    node.answer("POST ", Reply::created("/live/whip/resource/other", ANSWER));
    for form in FORMS {
        for (from, to, times) in [("~", "%7E", 2), ("~", "%7e", 2), ("%62", "b", 1), ("a", "%61", 1)] {
            let created = bed.created(&post(&form.endpoint("whip", "a%62~c", bed.ip(1), "")));
            let (path, last) = created.location().rsplit_once('/').unwrap();
            let location = format!("{path}/{}", last.replacen(from, to, times));
            assert_eq!(bed.exchange(&patch(&location)).status(), 204, "{form:?}: {location}");
            assert_eq!(bed.exchange(&Request::new("OPTIONS", &location)).status(), 204, "{location}");
            assert_eq!(bed.exchange(&delete(&location)).status(), 200, "{form:?}: {location}");
            assert_eq!(node.last().line(), "DELETE /live/whip/resource/other", "{form:?}");
        }
    }
}

#[test]
fn a_handle_opens_only_its_own_session() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    let created = bed.created(&post(&Form::Direct.endpoint("whip", "s", bed.ip(1), "")));
    let location = created.location().to_owned();
    let asked = node.count();
    let (_, handle) = location.rsplit_once("/s").expect("the stream's own segment");
    assert!(handle.len() > 16, "the handle is too long to guess: {handle}");
    for other in [
        format!("/live/whip/resource/t{handle}"),
        format!("/live/room/whip/resource/s{handle}"),
        format!("/live/whep/resource/s{handle}"),
        location.replace(handle, &handle.chars().rev().collect::<String>()),
    ] {
        let response = bed.exchange(&delete(&other));
        assert_eq!(response.status(), 404, "{other}: {response:?}");
    }
    assert_eq!(node.count(), asked);
    let again = bed.created(&post(&Form::Direct.endpoint("whip", "s", bed.ip(1), "")));
    assert_ne!(again.location(), location);
}

#[test]
fn a_delete_ends_the_session_for_every_later_request() {
    for form in FORMS {
        let bed = TestBed::start();
        let node = bed.whip_node(1);
        let created = bed.created(&post(&form.endpoint("whip", "s", bed.ip(1), "")));
        let location = created.location();
        assert_eq!(bed.exchange(&delete(location)).status(), 200);
        assert_eq!(node.count(), 2);
        for _ in 0..CONNECTIONS {
            bed.exchange(&patch(location)).assert_refusal(404, "no_such_resource");
            bed.exchange(&delete(location)).assert_refusal(404, "no_such_resource");
        }
        if form != Form::Manager {
            let resource = form.resource("whip", "s", bed.ip(1), "");
            bed.exchange(&delete(&resource)).assert_refusal(404, "no_such_resource");
        }
        assert_eq!(node.count(), 2, "{form:?}");
    }
}

#[test]
fn a_delete_without_the_location_invalidates_the_location_too() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    // the name is all that this node asks for, so a DELETE by the name ends the session
    node.answer("POST ", Reply::created("/live/whip/resource/s", "v=0"));
    let created = bed.created(&post(&Form::Direct.endpoint("whip", "s", bed.ip(1), "")));
    assert_eq!(bed.exchange(&delete("/live/whip/resource/s")).status(), 200);
    bed.exchange(&patch(created.location())).assert_refusal(404, "no_such_resource");
    assert_eq!(node.count(), 2);
}

#[test]
fn a_late_delete_does_not_end_the_next_session() {
    let bed = TestBed::start();
    let [one, two] = [1, 2].map(|n| bed.whip_node(n));
    for (n, node) in [(1, &one), (2, &two)] {
        node.answer("POST ", Reply::created(&format!("/live/whip/resource/s-{n}"), "v=0"));
    }
    let endpoint = Form::Proxy.endpoint("whip", "s", bed.ip(1), "");
    bed.manager_names(1);
    let first = bed.created(&post(&endpoint));
    bed.manager_names(2);
    let second = bed.created(&post(&endpoint));
    // the earlier page leaves late
    assert_eq!(bed.exchange(&delete(first.location())).status(), 200);
    assert_eq!(one.last().line(), "DELETE /live/whip/resource/s-1");
    assert_eq!(bed.exchange(&delete(first.location())).status(), 404);
    assert_eq!(two.count(), 1, "the second session is untouched");
    // a request without a handle means the latest session
    assert_eq!(bed.exchange(&patch(&Form::Proxy.resource("whip", "s", bed.ip(1), ""))).status(), 204);
    assert_eq!(two.last().line(), "PATCH /live/whip/resource/s");
    assert_eq!(bed.exchange(&delete(second.location())).status(), 200);
    assert_eq!(two.last().line(), "DELETE /live/whip/resource/s-2");
}

#[test]
fn a_refused_offer_creates_no_session() {
    let bed = TestBed::start();
    let node = bed.whip_node(1);
    node.answer("POST ", Reply::typed(409, "text/plain", "in use"));
    let response = bed.exchange(&post(&Form::Direct.endpoint("whip", "s", bed.ip(1), "")));
    assert_eq!((response.status(), response.field("location")), (409, None));
    bed.exchange(&delete("/live/whip/resource/s")).assert_refusal(404, "no_such_resource");
}

#[test]
fn a_refused_duplicate_name_leaves_the_existing_session_alone() {
    let bed = TestBed::start();
    let [one, two] = [1, 2].map(|n| bed.whip_node(n));
    two.answer("POST ", Reply::typed(409, "text/plain", "in use"));
    let endpoint = Form::Direct.endpoint("whip", "s", bed.ip(1), "");
    bed.manager_names(1);
    bed.created(&post(&endpoint));
    bed.manager_names(2);
    // the question differs, so that no stored answer is used
    eventually("the other node is asked", || {
        bed.exchange(&post(&format!("{endpoint}&n={}", two.count()))).status() == 409
    });
    assert_eq!(bed.exchange(&delete("/live/whip/resource/s")).status(), 200);
    assert!(one.last().line().starts_with("DELETE "), "{:?}", one.lines());
}

#[test]
fn many_sessions_of_one_stream_are_told_apart() {
    let bed = TestBed::with(|config, _| config.set("answers.subscribe_ttl", "60s"));
    let node = bed.whip_node(1);
    let replies = (0..100).map(|n| Reply::created(&format!("/live/whip/resource/r{n}"), "v=0"));
    node.answer_in_turn("POST ", replies);
    let mut client = bed.client();
    let locations: Vec<String> = (0..100)
        .map(|n| {
            let endpoint = Form::Proxy.endpoint("whep", &format!("s{}", n % 10), bed.ip(1), "");
            let created = client.exchange(&empty_post(&format!("{endpoint}&requestId=r{n}")));
            created.location().to_owned()
        })
        .collect();
    let mut other = bed.client();
    for (n, location) in locations.iter().enumerate() {
        assert_eq!(other.exchange(&delete(location)).status(), 200);
        assert_eq!(node.last().line(), format!("DELETE /live/whip/resource/r{n}?requestId=r{n}"));
    }
}

#[test]
fn after_a_restart_a_named_host_still_leads_a_location_to_its_node() {
    let mut bed = TestBed::start();
    let node = bed.whip_node(1);
    let created = bed.created(&post(&Form::Proxy.endpoint("whip", "s", bed.ip(1), "")));
    bed.gateway.terminate();
    bed.gateway.wait_for_exit();
    let config = Config::new(&bed.workspace);
    bed.gateway = Gateway::start(&bed.workspace, &config);
    let with_host = format!("{}?nodeGroup=ng1&host={}", created.location(), bed.ip(1));
    assert_eq!(bed.exchange(&patch(&with_host)).status(), 204);
    assert_eq!(node.last().line(), "PATCH /live/whip/resource/s");
    bed.exchange(&patch(created.location())).assert_refusal(404, "no_such_resource");
}

#[test]
fn concurrent_sessions_are_told_apart() {
    let bed = TestBed::start();
    let nodes = [1, 2].map(|n| bed.whip_node(n));
    for n in 0..64_usize {
        let at = n % 2;
        let location = format!("/live/whip/resource/s{n}");
        nodes[at].answer(&format!("POST /live/whip/endpoint/s{n}?"), Reply::created(&location, "v=0"));
        let answer = Reply::node(bed.ip(at as u8 + 1));
        bed.manager.answer(&format!("/event/live/s{n}?"), answer);
    }
    std::thread::scope(|scope| {
        for n in 0..64 {
            let bed = &bed;
            scope.spawn(move || {
                let created =
                    bed.created(&post(&Form::Direct.endpoint("whip", &format!("s{n}"), bed.ip(1), "")));
                let location = created.location();
                // every other client ignores Location
                let resource =
                    if n % 4 < 2 { location.to_owned() } else { format!("/live/whip/resource/s{n}") };
                assert_eq!(bed.exchange(&patch(&resource)).status(), 204);
                assert_eq!(bed.exchange(&delete(&resource)).status(), 200);
                assert_eq!(bed.exchange(&delete(location)).status(), 404);
            });
        }
    });
    for (at, node) in nodes.iter().enumerate() {
        let lines = node.lines();
        assert_eq!(lines.len(), 3 * 32);
        for n in (at..64).step_by(2) {
            for method in ["PATCH", "DELETE"] {
                let line = format!("{method} /live/whip/resource/s{n}");
                assert_eq!(lines.iter().filter(|other| **other == line).count(), 1, "{line}");
            }
        }
    }
}

#[test]
fn a_client_that_names_its_node_reaches_it_after_the_node_was_forgotten() {
    let bed = TestBed::with(|config, _| {
        config.set("origins.strict", true);
        config.set("answers.learned_ttl", "300ms");
        config.set("answers.broadcast_ttl", "100ms");
        config.set("answers.subscribe_ttl", "100ms");
    });
    let node = bed.whip_node(1);
    let created = bed.created(&post(&Form::Proxy.endpoint("whip", "s", bed.ip(1), "")));
    let named = format!("host={}", bed.ip(1));
    eventually("the node is forgotten", || {
        bed.exchange(&post(&format!("/live/whip/endpoint/s?{named}"))).status() == 403
    });
    let count = node.count();
    for resource in [format!("{}?{named}", created.location()), format!("/as/v1/proxy/whip/live/s?{named}")] {
        assert_eq!(bed.exchange(&patch(&resource)).status(), 204, "{resource}");
    }
    // a client without a session there gains nothing
    let other = format!("/as/v1/proxy/whip/live/other?{named}");
    bed.exchange(&patch(&other)).assert_refusal(403, "origin_not_admitted");
    assert_eq!(node.count(), count + 2);
}

#[test]
fn the_name_alone_reaches_only_what_it_reaches_at_the_node() {
    for kind in ["whip", "whep"] {
        for form in FORMS {
            let bed = TestBed::start();
            let node = bed.whip_node(1);
            let secret = format!("/live/{kind}/resource/7f3c0d9a");
            node.answer("POST ", Reply::created(&format!("{secret}?token=t"), "v=0"));
            // the node itself knows no session of that name
            for method in ["OPTIONS", "PATCH", "DELETE"] {
                let by_name = format!("{method} /live/{kind}/resource/s");
                node.answer(&by_name, Reply::typed(404, "text/plain", "no such session"));
            }
            let body = if kind == "whip" { post } else { empty_post };
            let created = bed.created(&body(&form.endpoint(kind, "s", bed.ip(1), "")));
            let by_name = form.resource(kind, "s", bed.ip(1), "");
            let with_host = format!("/as/v1/proxy/{kind}/live/s?host={}", bed.ip(1));
            for resource in [by_name.as_str(), &with_host] {
                for request in [patch(resource), delete(resource)] {
                    let response = bed.exchange(&request);
                    assert_eq!(response.status(), 404, "{form:?} {resource}: {response:?}");
                }
            }
            let options = format!("/live/{kind}/resource/s");
            assert_eq!(bed.exchange(&Request::new("OPTIONS", &options)).status(), 404);
            let lines = node.lines();
            assert_eq!(lines.len(), 6, "{lines:?}");
            for line in &lines[1..] {
                let target = line.split(' ').nth(1).expect("a target");
                let path = target.split('?').next().expect("a path");
                assert_eq!(path, format!("/live/{kind}/resource/s"), "{lines:?}");
                assert!(!target.contains("token"), "{lines:?}");
            }
            // the owner's session is still known
            assert_eq!(bed.exchange(&patch(created.location())).status(), 204);
            assert_eq!(bed.exchange(&delete(created.location())).status(), 200);
            assert_eq!(node.last().line(), format!("DELETE {secret}?token=t"));
        }
    }
}

#[test]
fn a_flood_of_sessions_from_one_address_takes_none_from_others() {
    // more than the memory for all WHIP sessions
    const FLOOD: usize = 4400;
    const THREADS: usize = 4;
    let bed = TestBed::with(|config, _| config.set("answers.subscribe_ttl", "60s"));
    let node = bed.whip_node(1);
    let long = "x".repeat(4000);
    node.answer(
        "POST /live/whep/endpoint/s?",
        Reply::created(&format!("/live/whep/resource/s?{long}"), "v=0"),
    );
    let flooder = bed.workspace.client_ip(2);
    let player = bed.workspace.client_ip(3);
    let other_publisher = bed.workspace.client_ip(4);
    let create = |from, request: &Request| {
        let created = bed.client_builder().from(from).connect_tls().exchange(request);
        assert_eq!(created.status(), 201, "{created:?}");
        created.location().to_owned()
    };
    // one publisher has the address of the flood, one has not
    let locations = [
        create(flooder, &post(&Form::Direct.endpoint("whip", "camera", bed.ip(1), ""))),
        create(other_publisher, &post(&Form::Direct.endpoint("whip", "camera2", bed.ip(1), ""))),
        create(player, &empty_post(&Form::Direct.endpoint("whep", "player", bed.ip(1), ""))),
    ];
    let endpoint = Form::Direct.endpoint("whep", "s", bed.ip(1), "");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut client = bed.client_builder().from(flooder).connect_tls();
            let endpoint = &endpoint;
            scope.spawn(move || {
                for n in (thread..FLOOD).step_by(THREADS) {
                    let request = empty_post(&format!("{endpoint}&requestId=r{n}"));
                    assert_eq!(client.exchange(&request).status(), 201);
                }
            });
        }
    });
    for location in locations {
        assert_eq!(bed.exchange(&delete(&location)).status(), 200, "{location}");
    }
}
