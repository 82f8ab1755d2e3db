//! The connection parameters of the two-step route: the node, the app, and the target at the node.
//!
//! The rules are P1 to P15 of `docs/parameters.md`; each is named where it is kept. Text in, values out: whether the node may
//! be dialled is decided by [`admission`](crate::proto::admission), and names are resolved elsewhere. All pairs but the
//! routing parameters are forwarded byte for byte (P13).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::proto::red5::query::{self, key_value, routing_value, split};
use crate::proto::red5::rules::ParamRules;
use crate::proto::red5::text::is_leftover;
use crate::proto::refusal::Refusal;

/// Longest segment of an app or context, in bytes (P10).
const SEGMENT_MAX: usize = 64;

/// The node that a client names in `host` (P8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address; it still has to be admitted.
    Address(IpAddr),
    /// One of the configured names, as it is written in the configuration.
    Name(String),
}

/// Connection parameters that keep the rules P1 to P8 and P10 to P14.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionParams {
    /// The node that the client names.
    pub host: Host,
    /// The target at the node: `/live/room1/?id=stream1&…`.
    pub node_target: String,
    /// App and context: `live/room1`.
    pub scope: String,
}

impl ConnectionParams {
    /// Reads the parameters of a target. `suffix` is what stands between `/streammanager` and the query, `query` what stands
    /// behind the first `?`. Fails with the refusal of the first rule that is broken.
    pub fn read(suffix: &str, query: &str, rules: &ParamRules) -> Result<Self, Refusal> {
        let [host, app, context] = query::routing(query, split(query), &ROUTING, rules)?;
        let (Some(host), Some(app)) = (host, app) else {
            return Err(Refusal::BadParams);
        };
        let host = read_host(host, rules)?;
        let scope = read_scope(app, context, suffix, rules)?;
        let mut node_target = String::with_capacity(scope.len() + query.len() + 3);
        node_target.push('/');
        node_target.push_str(&scope);
        node_target.push('/');
        for (index, pair) in split(query).filter(|pair| !ROUTING.contains(&key_value(pair).0)).enumerate() {
            node_target.push(if index == 0 { '?' } else { '&' });
            node_target.push_str(pair);
        }
        Ok(Self { host, node_target, scope })
    }

    /// The value of the first `id`, as it came: the stream's name from a publisher, a random value from a subscriber.
    pub fn id(&self) -> Option<&str> {
        let (_, query) = self.node_target.split_once('?')?;
        split(query).map(key_value).find(|(key, _)| *key == "id").and_then(|(_, value)| value)
    }
}

/// The routing parameters, which are for the gateway; all other pairs are for the node.
const ROUTING: [&str; 3] = ["host", "app", "context"];

/// Reads a raw value of `host`: a canonical address, or a configured name (P8). Fails with [`Refusal::BadHost`] or, for a
/// name that is not configured, with [`Refusal::OriginNotAdmitted`].
pub(crate) fn read_host(raw: &str, rules: &ParamRules) -> Result<Host, Refusal> {
    let value = routing_value(raw, Refusal::BadHost)?;
    let bracketed = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if bracketed.is_some() || value.contains(':') {
        let address: Ipv6Addr = bracketed.unwrap_or(&value).parse().map_err(|_| Refusal::BadHost)?;
        return Ok(Host::Address(address.into()));
    }
    if let Ok(address) = value.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    if !is_name(&value) {
        return Err(Refusal::BadHost);
    }
    let configured = rules.names.iter().find(|name| name.eq_ignore_ascii_case(&value));
    configured.map(|name| Host::Name(name.clone())).ok_or(Refusal::OriginNotAdmitted)
}

/// Whether this is a host name. A text that ends in a number is none: some readers take it for an address (`127.1`,
/// `0x7f000001`).
fn is_name(value: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = value.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix(['0'])
            .and_then(|rest| rest.strip_prefix(['x', 'X']))
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    value.len() <= 253 && !number && value.split('.').all(label)
}

/// App and context joined by a slash (P10 to P12), from the raw values of `app` and `context` and the path's suffix. Fails if
/// a segment is not plain, there are too many, the app is not served, or query and path name different contexts.
pub(crate) fn read_scope(
    app: &str,
    context: Option<&str>,
    suffix: &str,
    rules: &ParamRules,
) -> Result<String, Refusal> {
    let app = routing_value(app, Refusal::BadApp)?;
    let app = segments(&app)?;
    let in_query = match context {
        // an empty context means none
        None | Some("") => None,
        Some(context) => Some(routing_value(context, Refusal::BadApp)?),
    };
    let in_query = in_query.as_deref().map(segments).transpose()?;
    let context = match (in_query, path_context(suffix)?) {
        (Some(in_query), Some(in_path)) if in_query != in_path => return Err(Refusal::BadParams),
        (in_query, in_path) => in_query.or(in_path),
    };
    let mut scope = app.to_owned();
    if let Some(context) = context {
        scope.push('/');
        scope.push_str(context);
    }
    check_scope(&scope, rules)?;
    Ok(scope)
}

/// Checks that joined segments are not too many, and that the first is a served app (P10, P11).
fn check_scope(scope: &str, rules: &ParamRules) -> Result<(), Refusal> {
    if scope.split('/').count() > rules.depth_max {
        return Err(Refusal::BadApp);
    }
    let first = scope.split('/').next().unwrap_or_default();
    // the stream manager's own app is never one of a node, whatever the configuration says
    if first.eq_ignore_ascii_case("streammanager") || !rules.apps.iter().any(|app| app == first) {
        return Err(Refusal::AppNotAllowed);
    }
    Ok(())
}

