//! The parameters of the one-step WebSocket: where the client wants to be placed, and what the node is asked for.
//!
//! The gateway finds the node itself, so placement goes into its question to the streams service and nothing of it to the
//! node; everything else is carried byte for byte. Whether a node that the client names may be dialled is for
//! [`admission`](super::admission) to say.

use crate::proto::red5::params::{Host, path_scope, read_host};
use crate::proto::red5::query;
use crate::proto::red5::query::{append, is_placement, key_value, routing, split};
use crate::proto::red5::route::{Action, OneStepRoute};
use crate::proto::red5::rules::ParamRules;
use crate::proto::refusal::Refusal;

/// Parameters that are for us; everything else is for the manager or for the node.
const ROUTING: [&str; 2] = ["host", "nodeGroup"];

/// What a client asks for, with all rules kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneStep {
    pub action: Action,
    /// The node that the client names. It has to be admitted, and no group stands in for it if it is not.
    pub host: Option<Host>,
    /// The group to be asked for a node; there is one if no host is named.
    pub group: Option<String>,
    /// App and context: `live/room1`.
    pub scope: String,
    /// The stream, as it came.
    pub stream: String,
    /// What the node is asked for: `/live/room1/?id=stream1&…`.
    pub node_target: String,
    /// Pairs for the streams service, as they came: `region=us&strict=true`.
    placement: String,
}

impl OneStep {
    /// Reads a route and its query. `configured` is the group for those who name none; empty if there is none.
    pub fn read(route: &OneStepRoute<'_>, rules: &ParamRules, configured: &str) -> Result<Self, Refusal> {
        let pairs = split_twice(route.query);
        let [host, group] = routing(route.query, pairs.clone(), &ROUTING, rules)?;
        let scope = path_scope(route.path.app, rules)?;
        let host = host.map(|host| read_host(host, rules)).transpose()?;
        let group = query::group(group, configured)?;
        if host.is_none() && group.is_none() {
            return Err(Refusal::BadParams);
        }
        let mut node_target = format!("/{scope}/");
        let ours = |pair: &&str| ROUTING.contains(&key_value(pair).0) || is_placement(pair);
        append(&mut node_target, pairs.clone().filter(|pair| !ours(pair)));
        let placement: Vec<&str> = pairs.filter(|pair| is_placement(pair)).collect();
        Ok(Self {
            action: route.action,
            host,
            group,
            scope: scope.to_owned(),
            stream: route.path.stream.to_owned(),
            node_target,
            placement: placement.join("&"),
        })
    }

    /// The target at the streams service; `None` if no group is known, because the client named a node.
    pub fn question(&self) -> Option<String> {
        let group = self.group.as_deref()?;
        Some(streams_question(group, self.action, &self.scope, &self.stream, &self.placement))
    }
}

/// `/as/v1/streams/stream/{group}/{publish|subscribe}/{app…}/{stream}?…`. Every part of it has been checked to fit there.
pub(crate) fn streams_question(
    group: &str,
    action: Action,
    scope: &str,
    stream: &str,
    placement: &str,
) -> String {
    let mut target = format!("/as/v1/streams/stream/{group}/{}/{scope}/{stream}", action.word());
    append(&mut target, split(placement));
    target
}

