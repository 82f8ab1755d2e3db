//! Computes the stream manager's answers: a request target goes in, a status and a JSON body come out. Uses no socket.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::config::{Group, ManagerKnobs};
use crate::directory::{Directory, LiveStream, now_ms};

/// API versions that the event paths accept.
const VERSIONS: [&str; 5] = ["1.0", "2.0", "3.0", "3.1", "4.0"];

/// An HTTP status and the JSON body.
pub(crate) type Answer = (u16, Value);

/// The nodes and node groups that the stream manager answers from.
pub(crate) struct Answers {
    nodes: Vec<IpAddr>,
    groups: Vec<Group>,
    next: AtomicUsize,
}

impl Answers {
    pub(crate) fn new(nodes: Vec<IpAddr>, groups: Vec<Group>) -> Self {
        Self { nodes, groups, next: AtomicUsize::new(0) }
    }

    /// Returns the answer to a GET of `path?query`.
    pub(crate) fn answer(
        &self,
        path: &str,
        query: &str,
        directory: &Directory,
        knobs: &ManagerKnobs,
    ) -> Answer {
        let segments: Vec<String> = path
            .trim_start_matches('/')
            .split('/')
            .map(|s| percent_decode_str(s).decode_utf8_lossy().into_owned())
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["streammanager", "api", version, "event", rest @ ..] if VERSIONS.contains(version) => {
                self.event(rest, query, directory, knobs)
            }
            ["as", "v1", "streams", "stream", group, rest @ ..] => match self.group(group) {
                Some(nodes) => self.streams(&nodes, rest, query, directory, knobs),
                None => streams_error(404, "node group not found"),
            },
            _ => error(404, "no such path"),
        }
    }

    /// Answers a request of the event API of Stream Manager 1.x; `rest` is the path behind `event`.
    fn event(&self, rest: &[&str], query: &str, directory: &Directory, knobs: &ManagerKnobs) -> Answer {
        match rest {
            ["list"] => (200, self.list(directory, knobs, false)),
            ["list", "stats"] => (200, self.list(directory, knobs, true)),
            [scope @ .., name, "stats"] if !scope.is_empty() && param(query, "action").is_none() => {
                match directory.find(&scope.join("/"), name) {
                    Some(live) => (200, self.entry(&live, knobs, true)),
                    None => error(404, "stream not found"),
                }
            }
            [scope @ .., name] if !scope.is_empty() => {
                self.placement(&scope.join("/"), name, query, directory, knobs)
            }
            _ => error(400, "expected a scope and a stream name in the path"),
        }
    }

    fn placement(
        &self,
        scope: &str,
        name: &str,
        query: &str,
        directory: &Directory,
        knobs: &ManagerKnobs,
    ) -> Answer {
        let endpoints = param(query, "endpoints").map_or(Ok(1), str::parse::<usize>);
        let Ok(endpoints) = endpoints else { return error(400, "expected a number in endpoints") };
        let chosen = match param(query, "action") {
            Some("broadcast") => self.round_robin(endpoints.max(1)),
            Some("subscribe") => match directory.find(scope, name) {
                Some(live) => vec![live.node],
                None => return error(404, "stream not found"),
            },
            _ => return error(400, "expected the action broadcast or subscribe"),
        };
        let entry = |node: &usize| {
            json!({
                "name": name, "scope": shown_scope(scope, knobs),
                "serverAddress": self.address(*node, knobs), "region": "local",
            })
        };
        let mut entries: Vec<Value> = chosen.iter().map(entry).collect();
        match (entries.len(), endpoints) {
            (0, _) => error(404, "no node is free"),
            (_, 0 | 1) => (200, entries.swap_remove(0)),
            _ => (200, Value::Array(entries)),
        }
    }

    /// Returns the indexes of the nodes of a group. None when there is no such group.
    fn group(&self, name: &str) -> Option<Vec<usize>> {
        let group = match self.groups.as_slice() {
            [only] if name == "default" => only,
            groups => groups.iter().find(|group| group.name == name)?,
        };
        Some(if group.nodes.is_empty() { (0..self.nodes.len()).collect() } else { group.nodes.clone() })
    }

    /// Answers a request of the streams API of Stream Manager 2.0 for one group: `nodes` are the group's nodes, `rest` is
    /// the path behind the group.
    fn streams(
        &self,
        nodes: &[usize],
        rest: &[&str],
        query: &str,
        directory: &Directory,
        knobs: &ManagerKnobs,
    ) -> Answer {
        let entry = |node: usize, guid: String, subscribers: u64| {
            json!({
                "streamGuid": guid, "serverAddress": self.address(node, knobs), "nodeRole": "origin",
                "subGroup": "default", "nodeState": "INSERVICE", "subscribers": subscribers,
            })
        };
        let in_group = |live: &LiveStream| nodes.contains(&live.node);
        let live_entry =
            |live: LiveStream| entry(live.node, format!("{}/{}", live.scope, live.name), live.subscribers);
        match rest {
            [] | [""] => (200, directory.list().into_iter().filter(in_group).map(live_entry).collect()),
            ["publish", scope @ .., name] if !scope.is_empty() => {
                let scope = scope.join("/");
                if directory.find(&scope, name).is_some_and(|live| in_group(&live)) {
                    return streams_error(409, "stream is live already");
                }
                let wanted = param(query, "endpoints").and_then(|n| n.parse().ok()).unwrap_or(1);
                let chosen = self.round_robin(wanted).into_iter().map(|turn| nodes[turn % nodes.len()]);
                (200, chosen.map(|node| entry(node, format!("{scope}/{name}"), 0)).collect())
            }
            ["subscribe" | "stream", scope @ .., name] if !scope.is_empty() => {
                match directory.find(&scope.join("/"), name).filter(in_group) {
                    Some(live) => (200, json!([live_entry(live)])),
                    None => streams_error(404, "stream not found"),
                }
            }
            _ => streams_error(400, "expected publish or subscribe, a scope and a stream name in the path"),
        }
    }

    fn round_robin(&self, wanted: usize) -> Vec<usize> {
        let count = self.nodes.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..wanted.min(count)).map(|i| (first + i) % count).collect()
    }

    fn list(&self, directory: &Directory, knobs: &ManagerKnobs, stats: bool) -> Value {
        directory.list().iter().map(|live| self.entry(live, knobs, stats)).collect()
    }

    fn entry(&self, live: &LiveStream, knobs: &ManagerKnobs, stats: bool) -> Value {
        let mut entry = json!({
            "name": live.name, "scope": live.scope, "type": "origin",
            "serverAddress": self.address(live.node, knobs), "region": "local",
        });
        if stats {
            entry["currentSubscribers"] = live.subscribers.into();
            entry["startTime"] = live.since.into();
        }
        entry
    }

    fn address(&self, node: usize, knobs: &ManagerKnobs) -> String {
        knobs.named.clone().unwrap_or_else(|| self.nodes[node].to_string())
    }
}

