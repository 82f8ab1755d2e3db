//! Clients name the machine to dial, and so does the stream manager: nobody is dialled but nodes that may be, however a
//! machine is spelt, whoever names it, and wherever it is said.
//!
//! `world` has eyes on everybody else: on loopback, and between network namespaces where every address leads somewhere and
//! the kernel's own counters tell of each attempt. In every test the node is dialled now and then, so that eyes that see
//! nothing would be noticed.

use crate::town::whip::{SDP, delete, patch, post};
use crate::town::{Link, Reply, Request, Response};
use std::net::{IpAddr, Ipv4Addr};
use world::World;

mod spellings;
mod world;

/// Addresses that no client gets anywhere, of each kind: this machine, this network, metadata services, everybody at once,
/// private networks, strangers.
const V4: [&str; 15] = [
    "127.0.0.1",
    "127.127.1.2",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "10.0.0.5",
    "172.17.0.1",
    "192.168.1.1",
    "203.0.113.7",
];
const V6: [&str; 12] = [
    "::1",
    "::",
    "fe80::1",
    "ff02::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "fd00::1",
    "2001:db8::5",
    "ffff::1",
];

/// Where a client may say a host; the value goes where the H is.
const DOORS: [(&str, &str); 7] = [
    ("WS", "/streammanager/?id=s&host=H&app=live"),
    ("WS", "/as/v1/proxy/ws/publish/live/s?nodeGroup=ng1&host=H"),
    ("POST", "/as/v1/proxy/whip/live/s?nodeGroup=ng1&host=H"),
    ("POST", "/live/whip/endpoint/s?host=H"),
    ("POST", "/streammanager/whep/endpoint/s?host=H&app=live"),
    ("DELETE", "/live/whip/resource/s?host=H"),
    ("PATCH", "/as/v1/proxy/whep/live/s~0123456789abcdef0123456789abcdef?host=H"),
];

fn request((method, target): (&str, &str), host: &str) -> Request {
    let target = target.replace('H', host);
    match method {
        "WS" => Request::upgrade(&target),
        "POST" => post(&target),
        "PATCH" => patch(&target),
        _ => delete(&target),
    }
}

/// Refused for what it says, before anybody was asked or dialled.
#[track_caller]
fn assert_refused(response: &Response, what: &str) {
    let code = response.json()["code"].as_str().unwrap_or_default().to_owned();
    let words =
        ["bad_host", "origin_not_admitted", "script_leftover", "duplicate_param", "bad_params", "bad_target"];
    assert!(words.contains(&code.as_str()), "{what}: {response:?}");
    assert!(matches!(response.status(), 400 | 403), "{what}: {response:?}");
}

/// The node is dialled through each door: it hangs up, and the client is told so.
#[track_caller]
fn dial_the_node(world: &World, client: &mut Option<Link>) -> usize {
    for door in DOORS {
        let response = world.ask(client, &request(door, &world.node.ip().to_string()));
        assert_eq!(response.status(), 502, "{door:?}: {response:?}");
    }
    DOORS.len()
}

/// Every spelling of everybody whom this world must not dial.
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

#[test]
fn no_spelling_of_an_address_leads_anywhere() {
    for world in World::all("all spellings of all addresses", |_| ()) {
        let mut client = None;
        let spellings = forbidden(&world);
        assert!(spellings.len() > 2000, "{} spellings", spellings.len());
        for (n, spelling) in spellings.iter().enumerate() {
            let host = spellings::escaped(spelling);
            // each through the usual door, and through one of the others
            for door in [DOORS[0], DOORS[1 + n % (DOORS.len() - 1)]] {
                let response = world.ask(&mut client, &request(door, &host));
                assert_refused(&response, &format!("{door:?} {}", spelling.escape_ascii()));
            }
        }
        let dials = dial_the_node(&world, &mut client);
        world.assert_only_the_node_was_dialled(dials);
        assert_eq!(world.manager().count(), 0, "the stream manager was not asked about any of them");
    }
}

#[test]
fn no_prefix_is_wide_enough_for_what_is_denied() {
    let wide = |config: &mut crate::town::Config| config.set("origins.networks", vec!["0.0.0.0/0", "::/0"]);
    for world in World::all("denied classes in the widest prefix", wide) {
        let mut client = None;
        let good = world.node.ip().to_string();
        // strangers are at home in such a prefix
        let denied = V4[..11].iter().chain(&V6[..9]).map(|text| text.parse().unwrap());
        for base in denied.chain(world.denied.iter().copied()) {
            let spellings = match base {
                IpAddr::V4(base) => spellings::of_v4(base, &good),
                IpAddr::V6(base) => {
                    spellings::of_v6(base, &good, true).into_iter().map(String::into_bytes).collect()
                }
            };
            for (n, spelling) in spellings.iter().enumerate() {
                let door = DOORS[n % DOORS.len()];
                let response = world.ask(&mut client, &request(door, &spellings::escaped(spelling)));
                assert_refused(&response, &format!("{door:?} {}", spelling.escape_ascii()));
            }
        }
        // and so is the node, unless it is on loopback, which no prefix lifts
        let dials = if world.node.ip().is_loopback() { 0 } else { dial_the_node(&world, &mut client) };
        world.assert_only_the_node_was_dialled(dials);
    }
}

