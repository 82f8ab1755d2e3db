//! Hosts that clients name, in every spelling and in every place of a request.

use super::world::World;
use super::{ROUTES, V4, V6, assert_refused, dial_the_node, request, spellings};
use crate::harness::{Reply, Request};
use std::net::IpAddr;

#[test]
fn no_spelling_of_a_forbidden_address_is_dialled() {
    for world in World::all("all spellings of all addresses", |_| ()) {
        let mut client = None;
        let spellings = forbidden(&world);
        assert!(spellings.len() > 2000, "{} spellings", spellings.len());
        for (n, spelling) in spellings.iter().enumerate() {
            let host = spellings::escaped(spelling);
            // each through the usual route, and through one of the others
            for route in [ROUTES[0], ROUTES[1 + n % (ROUTES.len() - 1)]] {
                let response = world.exchange(&mut client, &request(route, &host));
                assert_refused(&response, &format!("{route:?} {}", spelling.escape_ascii()));
            }
        }
        let dials = dial_the_node(&world, &mut client);
        world.assert_only_the_node_was_dialled(dials);
        assert_eq!(world.manager().count(), 0, "the stream manager was not asked about any of them");
    }
}

#[test]
fn no_listed_prefix_admits_denied_addresses() {
    let wide =
        |config: &mut crate::harness::Config| config.set("origins.networks", vec!["0.0.0.0/0", "::/0"]);
    for world in World::all("denied classes in the widest prefix", wide) {
        let mut client = None;
        let good = world.node.ip().to_string();
        // without the last ones, which are ordinary addresses that such a prefix admits
        let denied = V4[..11].iter().chain(&V6[..9]).map(|text| text.parse().unwrap());
        for base in denied.chain(world.denied.iter().copied()) {
            let spellings = match base {
                IpAddr::V4(base) => spellings::of_v4(base, &good),
                IpAddr::V6(base) => {
                    spellings::of_v6(base, &good, true).into_iter().map(String::into_bytes).collect()
                }
            };
            for (n, spelling) in spellings.iter().enumerate() {
                let route = ROUTES[n % ROUTES.len()];
                let response = world.exchange(&mut client, &request(route, &spellings::escaped(spelling)));
                assert_refused(&response, &format!("{route:?} {}", spelling.escape_ascii()));
            }
        }
        // the node is admitted too, unless it is on loopback, which no prefix admits
        let dials = if world.node.ip().is_loopback() { 0 } else { dial_the_node(&world, &mut client) };
        world.assert_only_the_node_was_dialled(dials);
    }
}

#[test]
fn only_the_host_parameter_names_the_node() {
    for world in World::all("other fields and parameters for a host", |_| ()) {
        let (mut client, mut dials) = (None, 0);
        let good = world.node.ip();
        let keys = [
            "hostname",
            "Host%00",
            "host[]",
            "host.0",
            "x-host",
            "h%D0%BEst",
            "ho%2573t",
            "serverAddress",
            "address",
            "target",
            "url",
            "uri",
            "ip",
            "server",
            "node",
            "endpoint",
            "redirect",
            "callback",
            "forward",
            "origin",
        ];
        for bad in ["169.254.169.254", "127.0.0.1", "[::1]:5080", "http://10.77.2.3:8088/"] {
            for key in keys {
                let target = format!("/streammanager/?id=s&{key}={bad}&host={good}&app=live&{key}={bad}");
                let response = world.exchange(&mut client, &Request::upgrade(&target));
                assert_eq!(response.status(), 502, "only the node is dialled: {key}: {response:?}");
                dials += 1;
            }
            let target = format!("/streammanager/?id=s&host={good}&app=live");
            for field in [
                "X-Forwarded-Host",
                "X-Forwarded-Server",
                "X-Original-Host",
                "X-Host",
                "Forwarded",
                "X-Node",
                "Session-Host",
                "Location",
                "Referer",
                "X-Forwarded-For",
                "True-Client-IP",
                "X-Original-URL",
            ] {
                let response = world.exchange(&mut client, &Request::upgrade(&target).with(field, bad));
                assert_eq!(response.status(), 502, "{field}: {response:?}");
                dials += 1;
            }
        }
        for host in ["169.254.169.254", "127.0.0.1:5080", "[::1]:5080", "metadata.google.internal"] {
            let target = format!("/streammanager/?id=s&host={good}&app=live");
            let response = world.exchange(&mut client, &Request::upgrade(&target).instead("Host", host));
            assert_eq!(response.status(), 502, "{host}: {response:?}");
            dials += 1;
        }
        world.assert_only_the_node_was_dialled(dials);
        assert_eq!(world.manager().count(), 0);
    }
}

#[test]
fn no_node_is_learned_from_the_text_of_a_question() {
    for world in World::all("names that resemble answers", |_| ()) {
        let mut client = None;
        // a stream manager that repeats the client's text, escaped as JSON requires
        let stranger = "203.0.113.7";
        let names = [
            stranger.to_owned(),
            "serverAddress".to_owned(),
            format!("serverAddress%22:%22{stranger}"),
            format!("x%22,%22serverAddress%22:%22{stranger}"),
            format!("serverAddress={stranger}"),
        ];
        for name in &names {
            let text = percent_encoding::percent_decode_str(name).decode_utf8().unwrap().into_owned();
            for (n, body) in [
                serde_json::json!({"name": text, "scope": text, "serverAddress": world.node.ip().to_string()}),
                serde_json::json!([{"name": text, text.clone(): stranger, "note": format!("serverAddress {stranger}")}]),
                serde_json::json!({"errorMessage": text, "serverAddress": {"serverAddress": stranger}}),
            ].into_iter().enumerate() {
                // the client's text is a key here; as `serverAddress` itself it would count
                if n == 1 && text == "serverAddress" {
                    continue;
                }
                world.manager().answer("", Reply::json(200, body.to_string()));
                for target in [format!("/streammanager/api/4.0/event/live/{name}?action=broadcast&x={n}"),
                               format!("/streammanager/api/4.0/event/{name}/s?action=subscribe&x={n}"),
                               format!("/as/v1/streams/stream/ng1/subscribe/live/{name}?x={n}")] {
                    assert_eq!(world.exchange(&mut client, &Request::get(&target)).status(), 200);
                }
                let response = world.exchange(&mut client, &request(ROUTES[0], stranger));
                response.assert_refusal(403, "origin_not_admitted");
            }
        }
        let dials = dial_the_node(&world, &mut client);
        world.assert_only_the_node_was_dialled(dials);
    }
}

/// Every spelling of every address that must not be dialled in this world.
fn forbidden(world: &World) -> Vec<Vec<u8>> {
    let good = world.node.ip().to_string();
    let denied = world.denied.iter().copied();
    let bases = V4.iter().chain(&V6).map(|text| text.parse().unwrap()).chain(denied);
    let mut spellings = spellings::names();
    for base in bases.collect::<std::collections::BTreeSet<IpAddr>>() {
        spellings.extend(match base {
            IpAddr::V4(base) => spellings::of_v4(base, &good),
            IpAddr::V6(base) => {
                spellings::of_v6(base, &good, true).into_iter().map(String::into_bytes).collect()
            }
        });
    }
    spellings
}