/// An error answer of the event API, with the fields of old and of new stream managers.
pub(crate) fn error(status: u16, message: &str) -> Answer {
    (status, json!({ "errorMessage": message, "error": message, "timestamp": now_ms() }))
}

/// An error answer of the streams API, which has only the field `error`.
fn streams_error(status: u16, message: &str) -> Answer {
    (status, json!({ "error": message }))
}

fn shown_scope(scope: &str, knobs: &ManagerKnobs) -> String {
    if knobs.slashed_scope { format!("/{scope}") } else { scope.to_owned() }
}

fn param<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str, directory: &Directory) -> Answer {
        let nodes = vec!["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()];
        let group = |name: &str, nodes| Group { name: name.to_owned(), nodes };
        let answers = Answers::new(nodes, vec![group("ng1", vec![]), group("ng2", vec![1])]);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        answers.answer(path, query, directory, &ManagerKnobs::default())
    }

    #[test]
    fn broadcast_answers_an_object_and_for_several_endpoints_an_array() {
        let directory = Directory::default();
        let (status, one) = get("/streammanager/api/4.0/event/live/a?action=broadcast", &directory);
        assert_eq!(
            (status, &one["scope"], &one["serverAddress"]),
            (200, &"/live".into(), &"127.0.0.1".into())
        );
        let (_, two) = get("/streammanager/api/4.0/event/live/a?action=broadcast&endpoints=5", &directory);
        assert_eq!(two.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn subscribe_finds_only_live_streams() {
        let directory = Directory::default();
        let target = "/streammanager/api/2.0/event/live/room/a?action=subscribe";
        let (status, body) = get(target, &directory);
        assert_eq!(status, 404);
        assert!(body["errorMessage"].is_string() && body["timestamp"].is_u64());
        assert!(directory.publish("live/room", "a", 1));
        assert_eq!(get(target, &directory).1["serverAddress"], "127.0.0.2");
    }

    #[test]
    fn a_malformed_request_gets_400_and_an_unknown_version_404() {
        let directory = Directory::default();
        for (target, status) in [
            ("/streammanager/api/4.0/event/live/a", 400),
            ("/streammanager/api/4.0/event/live/a?action=play", 400),
            ("/streammanager/api/4.0/event/live/a?action=broadcast&endpoints=x", 400),
            ("/streammanager/api/9.9/event/live/a?action=broadcast", 404),
        ] {
            assert_eq!(get(target, &directory).0, status, "{target}");
        }
    }

    #[test]
    fn the_streams_api_answers_with_arrays_and_refuses_a_live_name_with_409() {
        let directory = Directory::default();
        let publish = "/as/v1/streams/stream/ng1/publish/live/a";
        assert_eq!(get(publish, &directory).1[0]["streamGuid"], "live/a");
        assert!(directory.publish("live", "a", 0));
        assert_eq!(get(publish, &directory).0, 409);
        let (status, body) = get("/as/v1/streams/stream/ng1/subscribe/live/a", &directory);
        assert_eq!((status, &body[0]["serverAddress"]), (200, &"127.0.0.1".into()));
    }

    #[test]
    fn a_group_has_its_own_nodes_and_streams() {
        let directory = Directory::default();
        assert!(directory.publish("live", "a", 0));
        for target in ["/as/v1/streams/stream/ng2/publish/live/a", "/as/v1/streams/stream/ng2/publish/live/b"]
        {
            assert_eq!(get(target, &directory).1[0]["serverAddress"], "127.0.0.2", "{target}");
        }
        for target in ["ng2/subscribe/live/a", "ng3/publish/live/a", "default/publish/live/b"] {
            let (status, body) = get(&format!("/as/v1/streams/stream/{target}"), &directory);
            assert_eq!(status, 404, "{target}");
            assert!(body["error"].is_string() && body["errorMessage"].is_null(), "{body}");
        }
    }
}
