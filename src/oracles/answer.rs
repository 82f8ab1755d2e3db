//! The oracle of a stream manager's answers: whom they name, and for how long they are believed.

use std::time::Duration;

use crate::oracles::reference::json;
use crate::oracles::reference::json::Trouble;
use crate::proto::red5::answer;
use crate::proto::red5::answer::{Answer, FreshnessRules};
use crate::proto::red5::route::{EventKind, Keep};

/// Whole seconds, each another number, and the shortest is the commonest `max-age`.
const RULES: FreshnessRules = FreshnessRules {
    broadcast: Duration::from_secs(4),
    subscribe: Duration::from_secs(3),
    list: Duration::from_secs(2),
    missing: Duration::from_secs(5),
};

/// An answer names the nodes that two other readers find in it, and no others, and is kept for as long as the plain table
/// says. Input: a `Cache-Control` value, a line end, the body.
pub fn answer(bytes: &[u8]) {
    let (cache_control, body) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (std::str::from_utf8(&bytes[..end]).ok(), &bytes[end + 1..]),
        None => (None, bytes),
    };
    for status in [200, 201, 204, 301, 400, 404, 500] {
        let answer = answer::read(status, Some("Application/JSON; charset=utf-8"), body);
        match status {
            200 => names_what_stands_in_it(&answer, body),
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

/// What names nodes is JSON, and these are the ones; and what serde_json's tree can hold is never refused.
fn names_what_stands_in_it(answer: &Answer, body: &[u8]) {
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
        Err(trouble) => assert_eq!(trouble, Trouble::TooDeep, "by a walk"),
    }
}
