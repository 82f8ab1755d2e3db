//! Server-side request forgery: clients and the stream manager name the machine to dial, and only admitted nodes are
//! dialled, whatever the spelling of the address and wherever in a request or answer it is.
//!
//! `world` watches all other addresses: on loopback, and in network namespaces where every address is reachable and the
//! kernel counts each attempt. In every test the node is dialled now and then, which proves that the watch works.

use crate::harness::whip::{delete, patch, post};
use crate::harness::{Connection, Request, Response};
use world::World;

mod client_hosts;
mod lying_peers;
mod rebinding;
mod spellings;
mod world;

/// Addresses that no client may reach, of each kind: this machine, this network, metadata services, broadcast, private
/// networks, and unknown hosts.
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

/// The requests in which a client may name a host; the value goes where the H is.
const ROUTES: [(&str, &str); 7] = [
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

/// Checks that the request was refused for its host, before the manager was asked or a node dialled.
#[track_caller]
fn assert_refused(response: &Response, what: &str) {
    let code = response.json()["code"].as_str().unwrap_or_default().to_owned();
    let words =
        ["bad_host", "origin_not_admitted", "script_leftover", "duplicate_param", "bad_params", "bad_target"];
    assert!(words.contains(&code.as_str()), "{what}: {response:?}");
    assert!(matches!(response.status(), 400 | 403), "{what}: {response:?}");
}

/// Dials the node through each route. It hangs up, and the client gets a 502. Returns the number of dials.
#[track_caller]
fn dial_the_node(world: &World, client: &mut Option<Connection>) -> usize {
    for route in ROUTES {
        let response = world.exchange(client, &request(route, &world.node.ip().to_string()));
        assert_eq!(response.status(), 502, "{route:?}: {response:?}");
    }
    ROUTES.len()
}
