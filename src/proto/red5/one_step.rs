//! The parameters of the one-step WebSocket: placement, the question to the streams service, and the target at the node.
//!
//! The gateway finds the node itself, so pairs about placement go into its question to the streams service, and not to the
//! node; all others are forwarded to the node byte for byte. Whether a node that the client names may be dialled is decided
//! by [`admission`](crate::proto::admission).

use crate::proto::red5::params::{Host, path_scope, read_host};
use crate::proto::red5::query::{self, append, is_placement, key_value, routing, split};
use crate::proto::red5::route::{Action, OneStepRoute};
use crate::proto::red5::rules::ParamRules;
use crate::proto::refusal::Refusal;

/// The routing parameters, which are for the gateway; all other pairs are for the manager or the node.
const ROUTING: [&str; 2] = ["host", "nodeGroup"];

/// A request on the one-step route that keeps all rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneStep {
    /// Whether the client publishes or plays.
    pub action: Action,
    /// The node that the client names. If it is not admitted, the request is refused: no node of a group replaces it.
    pub host: Option<Host>,
    /// The node group in which the manager looks for a node; always there if no host is named.
    pub group: Option<String>,
    /// App and context: `live/room1`.
    pub scope: String,
    /// The stream's name, as it came.
    pub stream: String,
    /// The target at the node: `/live/room1/?id=stream1&…`.
    pub node_target: String,
    /// Pairs for the streams service, as they came: `region=us&strict=true`.
    placement: String,
}

impl OneStep {
    /// Reads a route and its query. `configured` is the group for clients that name none; empty if there is none. Fails with
    /// the refusal of the first rule that is broken, and with [`Refusal::BadParams`] if there is neither host nor group.
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
        let is_other = |pair: &&str| ROUTING.contains(&key_value(pair).0) || is_placement(pair);
        append(&mut node_target, pairs.clone().filter(|pair| !is_other(pair)));
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

    /// The target of the question to the streams service; `None` if there is no group, because the client named a node.
    pub fn question(&self) -> Option<String> {
        let group = self.group.as_deref()?;
        Some(streams_question(group, self.action, &self.scope, &self.stream, &self.placement))
    }
}

/// The target `/as/v1/streams/stream/{group}/{publish|subscribe}/{app…}/{stream}?…` at the streams service. Every part was
/// checked before: none needs escaping.
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

/// The pairs of a query in which an SDK may have put a second question mark: it appends `?id=…` to an `endpoint` that has a
/// query already. So the first raw `?` directly before `id=` counts as `&` (W02).
fn split_twice(query: &str) -> impl Iterator<Item = &str> + Clone {
    let query = query.strip_prefix('?').unwrap_or(query);
    let (first, second) = match query.find("?id=") {
        Some(at) => (&query[..at], &query[at + 1..]),
        None => (query, ""),
    };
    first.split('&').chain(second.split('&')).filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::red5::route::{self, Route};

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
    fn placement_goes_to_the_manager_and_the_rest_to_the_node() {
        let step =
            publish("id=s&region=us,eu&nodeGroup=ng1&token=a%2Bb=&subGroup=x&strict=true&&e=").unwrap();
        assert_eq!(step.node_target, "/live/room1/?id=s&token=a%2Bb=&e=");
        assert_eq!(
            step.question().unwrap(),
            "/as/v1/streams/stream/ng1/publish/live/room1/s%201?region=us,eu&subGroup=x&strict=true"
        );
        assert_eq!((step.scope.as_str(), step.stream.as_str()), ("live/room1", "s%201"));
        let step = read("/as/v1/proxy/ws/subscribe/live/s", "ng2").unwrap();
        assert_eq!(step.node_target, "/live/");
        assert_eq!(step.question().unwrap(), "/as/v1/streams/stream/ng2/subscribe/live/s");
    }

    #[test]
    fn the_second_question_mark_of_the_sdk_separates_pairs() {
        let step = publish("nodeGroup=x?id=subscriber-ab&region=us-east&u=a?id=b").unwrap();
        assert_eq!(step.group.as_deref(), Some("x"));
        assert_eq!(step.node_target, "/live/room1/?id=subscriber-ab&u=a?id=b");
        assert_eq!(publish("?id=a&nodeGroup=x").unwrap().node_target, "/live/room1/?id=a");
        assert_eq!(publish("nodeGroup=x?host=10.0.0.5"), Err(Refusal::BadParams));
    }

    #[test]
    fn the_group_is_the_named_or_the_configured_one() {
        let group = |rest: &str, configured: &str| {
            read(&format!("/as/v1/proxy/ws/publish/live/s?{rest}"), configured).map(|step| step.group)
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
    fn the_app_in_the_path_has_to_be_served() {
        let app = |app: &str| {
            read(&format!("/as/v1/proxy/ws/publish/{app}/s?nodeGroup=a"), "").map(|step| step.scope)
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
