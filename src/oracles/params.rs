//! The oracle of connection parameters: what they come to, what of them a node hears, and whether anybody is dialled.

use std::net::{IpAddr, SocketAddr};

use crate::oracles::reference;
use crate::proto::admission;
use crate::proto::admission::{AdmissionRules, parse_network};
use crate::proto::red5::params::{ConnectionParams, Host};
use crate::proto::red5::rules::ParamRules;

/// The rules under which [`params`] compares; those of the vectors.
pub fn param_rules() -> ParamRules {
    ParamRules {
        apps: vec!["live".into(), "webrtc".into()],
        names: vec!["node1.example.net".into()],
        ..ParamRules::default()
    }
}

/// Connection parameters come out as the plain reference has them, add nothing to what came, and lead nowhere that the
/// reference would not go. The first line is the path's suffix, the rest the query.
pub fn params(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (suffix, query) = text.split_once('\n').unwrap_or(("/", text));
    let rules = param_rules();
    let ours = ConnectionParams::read(suffix, query, &rules);
    let theirs = reference::read(suffix, query, &rules);
    let ours_plain = ours.as_ref().map(|params| (params.host.clone(), params.origin_target.clone()));
    assert_eq!(ours_plain.map_err(|refusal| *refusal), theirs, "suffix {suffix:?}, query {query:?}");
    dials_what_the_reference_dials(suffix, query, &rules);
    let Ok(params) = ours else { return };
    forwards_a_subsequence(query, &params);
    if let Host::Address(address) = params.host {
        admission(address);
    }
}

/// What a node hears is `/{scope}/` and a subsequence of the query's pairs.
///
/// Pairs are what stands between `&`, empty ones not counted, one stray `?` in front forgiven. Each goes on byte for byte,
/// in its order, unescaped by nobody; left out is every pair whose raw key is a routing key, and no other; the only bytes
/// put in are the `?` before the first and the `&` between two. So the forwarded query is a subsequence of the bytes that
/// came, too. A reader at the node that unescapes a key once, in any case, finds no routing key in it (P4). The path is of
/// letters that neither unescaping nor normalising changes.
fn forwards_a_subsequence(query: &str, params: &ConnectionParams) {
    let target = params.origin_target.as_str();
    let (path, forwarded) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let went: Vec<&str> = forwarded.map(|query| query.split('&').collect()).unwrap_or_default();
    let came = query.strip_prefix('?').unwrap_or(query).split('&').filter(|pair| !pair.is_empty());
    let is_routing = |pair: &&str| {
        ["host", "app", "context"].iter().any(|key| pair == key || pair.starts_with(&format!("{key}=")))
    };
    assert_eq!(went, came.filter(|pair| !is_routing(pair)).collect::<Vec<_>>(), "{target}");
    let mut rest = query.bytes();
    assert!(forwarded.unwrap_or_default().bytes().all(|byte| rest.any(|other| other == byte)), "{target}");
    for pair in went {
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

/// From the bytes of a query to the permit, under several configurations: whoever gets one gets the reference's address,
/// and the reference would have given it.
fn dials_what_the_reference_dials(suffix: &str, query: &str, rules: &ParamRules) {
    let learned =
        [IpAddr::from([203, 0, 113, 7]), IpAddr::from([127, 0, 0, 9]), IpAddr::from([169, 254, 1, 1])];
    for admission in configurations() {
        let ours = ConnectionParams::read(suffix, query, rules).ok().and_then(|params| match params.host {
            Host::Address(address) => admission::admit(&admission, address, learned.contains(&address)).ok(),
            // resolved elsewhere, to what an operator wrote
            Host::Name(_) => None,
        });
        let ours: Option<SocketAddr> = ours.map(|admitted| admitted.address());
        let theirs = reference::dials(suffix, query, rules, &admission, &learned);
        assert_eq!(ours, theirs, "suffix {suffix:?}, query {query:?}, {admission:?}");
    }
}

/// Nothing known; what operators write; everything listed; and one's own address lifted.
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

/// Denied addresses stay denied whatever is learned and whatever prefix is listed.
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
