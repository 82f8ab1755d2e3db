//! The oracle of a stream manager's answers: the nodes that they name, and for how long they may be stored.

use std::time::Duration;

use crate::oracles::reference::json::{self, WalkFault};
use crate::proto::red5::answer::{self, Answer, FreshnessRules};
use crate::proto::red5::route::{EventKind, Keep};

/// Whole seconds, all different; the shortest is a `max-age` that the corpus has often.
const RULES: FreshnessRules = FreshnessRules {
    broadcast: Duration::from_secs(4),
    subscribe: Duration::from_secs(3),
    list: Duration::from_secs(2),
    missing: Duration::from_secs(5),
};

/// Asserts that an answer names the nodes that two other readers find in it, and no others, and that it may be stored for as
/// long as the reference says. Input: a `Cache-Control` value, a line end, the body.
pub fn answer(bytes: &[u8]) {
    let (cache_control, body) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (std::str::from_utf8(&bytes[..end]).ok(), &bytes[end + 1..]),
        None => (None, bytes),
    };
    for status in [200, 201, 204, 301, 400, 404, 500] {
        let answer = answer::read(status, Some("Application/JSON; charset=utf-8"), body);
        match status {
            200 => names_the_nodes_of(&answer, body),
            400 | 404 => assert_eq!(answer, Answer::Missing),
            _ => assert_eq!(answer, Answer::Other),
        }
        for kind in [EventKind::Broadcast, EventKind::Subscribe, EventKind::List, EventKind::Other] {
            for keep in [Keep::Never, Keep::Found, Keep::Both] {
                let ours = answer.freshness(&RULES, kind, keep, cache_control);
                let theirs = json::freshness(&answer, &RULES, kind, keep, cache_control);
                assert_eq!(ours, theirs, "{status} {kind:?} {keep:?} {cache_control:?}");
            }
        }
    }
    assert_eq!(answer::read(200, Some("text/html"), body), Answer::Other);
    assert_eq!(answer::read(200, None, body), Answer::Other);
}

/// Asserts that an answer with nodes is JSON and names exactly these, and that no body is refused which serde_json's tree can
/// hold.
fn names_the_nodes_of(answer: &Answer, body: &[u8]) {
    let nodes = match answer {
        Answer::Found { nodes } => Some(nodes),
        Answer::Other => None,
        Answer::Missing => panic!("a 200 is not missing"),
    };
    if let Some(expected) = json::nodes_by_tree(body) {
        assert_eq!(nodes, Some(&expected), "by the tree");
    }
    let Some(nodes) = nodes else { return };
    assert!(nodes.len() <= answer::NODES_MAX);
    match json::nodes_by_walk(body) {
        Ok(expected) => assert_eq!(*nodes, expected, "by a walk"),
        Err(fault) => assert_eq!(fault, WalkFault::TooDeep, "by a walk"),
    }
}