/// App and context as the path of a 2.0 or WHIP route names them. They are not decoded: no segment may have an escape. Fails
/// if they break P7, P10 or P11.
pub(crate) fn path_scope<'t>(app: &'t str, rules: &ParamRules) -> Result<&'t str, Refusal> {
    if app.split('/').any(is_leftover) {
        return Err(Refusal::ScriptLeftover);
    }
    if app.starts_with('/') || app.ends_with('/') {
        return Err(Refusal::BadApp);
    }
    let scope = segments(app)?;
    check_scope(scope, rules)?;
    Ok(scope)
}

/// The context in the path of the two-step route (P12). It is not decoded: no segment may have an escape.
fn path_context(suffix: &str) -> Result<Option<&str>, Refusal> {
    match suffix.strip_prefix('/').unwrap_or(suffix) {
        "" => Ok(None),
        context if is_leftover(context.strip_suffix('/').unwrap_or(context)) => Err(Refusal::ScriptLeftover),
        context => segments(context).map(Some),
    }
}

/// Removes one slash at each end and checks every segment (P10).
fn segments(value: &str) -> Result<&str, Refusal> {
    let value = value.strip_prefix('/').unwrap_or(value);
    let value = value.strip_suffix('/').unwrap_or(value);
    let fits = |segment: &str| {
        (1..=SEGMENT_MAX).contains(&segment.len())
            && !matches!(segment, "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    if value.split('/').all(fits) { Ok(value) } else { Err(Refusal::BadApp) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(suffix: &str, query: &str) -> Result<ConnectionParams, Refusal> {
        let rules = ParamRules { names: vec!["Node1.example".into()], ..ParamRules::default() };
        ConnectionParams::read(suffix, query, &rules)
    }

    // most cases are in tests/vectors.rs; here are those beside them

    #[test]
    fn the_node_target_has_the_scope_and_all_other_pairs() {
        let params = read("/", "host=node1.EXAMPLE&app=live").unwrap();
        assert_eq!((params.node_target.as_str(), params.id()), ("/live/", None));
        assert_eq!(params.host, Host::Name("Node1.example".into()));
        let params = read("/room1", "host=10.0.0.5&x=1&id=a%20b&id=c&app=%2Flive%2F").unwrap();
        assert_eq!((params.scope.as_str(), params.id()), ("live/room1", Some("a%20b")));
        assert_eq!(params.node_target, "/live/room1/?x=1&id=a%20b&id=c");
    }

    #[test]
    fn the_reserved_account_is_refused_in_every_spelling_that_a_node_reads() {
        for pair in [
            "username=cluster-restreamer",
            "username=%63luster-restreamer",
            "username=cluster-restreamer==",
            "?username=cluster-restreamer",
            "%3Fusername=cluster-restreamer",
        ] {
            let query = format!("host=10.0.0.5&app=live&{pair}");
            assert_eq!(read("/", &query), Err(Refusal::ReservedAccount), "{pair}");
        }
        assert!(read("/", "host=10.0.0.5&app=live&username=cluster-restreamer2").is_ok());
        assert!(read("/", "host=10.0.0.5&app=live&password=cluster-restreamer").is_ok());
    }

    #[test]
    fn both_checks_of_p14_can_be_switched_off() {
        let query = "host=10.0.0.5&app=live&username=cluster-restreamer&accessToken=x";
        let off = ParamRules {
            refuse_reserved_account: false,
            refuse_admin_parameter: false,
            ..ParamRules::default()
        };
        let params = ConnectionParams::read("/", query, &off).unwrap();
        assert_eq!(params.node_target, "/live/?username=cluster-restreamer&accessToken=x");
    }

    #[test]
    fn the_path_is_a_context_too() {
        assert_eq!(read("/undefined/", "host=10.0.0.5&app=live"), Err(Refusal::ScriptLeftover));
        assert_eq!(read("/room%31/", "host=10.0.0.5&app=live"), Err(Refusal::BadApp));
        assert_eq!(read("/a/b/c/d", "host=10.0.0.5&app=live"), Err(Refusal::BadApp));
        assert_eq!(read("/room1/", "host=10.0.0.5&app=live&context=").unwrap().scope, "live/room1");
        assert_eq!(read("/room1/", "host=10.0.0.5&app=live&context=room2"), Err(Refusal::BadParams));
    }

    #[test]
    fn queries_pairs_keys_and_segments_have_limits() {
        let with = |filler: &str| read("/", &format!("host=10.0.0.5&app=live&{filler}"));
        let used = "host=10.0.0.5&app=live&".len();
        assert!(with(&format!("x={}", "a".repeat(6000 - used - 2))).is_ok());
        assert_eq!(with(&format!("x={}", "a".repeat(6001 - used - 2))), Err(Refusal::TargetTooLong));
        assert!(with(&"a=1&".repeat(62)).is_ok());
        assert_eq!(with(&"a=1&".repeat(63)), Err(Refusal::BadParams));
        assert!(with(&"k".repeat(128)).is_ok());
        assert_eq!(with(&"k".repeat(129)), Err(Refusal::BadParams));
        assert_eq!(read("/", "host=10.0.0.5&app=live&context=").unwrap().scope, "live");
        assert_eq!(with(&format!("context={}", "s".repeat(65))), Err(Refusal::BadApp));
    }
}
