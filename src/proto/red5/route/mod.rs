//! Which route a request target takes, matched on the raw path, strictly and with regard to case.
//!
//! Nothing is normalised here: what a route gives on is the bytes that came. A path that two readers could understand
//! differently is refused before any route is looked at. Methods are the caller's business; parameters of the two-step
//! route are `params`' business.

use percent_encoding::percent_decode;

use crate::proto::http::head::target_byte;
use crate::proto::http::redact::unescaped;
pub use crate::proto::red5::route::paths::{
    Action, Kind, OneStepRoute, Step, StreamPath, WhipForm, WhipRoute,
};
pub use crate::proto::red5::route::priority::Priority;
use crate::proto::refusal::Refusal;

mod paths;
mod priority;
#[cfg(test)]
mod tests;

/// Names longer than this leave no negative answer behind: they are the attacker's to choose.
pub const MISSING_NAME_MAX: usize = 256;

/// Versions of the 1.x event API.
const VERSIONS: [&str; 5] = ["1.0", "2.0", "3.0", "3.1", "4.0"];

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'t> {
    /// The WebSocket whose query names the node.
    TwoStep {
        /// Between `/streammanager` and the query: empty, `/`, `/room1/`, …
        suffix: &'t str,
        /// After the first `?`; empty if there is none.
        query: &'t str,
    },
    /// A question to the stream manager.
    Event(Event<'t>),
    /// The WebSocket for which the gateway finds the node.
    OneStep(OneStepRoute<'t>),
    Whip(WhipRoute<'t>),
}

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

/// Finds the route of a target in origin-form.
pub fn route(target: &str) -> Result<Route<'_>, Refusal> {
    if !target.starts_with('/') || !target.bytes().all(target_byte) {
        return Err(Refusal::BadTarget);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if is_ambiguous(path) {
        return Err(Refusal::BadTarget);
    }
    let (first, suffix) = match path[1..].find('/') {
        Some(end) => path.split_at(end + 1),
        None => (path, ""),
    };
    match first {
        "/streammanager" => below_manager(target, suffix, query),
        "/as" => paths::below_as(target, path, query),
        _ => paths::direct(path, query),
    }
}

/// What the stream manager's own app serves; any other word is a context of the two-step route.
fn below_manager<'t>(target: &'t str, suffix: &'t str, query: &'t str) -> Result<Route<'t>, Refusal> {
    match suffix.split('/').nth(1) {
        Some("api") => event(target, suffix, query),
        Some("whip" | "whep") => paths::below_manager(suffix, query).ok_or(Refusal::NoSuchRoute),
        _ => Ok(paths::below_manager(suffix, query).unwrap_or(Route::TwoStep { suffix, query })),
    }
}

/// Whether two readers could find different paths in this one: before unescaping it, after having done so once, or after
/// having done so as often as it goes, as several readers in a row would.
pub(crate) fn is_ambiguous(path: &str) -> bool {
    if has_trick(path.as_bytes()) {
        return true;
    }
    if !path.contains('%') {
        return false;
    }
    let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
    !escapes_whole(path)
        || std::str::from_utf8(&decoded).is_err()
        || has_trick(&decoded)
        || has_trick(&unescaped(path.as_bytes()))
}

/// Dot segments, empty segments, parameters of segments, backslashes, control bytes, and escapes of separators.
fn has_trick(path: &[u8]) -> bool {
    let odd = path.iter().any(|&byte| byte < 0x20 || byte == 0x7f || byte == b';' || byte == b'\\');
    let escaped = path.windows(3).any(|three| {
        three[0] == b'%'
            && matches!([three[1], three[2].to_ascii_lowercase()], [b'2', b'f'] | [b'5', b'c'] | [b'0', b'0'])
    });
    let dots = |segment: &[u8]| percent_decode(segment).eq(*b".") || percent_decode(segment).eq(*b"..");
    odd || escaped || path.windows(2).any(|two| two == b"//") || path.split(|&byte| byte == b'/').any(dots)
}

/// Whether every `%` begins a whole escape.
pub(crate) fn escapes_whole(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'%', bytes).all(|place| {
        bytes.get(place + 1..place + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// `/api/{version}/event/{name}`; nothing else below `/api` is served.
fn event<'t>(target: &'t str, suffix: &'t str, query: &'t str) -> Result<Route<'t>, Refusal> {
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
    Ok(Route::Event(Event { kind, keep, target, name, stream }))
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

/// Words that a script left where a value belonged (P7).
pub(crate) fn is_leftover(value: &str) -> bool {
    matches!(value, "undefined" | "null" | "NaN" | "[object Object]" | "true" | "false")
}

/// Whether a key is this name in disguise: unescaped once, question marks removed, in lower case (P4).
pub(crate) fn disguises(key: &str, name: &str) -> bool {
    let plain =
        percent_decode(key.as_bytes()).filter(|&byte| byte != b'?').map(|byte| byte.to_ascii_lowercase());
    plain.eq(name.bytes().map(|byte| byte.to_ascii_lowercase()))
}
