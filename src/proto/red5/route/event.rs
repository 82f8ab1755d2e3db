//! Questions to the stream manager: what is asked, and whether the answer may be stored.

use crate::proto::red5::route::streams::{Action, stream_path};
use crate::proto::red5::text::{disguises, is_leftover};
use crate::proto::refusal::Refusal;

/// Longest name in bytes for which "no such stream" is stored: an attacker can choose any number of long names.
pub const MISSING_NAME_MAX: usize = 256;

/// Versions of the event API of Stream Manager 1.x.
const VERSIONS: [&str; 5] = ["1.0", "2.0", "3.0", "3.1", "4.0"];

/// A question to the stream manager: to the event API of 1.x, or to the streams service of 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'t> {
    /// What is asked.
    pub kind: EventKind,
    /// Whether the answer may be stored.
    pub keep: Keep,
    /// The whole target, as it came; also the key of the question.
    pub target: &'t str,
    /// Scope and stream, not decoded: `live/room1/stream1` (the guid of 2.0), or `list`.
    pub name: &'t str,
    /// Last segment of the path, not decoded.
    pub stream: &'t str,
}

/// What a question asks the stream manager for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A node for a publisher: exactly one `action=broadcast`.
    Broadcast,
    /// A node for a player: exactly one `action=subscribe`, or the streams service's `subscribe`.
    Subscribe,
    /// Streams: `list`, `list/stats`, `{scope}/{stream}/stats`.
    List,
    /// Anything else that the stream manager may know, and the streams service's `publish`: forwarded; never stored, shared
    /// or repeated.
    Other,
}

/// Whether the answer to a question may be stored, and equal questions may share a flight.
///
/// They may if every parameter of the question is known to mean placement only. Credentials, parameters for validators,
/// `transcode`, `restream`, and every spelling that is not known make it [`Keep::Never`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// No answer is stored, and each question is a flight of its own.
    Never,
    /// Found answers are stored, missing ones are not: the name is longer than [`MISSING_NAME_MAX`].
    Found,
    /// Found and missing answers are stored.
    Both,
}

impl Keep {
    /// Whether a 200 may be stored, and equal questions may share a flight.
    pub fn found(self) -> bool {
        self != Self::Never
    }

    /// Whether a 404 or 400 may be stored.
    pub fn missing(self) -> bool {
        self == Self::Both
    }
}

/// Reads a question to the event API: `/api/{version}/event/{name}`. Fails with [`Refusal::NoSuchRoute`] for any other path
/// below `/api`, with [`Refusal::AdminParameter`] if the query has an `accessToken`.
pub(crate) fn event<'t>(target: &'t str, suffix: &'t str, query: &'t str) -> Result<Event<'t>, Refusal> {
    let rest = suffix.strip_prefix("/api/").ok_or(Refusal::NoSuchRoute)?;
    let (version, rest) = rest.split_once('/').ok_or(Refusal::NoSuchRoute)?;
    let name = rest.strip_prefix("event/").ok_or(Refusal::NoSuchRoute)?;
    let (scope, stream) = name.rsplit_once('/').unwrap_or(("", name));
    if !VERSIONS.contains(&version) || stream.is_empty() || (scope.is_empty() && name != "list") {
        return Err(Refusal::NoSuchRoute);
    }
    let parameters = EventQuery::read(query)?;
    let listing = name == "list" || name == "list/stats" || (stream == "stats" && scope.contains('/'));
    let kind = match (parameters.actions, parameters.action) {
        (1, "broadcast") if !scope.is_empty() => EventKind::Broadcast,
        (1, "subscribe") if !scope.is_empty() => EventKind::Subscribe,
        (0, _) if listing => EventKind::List,
        _ => EventKind::Other,
    };
    let keep = match kind {
        EventKind::Other => Keep::Never,
        _ if !parameters.placement_only => Keep::Never,
        _ if name.len() > MISSING_NAME_MAX => Keep::Found,
        _ => Keep::Both,
    };
    Ok(Event { kind, keep, target, name, stream })
}

/// The query of a question.
struct EventQuery<'t> {
    /// Number of `action` parameters.
    actions: usize,
    /// Value of the last `action`.
    action: &'t str,
    /// All other parameters are about placement, each is there once, and its value can mean only one thing.
    placement_only: bool,
}

impl<'t> EventQuery<'t> {
    /// Fails with [`Refusal::AdminParameter`] at `accessToken` in any disguise.
    fn read(query: &'t str) -> Result<Self, Refusal> {
        let mut read = Self { actions: 0, action: "", placement_only: true };
        // one bit for each known parameter, to notice a second copy
        let mut known = 0_u16;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if disguises(key, "accesstoken") {
                return Err(Refusal::AdminParameter);
            }
            if key == "action" {
                read.actions += 1;
                read.action = value;
                continue;
            }
            let Some((number, fits)) = placement(key, value) else {
                read.placement_only = false;
                continue;
            };
            read.placement_only &= fits && known & (1 << number) == 0;
            known |= 1 << number;
        }
        Ok(read)
    }
}

/// Whether a question to the streams service has parameters about placement only.
fn is_placement_only(query: &str) -> Result<bool, Refusal> {
    let parameters = EventQuery::read(query)?;
    let is_other = |pair: &str| pair.starts_with("transcode=") || pair.starts_with("restream=");
    Ok(parameters.placement_only && parameters.actions == 0 && !query.split('&').any(is_other))
}

/// The number of a parameter about placement, and whether its value can mean only one thing; `None` for other parameters.
fn placement(key: &str, value: &str) -> Option<(u8, bool)> {
    let name = !value.is_empty() && !is_leftover(value) && value.bytes().all(|byte| byte.is_ascii_graphic());
    Some(match key {
        "region" => (0, name),
        "geozone" => (1, name),
        "nodeGroup" => (2, name),
        "subgroup" => (3, name),
        "subGroup" => (4, name),
        "strict" => (5, matches!(value, "true" | "false")),
        "endpoints" => {
            (6, !value.is_empty() && value.len() <= 4 && value.bytes().all(|byte| byte.is_ascii_digit()))
        }
        "transcode" => (7, value == "false"),
        "restream" => (8, value == "false"),
        _ => return None,
    })
}

/// Reads a question to the streams service. A publisher's question has side effects there, so its answer is never stored,
/// shared or repeated. Fails with [`Refusal::BadTarget`] if the guid is none, with [`Refusal::AdminParameter`] if the query
/// has an `accessToken`.
pub(crate) fn streams<'t>(
    target: &'t str,
    query: &'t str,
    group: &'t str,
    action: Action,
    guid: &'t str,
) -> Result<Event<'t>, Refusal> {
    let stream = stream_path(guid)?.stream;
    let placement_only = is_placement_only(query)? && !is_leftover(group);
    let (kind, keep) = match action {
        Action::Publish => (EventKind::Other, Keep::Never),
        Action::Subscribe if !placement_only => (EventKind::Subscribe, Keep::Never),
        Action::Subscribe if guid.len() > MISSING_NAME_MAX => (EventKind::Subscribe, Keep::Found),
        Action::Subscribe => (EventKind::Subscribe, Keep::Both),
    };
    Ok(Event { kind, keep, target, name: guid, stream })
}
