//! Stream managers and nodes that name a forbidden address or redirect to one.

use super::world::World;
use super::{ROUTES, dial_the_node, request, spellings};
use crate::harness::whip::{SDP, post};
use crate::harness::{Reply, Request};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Answers of a stream manager that name `bad` in every way that some parser would accept.
fn lies(bad: &str, good: &str) -> Vec<Reply> {
    let json = |body: String| Reply::json(200, body);
    // without brackets an IPv6 address with a port is another address
    let bracketed = if bad.contains(':') { format!("[{bad}]") } else { bad.to_owned() };
    let named = |address: &str| format!(r#"{{"name":"s","scope":"/live","serverAddress":"{address}"}}"#);
    vec![
        json(named(bad)),
        json(format!("[{}]", named(bad))),
        json(format!("[{},{}]", named(bad), named(bad))),
        json(named(&format!("{bracketed}:5080"))),
        json(named(&format!("http://{bad}/"))),
        json(named(&format!("{good}@{bad}"))),
        json(named(&format!(" {bad}"))),
        json(named(&format!("[{bad}]"))),
        json(named(&format!("{bad}.nip.io"))),
        json(named("localhost")),
        json(format!(r#"{{"server\u0041ddress":"{bad}"}}"#)),
        json(format!(r#"{{"serverAddress":"{good}","serverAddress":"{bad}"}}"#)),
        json(format!(r#"{{"serverAddress":["{bad}"]}}"#)),
        json(format!(r#"{{"serverAddress":{{"serverAddress":"{bad}"}}}}"#)),
        json(format!(r#"{{"data":{{"serverAddress":"{bad}"}}}}"#)),
        json(format!(r#"[[{}]]"#, named(bad))),
        json(format!(r#"{{"serverAddress":{}}}"#, u32::from(Ipv4Addr::LOCALHOST))),
        json(format!(r#"{{"ServerAddress":"{bad}","serveraddress":"{bad}","server_address":"{bad}"}}"#)),
        json(format!(r#"{{"serverAddress":"{bad}"}}{{"serverAddress":"{good}"}}"#)),
        json(format!(r#"{{"serverAddress":"{bad}""#)),
        json(format!("\u{feff}{}", named(bad))),
        Reply::typed(200, "text/html", named(bad)),
        Reply::typed(200, "application/problem+json", named(bad)),
        Reply::json(201, named(bad)),
        Reply::json(206, named(bad)),
        Reply::json(404, named(bad)),
        Reply::json(500, named(bad)),
        json(named(bad)).chunked(),
        json(named(bad)).field("Content-Encoding", "gzip"),
    ]
}

/// Redirects to `bad`, and fields that lead to other hosts.
fn redirects(bad: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for location in [
        format!("http://{bad}:5080/"),
        format!("//{bad}:80/x"),
        "/streammanager/api/4.0/admin/event".to_owned(),
    ] {
        for status in [300, 301, 302, 303, 304, 305, 307, 308] {
            replies.push(Reply::json(status, "{}").field("Location", &location));
        }
        replies
            .push(Reply::json(200, "{}").field("Location", &location).field("Content-Location", &location));
        replies.push(
            Reply::json(200, "{}")
                .field("Refresh", &format!("0;url={location}"))
                .field("Alt-Svc", "h3=\":5080\""),
        );
        replies.push(Reply::json(401, "{}").field("WWW-Authenticate", "Basic").field("Location", &location));
        replies.push(Reply::json(407, "{}").field("Proxy-Authenticate", "Basic"));
        replies.push(Reply::raw(format!(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nLocation: {location}\r\n\r\n"
        )));
    }
    replies
}

#[test]
fn no_answer_of_a_lying_manager_makes_the_gateway_dial() {
    let world = World::best("a stream manager that lies", |config| config.set("origins.attempts", 1));
    let (mut client, mut questions) = (None, 0);
    let good = world.node.ip().to_string();
    let everywhere = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "::ffff:127.0.0.1", "fd00:ec2::254"];
    let bad = everywhere.map(str::to_owned).into_iter().chain(world.denied.iter().map(IpAddr::to_string));
    for (n, bad) in bad.enumerate() {
        let redirects = if n < 2 { redirects(&bad) } else { Vec::new() };
        for (m, reply) in lies(&bad, &good).into_iter().chain(redirects).enumerate() {
            world.manager().answer("", reply);
            let stream = format!("s{n}-{m}");
            for ask in [
                Request::get(&format!("/streammanager/api/4.0/event/live/{stream}?action=broadcast")),
                Request::upgrade(&format!("/as/v1/proxy/ws/subscribe/live/{stream}?nodeGroup=ng1")),
                Request::upgrade(&format!("/as/v1/proxy/ws/publish/live/{stream}?nodeGroup=ng1")),
                post(&format!("/live/whip/endpoint/{stream}-whip")),
                post(&format!("/as/v1/proxy/whep/live/{stream}-whep?nodeGroup=ng1")),
            ] {
                let response = world.exchange(&mut client, &ask);
                assert!(!matches!(response.status(), 101 | 300..=399), "{bad} {m}: {response:?}");
                for field in ["location", "content-location", "refresh", "alt-svc"] {
                    assert_eq!(response.field(field), None, "{bad} {m}: {response:?}");
                }
                questions += 1;
            }
            let named = request(ROUTES[0], &spellings::escaped(bad.as_bytes()));
            world.exchange(&mut client, &named).assert_refusal(403, "origin_not_admitted");
        }
    }
    // beside them the gateway asks questions of its own, while so many fail
    let lines = world.manager().lines();
    let asked: BTreeSet<&String> = lines.iter().filter(|line| !line.contains("tidegate-probe")).collect();
    assert_eq!(asked.len(), questions, "each question is asked, and no redirect is followed");
    assert!(world.manager().lines().iter().all(|line| !line.contains("admin")));
    let dials = dial_the_node(&world, &mut client);
    world.assert_only_the_node_was_dialled(dials);
}

#[test]
fn a_redirect_of_a_node_is_not_followed() {
    let bed = crate::harness::TestBed::start();
    let node = bed.whip_node(1);
    let stranger = bed.node(20);
    for status in [300, 301, 302, 303, 304, 307, 308] {
        for location in
            [format!("http://{}:5080/live/whip/endpoint/s", stranger.ip()), "//169.254.169.254/".to_owned()]
        {
            node.answer("", Reply::empty(status).field("Location", &location));
            let refused = bed.exchange(&post("/live/whip/endpoint/s").with("Content-Language", SDP));
            refused.assert_refusal(502, "origin_bad_handshake");
            bed.exchange(&Request::upgrade(&bed.websocket_target(1)))
                .assert_refusal(502, "origin_bad_handshake");
        }
    }
    assert_eq!((node.count(), stranger.dials()), (7 * 2 * 2, 0));
}
