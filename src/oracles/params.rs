//! The oracle of connection parameters: how they are read, what of them a node gets, and which node is dialled.

use std::net::{IpAddr, SocketAddr};

use crate::oracles::reference;
use crate::proto::admission::{self, AdmissionRules, parse_network};
use crate::proto::red5::params::{ConnectionParams, Host};
use crate::proto::red5::rules::ParamRules;

/// The rules under which [`params`] compares; the vectors use them too.
pub fn param_rules() -> ParamRules {
    ParamRules {
        apps: vec!["live".into(), "webrtc".into()],
        names: vec!["node1.example.net".into()],
        ..ParamRules::default()
    }
}

/// Asserts that connection parameters are read as the reference reads them, that the target at the node has nothing beside
/// pairs of the query, and that only nodes are dialled which the reference dials. Input: the path's suffix, a line end, the
/// query.
pub fn params(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (suffix, query) = text.split_once('\n').unwrap_or(("/", text));
    let rules = param_rules();
    let ours = ConnectionParams::read(suffix, query, &rules);
    let theirs = reference::read(suffix, query, &rules);
    let ours_plain = ours.as_ref().map(|params| (params.host.clone(), params.node_target.clone()));
    assert_eq!(ours_plain.map_err(|refusal| *refusal), theirs, "suffix {suffix:?}, query {query:?}");
    dials_what_the_reference_dials(suffix, query, &rules);
    let Ok(params) = ours else { return };
    forwards_a_subsequence(query, &params);
    if let Host::Address(address) = params.host {
        admission(address);
    }
}

/// Asserts that the target at the node is `/{scope}/` and a subsequence of the query's pairs.
///
/// Pairs are what stands between `&`, without empty ones; one `?` too many in front is ignored. Each is forwarded byte for
/// byte, in its order, not decoded. Left out are all pairs whose raw key is a routing parameter, and no others. The only
/// added bytes are the `?` before the first pair and the `&` between two. So the forwarded query is also a subsequence of the
/// bytes that came. A reader at the node that decodes a key once, in any case, finds no routing parameter in it (P4). Neither
/// decoding nor normalising changes the path.
fn forwards_a_subsequence(query: &str, params: &ConnectionParams) {
    let target = params.node_target.as_str();
    let (path, forwarded) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let forwarded_pairs: Vec<&str> = forwarded.map(|query| query.split('&').collect()).unwrap_or_default();
    let came = query.strip_prefix('?').unwrap_or(query).split('&').filter(|pair| !pair.is_empty());
    let is_routing = |pair: &&str| {
        ["host", "app", "context"].iter().any(|key| pair == key || pair.starts_with(&format!("{key}=")))
    };
    assert_eq!(forwarded_pairs, came.filter(|pair| !is_routing(pair)).collect::<Vec<_>>(), "{target}");
    let mut rest = query.bytes();
    assert!(forwarded.unwrap_or_default().bytes().all(|byte| rest.any(|other| other == byte)), "{target}");
    for pair in forwarded_pairs {
        let key = pair.split('=').next().unwrap_or_default();
        let plain = reference::unescape_loosely(key.as_bytes()).to_ascii_lowercase();
        assert!(![&b"host"[..], b"app", b"context"].contains(&plain.as_slice()), "{target}");
    }
    assert_eq!(path, format!("/{}/", params.scope));
    let segments = reference::path_segments(path).expect("a path with one reading");
    let raw: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
    assert_eq!(segments, raw, "{path}");
    assert!(!raw.iter().any(|segment| matches!(*segment, b"." | b"..")), "{path}");
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{target}");
}

/// Asserts, under several configurations, that a query leads to a permit exactly if the reference gives one, and for the same
/// address.
fn dials_what_the_reference_dials(suffix: &str, query: &str, rules: &ParamRules) {
    let learned =
        [IpAddr::from([203, 0, 113, 7]), IpAddr::from([127, 0, 0, 9]), IpAddr::from([169, 254, 1, 1])];
    for admission in configurations() {
        let ours = ConnectionParams::read(suffix, query, rules).ok().and_then(|params| match params.host {
            Host::Address(address) => admission::admit(&admission, address, learned.contains(&address)).ok(),
            // names are resolved elsewhere
            Host::Name(_) => None,
        });
        let ours: Option<SocketAddr> = ours.map(|admitted| admitted.address());
        let theirs = reference::dials(suffix, query, rules, &admission, &learned);
        assert_eq!(ours, theirs, "suffix {suffix:?}, query {query:?}, {admission:?}");
    }
}

/// Configurations: no networks; some, as operators write them; all addresses; denied addresses as single ones.
fn configurations() -> [AdmissionRules; 5] {
    let rules = |networks: &[&str], learned, strict| AdmissionRules {
        networks: networks.iter().map(|text| parse_network(text).expect("a network")).collect(),
        learned,
        strict,
        own: vec![IpAddr::from([10, 9, 9, 9])],
        port: 5080,
    };
    [
        rules(&[], true, false),
        rules(&["10.0.0.0/8", "2001:db8::/32"], false, false),
        rules(&["203.0.113.0/24", "0.0.0.0/1"], true, true),
        rules(&["0.0.0.0/0", "::/0"], true, false),
        rules(&["127.0.0.2", "::1", "10.9.9.9", "169.254.169.254", "127.0.0.0/8"], true, false),
    ]
}

/// Asserts that a denied address stays denied if it is learned and inside a listed network.
pub(crate) fn admission(address: IpAddr) {
    let everything = ["0.0.0.0/0", "::/0"].map(|text| parse_network(text).expect("a network"));
    let own = IpAddr::from([10, 9, 9, 9]);
    let rules = AdmissionRules {
        networks: everything.to_vec(),
        learned: true,
        strict: false,
        own: vec![own],
        port: 5080,
    };
    let admitted = admission::admit(&rules, address, true).is_ok();
    assert_eq!(admitted, admission::may_learn(&rules, address));
    assert_eq!(admitted, address != own && !reference::is_denied(address), "{address}");
}