#[test]
fn a_host_is_what_the_parameter_host_says_and_nothing_else() {
    for world in World::all("other places for a host", |_| ()) {
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
                let response = world.ask(&mut client, &Request::upgrade(&target));
                assert_eq!(response.status(), 502, "the node, and nobody else: {key}: {response:?}");
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
                let response = world.ask(&mut client, &Request::upgrade(&target).with(field, bad));
                assert_eq!(response.status(), 502, "{field}: {response:?}");
                dials += 1;
            }
        }
        for host in ["169.254.169.254", "127.0.0.1:5080", "[::1]:5080", "metadata.google.internal"] {
            let target = format!("/streammanager/?id=s&host={good}&app=live");
            let response = world.ask(&mut client, &Request::upgrade(&target).instead("Host", host));
            assert_eq!(response.status(), 502, "{host}: {response:?}");
            dials += 1;
        }
        world.assert_only_the_node_was_dialled(dials);
        assert_eq!(world.manager().count(), 0);
    }
}

/// Answers of a stream manager that name `bad` in every way that some reader would take.
fn lies(bad: &str, good: &str) -> Vec<Reply> {
    let json = |body: String| Reply::json(200, body);
    // without brackets an address of IPv6 and a port are another address
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

/// The same as redirects, and as fields that lead on.
fn redirects(bad: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for place in [
        format!("http://{bad}:5080/"),
        format!("//{bad}:80/x"),
        "/streammanager/api/4.0/admin/event".to_owned(),
    ] {
        for status in [300, 301, 302, 303, 304, 305, 307, 308] {
            replies.push(Reply::json(status, "{}").field("Location", &place));
        }
        replies.push(Reply::json(200, "{}").field("Location", &place).field("Content-Location", &place));
        replies.push(
            Reply::json(200, "{}")
                .field("Refresh", &format!("0;url={place}"))
                .field("Alt-Svc", "h3=\":5080\""),
        );
        replies.push(Reply::json(401, "{}").field("WWW-Authenticate", "Basic").field("Location", &place));
        replies.push(Reply::json(407, "{}").field("Proxy-Authenticate", "Basic"));
        replies.push(Reply::raw(format!(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nLocation: {place}\r\n\r\n"
        )));
    }
    replies
}

#[test]
fn a_stream_manager_that_lies_leads_nowhere() {
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
                let response = world.ask(&mut client, &ask);
                assert!(!matches!(response.status(), 101 | 300..=399), "{bad} {m}: {response:?}");
                for field in ["location", "content-location", "refresh", "alt-svc"] {
                    assert_eq!(response.field(field), None, "{bad} {m}: {response:?}");
                }
                questions += 1;
            }
            let named = request(DOORS[0], &spellings::escaped(bad.as_bytes()));
            world.ask(&mut client, &named).assert_refusal(403, "origin_not_admitted");
        }
    }
    assert_eq!(world.manager().count(), questions, "each question once, and nothing followed");
    assert!(world.manager().lines().iter().all(|line| !line.contains("admin")));
    let dials = dial_the_node(&world, &mut client);
    world.assert_only_the_node_was_dialled(dials);
}

#[test]
fn a_node_that_redirects_leads_nowhere() {
    let town = crate::town::Town::open();
    let node = town.whip_node(1);
    let stranger = town.node(20);
    for status in [300, 301, 302, 303, 304, 307, 308] {
        for place in
            [format!("http://{}:5080/live/whip/endpoint/s", stranger.ip()), "//169.254.169.254/".to_owned()]
        {
            node.answer("", Reply::empty(status).field("Location", &place));
            let refused = town.refused(&post("/live/whip/endpoint/s").with("Content-Language", SDP));
            refused.assert_refusal(502, "origin_bad_handshake");
            town.refused(&Request::upgrade(&town.socket_target(1)))
                .assert_refusal(502, "origin_bad_handshake");
        }
    }
    assert_eq!((node.count(), stranger.dials()), (7 * 2 * 2, 0));
}

#[test]
fn nobody_is_learned_by_what_a_client_asks_for() {
    for world in World::all("names that look like answers", |_| ()) {
        let mut client = None;
        // a stream manager that repeats what it was asked for, as JSON wants it
        let stranger = "203.0.113.7";
        let names = [
            stranger.to_owned(),
            "serverAddress".to_owned(),
            format!("serverAddress%22:%22{stranger}"),
            format!("x%22,%22serverAddress%22:%22{stranger}"),
            format!("serverAddress={stranger}"),
        ];
        for name in &names {
            let said = percent_encoding::percent_decode_str(name).decode_utf8().unwrap().into_owned();
            for (n, body) in [
                serde_json::json!({"name": said, "scope": said, "serverAddress": world.node.ip().to_string()}),
                serde_json::json!([{"name": said, said.clone(): stranger, "note": format!("serverAddress {stranger}")}]),
                serde_json::json!({"errorMessage": said, "serverAddress": {"serverAddress": stranger}}),
            ].into_iter().enumerate() {
                // a name of ours is a key of its own; only `serverAddress` itself would be one that counts
                if n == 1 && said == "serverAddress" {
                    continue;
                }
                world.manager().answer("", Reply::json(200, body.to_string()));
                for target in [format!("/streammanager/api/4.0/event/live/{name}?action=broadcast&x={n}"),
                               format!("/streammanager/api/4.0/event/{name}/s?action=subscribe&x={n}"),
                               format!("/as/v1/streams/stream/ng1/subscribe/live/{name}?x={n}")] {
                    assert_eq!(world.ask(&mut client, &Request::get(&target)).status(), 200);
                }
                let response = world.ask(&mut client, &request(DOORS[0], stranger));
                response.assert_refusal(403, "origin_not_admitted");
            }
        }
        let dials = dial_the_node(&world, &mut client);
        world.assert_only_the_node_was_dialled(dials);
    }
}
