//! Questions to the stream manager: what is asked, and what of the answer may be kept.

use crate::proto::red5::route::streams::{Action, stream_path};
use crate::proto::red5::text::{disguises, is_leftover};
use crate::proto::refusal::Refusal;

/// Names longer than this leave no negative answer behind: they are the attacker's to choose.
pub const MISSING_NAME_MAX: usize = 256;

/// Versions of the 1.x event API.
const VERSIONS: [&str; 5] = ["1.0", "2.0", "3.0", "3.1", "4.0"];

/// A question to the stream manager: to the event API of 1.x, or to the streams service of 2.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'t> {
    pub kind: EventKind,
    pub keep: Keep,
    /// All of it, as it came: also the key under which an answer is kept.
    pub target: &'t str,
    /// Scope and stream, raw: `live/room1/stream1` (the guid of 2.0), or `list`.
    pub name: &'t str,
    /// Last segment of the path, raw.
    pub stream: &'t str,
}

impl Event<'_> {
    /// Whether "there is no such stream" may be remembered too.
    pub fn missing_keepable(&self) -> bool {
        self.keep.missing()
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Exactly one `action=broadcast`.
    Broadcast,
    /// Exactly one `action=subscribe`, or the streams service's `subscribe`.
    Subscribe,
    /// `list`, `list/stats`, `{scope}/{stream}/stats`.
    List,
    /// Anything else the stream manager may know, and the streams service's `publish`: passed, never kept, shared or
    /// repeated.
    Other,
}

/// What of the answer may be kept, and whether equal questions may share a flight.
///
/// A question qualifies if everything in it is known to mean placement only. Credentials, parameters for validators,
/// `transcode` and `restream`, and every spelling we are not sure of make it [`Keep::Never`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Passed on each time, alone.
    Never,
    /// Found answers only; the name is too long to remember that it is missing.
    Found,
    /// Found and missing.
    Both,
}

impl Keep {
    /// Whether a 200 may be kept, and equal questions may wait for one flight.
    pub fn found(self) -> bool {
        self != Self::Never
    }

    /// Whether a 404 or 400 may be kept.
    pub fn missing(self) -> bool {
        self == Self::Both
    }
}

/// `/api/{version}/event/{name}`; nothing else below `/api` is served.
pub(crate) fn event<'t>(target: &'t str, suffix: &'t str, query: &'t str) -> Result<Event<'t>, Refusal> {
    let rest = suffix.strip_prefix("/api/").ok_or(Refusal::NoSuchRoute)?;
    let (version, rest) = rest.split_once('/').ok_or(Refusal::NoSuchRoute)?;
    let name = rest.strip_prefix("event/").ok_or(Refusal::NoSuchRoute)?;
    let (scope, stream) = name.rsplit_once('/').unwrap_or(("", name));
    if !VERSIONS.contains(&version) || stream.is_empty() || (scope.is_empty() && name != "list") {
        return Err(Refusal::NoSuchRoute);
    }
    let asked = Asked::read(query)?;
    let listing = name == "list" || name == "list/stats" || (stream == "stats" && scope.contains('/'));
    let kind = match (asked.actions, asked.action) {
        (1, "broadcast") if !scope.is_empty() => EventKind::Broadcast,
        (1, "subscribe") if !scope.is_empty() => EventKind::Subscribe,
        (0, _) if listing => EventKind::List,
        _ => EventKind::Other,
    };
    let keep = match kind {
        EventKind::Other => Keep::Never,
        _ if !asked.placement_only => Keep::Never,
        _ if name.len() > MISSING_NAME_MAX => Keep::Found,
        _ => Keep::Both,
    };
    Ok(Event { kind, keep, target, name, stream })
}

/// What the query of an event says.
struct Asked<'t> {
    actions: usize,
    action: &'t str,
    /// Nothing in it but placement, each parameter once and with a value that can mean only one thing.
    placement_only: bool,
}

impl<'t> Asked<'t> {
    fn read(query: &'t str) -> Result<Self, Refusal> {
        let mut asked = Self { actions: 0, action: "", placement_only: true };
        // one bit for each known parameter, to notice a second copy
        let mut known = 0_u16;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if disguises(key, "accesstoken") {
                return Err(Refusal::AdminParameter);
            }
            if key == "action" {
                asked.actions += 1;
                asked.action = value;
                continue;
            }
            let Some((place, fits)) = placement(key, value) else {
                asked.placement_only = false;
                continue;
            };
            asked.placement_only &= fits && known & (1 << place) == 0;
            known |= 1 << place;
        }
        Ok(asked)
    }
}

/// Whether a question to the streams service holds nothing but placement.
fn asked_streams(query: &str) -> Result<bool, Refusal> {
    let asked = Asked::read(query)?;
    let decides = |pair: &str| pair.starts_with("transcode=") || pair.starts_with("restream=");
    Ok(asked.placement_only && asked.actions == 0 && !query.split('&').any(decides))
}

/// Which placement parameter this is, and whether its value can be trusted to mean just that.
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

/// A question to the streams service. One for a publisher is a decision with side effects: nothing of it is kept, shared
/// or repeated.
pub(crate) fn streams<'t>(
    target: &'t str,
    query: &'t str,
    group: &'t str,
    action: Action,
    guid: &'t str,
) -> Result<Event<'t>, Refusal> {
    let stream = stream_path(guid)?.stream;
    let placement_only = asked_streams(query)? && !is_leftover(group);
    let (kind, keep) = match action {
        Action::Publish => (EventKind::Other, Keep::Never),
        Action::Subscribe if !placement_only => (EventKind::Subscribe, Keep::Never),
        Action::Subscribe if guid.len() > MISSING_NAME_MAX => (EventKind::Subscribe, Keep::Found),
        Action::Subscribe => (EventKind::Subscribe, Keep::Both),
    };
    Ok(Event { kind, keep, target, name: guid, stream })
}