/// The pairs of a query to which the SDK may have put a second question mark: an `endpoint` that has a query of its own
/// gets `?id=…` after it. The first raw `?` directly before `id=` therefore counts as `&` (W02).
fn split_twice(query: &str) -> impl Iterator<Item = &str> + Clone {
    let query = query.strip_prefix('?').unwrap_or(query);
    let (first, second) = match query.find("?id=") {
        Some(place) => (&query[..place], &query[place + 1..]),
        None => (query, ""),
    };
    first.split('&').chain(second.split('&')).filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::red5::route;
    use crate::proto::red5::route::Route;

    fn read(target: &str, configured: &str) -> Result<OneStep, Refusal> {
        match route::route(target)? {
            Route::OneStep(route) => OneStep::read(&route, &ParamRules::default(), configured),
            other => panic!("{target}: {other:?}"),
        }
    }

    fn publish(rest: &str) -> Result<OneStep, Refusal> {
        read(&format!("/as/v1/proxy/ws/publish/live/room1/s%201?{rest}"), "")
    }

    #[test]
    fn placement_is_for_the_manager_and_the_rest_for_the_node() {
        let ask = publish("id=s&region=us,eu&nodeGroup=ng1&token=a%2Bb=&subGroup=x&strict=true&&e=").unwrap();
        assert_eq!(ask.node_target, "/live/room1/?id=s&token=a%2Bb=&e=");
        assert_eq!(
            ask.question().unwrap(),
            "/as/v1/streams/stream/ng1/publish/live/room1/s%201?region=us,eu&subGroup=x&strict=true"
        );
        assert_eq!((ask.scope.as_str(), ask.stream.as_str()), ("live/room1", "s%201"));
        let ask = read("/as/v1/proxy/ws/subscribe/live/s", "ng2").unwrap();
        assert_eq!(ask.node_target, "/live/");
        assert_eq!(ask.question().unwrap(), "/as/v1/streams/stream/ng2/subscribe/live/s");
    }

    #[test]
    fn the_second_question_mark_of_the_sdk() {
        let ask = publish("nodeGroup=x?id=subscriber-ab&region=us-east&u=a?id=b").unwrap();
        assert_eq!(ask.group.as_deref(), Some("x"));
        assert_eq!(ask.node_target, "/live/room1/?id=subscriber-ab&u=a?id=b");
        assert_eq!(publish("?id=a&nodeGroup=x").unwrap().node_target, "/live/room1/?id=a");
        assert_eq!(publish("nodeGroup=x?host=10.0.0.5"), Err(Refusal::BadParams));
    }

    #[test]
    fn groups() {
        let group = |rest: &str, configured: &str| {
            read(&format!("/as/v1/proxy/ws/publish/live/s?{rest}"), configured).map(|ask| ask.group)
        };
        assert_eq!(group("id=s", "ng1"), Ok(Some("ng1".into())));
        assert_eq!(group("nodeGroup=default", "ng1"), Ok(Some("ng1".into())));
        assert_eq!(group("nodeGroup=%6eg2", "ng1"), Ok(Some("ng2".into())));
        assert_eq!(group("host=10.0.0.5", ""), Ok(None));
        for (rest, refusal) in [
            ("id=s", Refusal::BadParams),
            ("nodeGroup=default", Refusal::BadParams),
            ("nodeGroup", Refusal::BadParams),
            ("nodeGroup=a%2Fb", Refusal::BadParams),
            ("nodeGroup=..", Refusal::BadParams),
            ("nodeGroup=", Refusal::ScriptLeftover),
            ("nodeGroup=undefined", Refusal::ScriptLeftover),
            ("nodeGroup=undefined&host=10.0.0.5", Refusal::ScriptLeftover),
            ("nodeGroup=a&nodeGroup=a", Refusal::DuplicateParam),
            ("nodeGroup=a&nodegroup=b", Refusal::DuplicateParam),
            ("nodeGroup=a&node%47roup=b", Refusal::DuplicateParam),
            ("nodeGroup=a&host=10.0.0.5&?host=10.0.0.6", Refusal::DuplicateParam),
            ("nodeGroup=a&host=undefined", Refusal::ScriptLeftover),
            ("nodeGroup=a&host=10.0.0.5:22", Refusal::BadHost),
            ("nodeGroup=a&accessToken=x", Refusal::AdminParameter),
            ("nodeGroup=a&username=cluster-restreamer", Refusal::ReservedAccount),
        ] {
            assert_eq!(group(rest, ""), Err(refusal), "{rest}");
        }
    }

    #[test]
    fn the_app_is_in_the_path() {
        let app = |app: &str| {
            read(&format!("/as/v1/proxy/ws/publish/{app}/s?nodeGroup=a"), "").map(|ask| ask.scope)
        };
        assert_eq!(app("live"), Ok("live".into()));
        assert_eq!(app("live/a/b/c"), Ok("live/a/b/c".into()));
        assert_eq!(app("live/a/b/c/d"), Err(Refusal::BadApp));
        assert_eq!(app("live%20"), Err(Refusal::BadApp));
        assert_eq!(app("liv%65"), Err(Refusal::BadApp));
        assert_eq!(app("Live"), Err(Refusal::AppNotAllowed));
        assert_eq!(app("streammanager"), Err(Refusal::AppNotAllowed));
        assert_eq!(app("undefined"), Err(Refusal::ScriptLeftover));
    }
}
