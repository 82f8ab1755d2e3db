//! Which route a request target takes, matched on the raw path, strictly and with regard to case.
//!
//! Nothing is normalised here: what a route gives on is the bytes that came. A path that two readers could understand
//! differently is refused before any route is looked at. Methods are the caller's business; parameters of the two-step
//! route are `params`' business.

use percent_encoding::percent_decode;

use super::head::target_byte;
use super::refusal::Refusal;

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
}

/// A question to the stream manager's event API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'t> {
    pub kind: EventKind,
    pub keep: Keep,
    /// All of it, as it came: also the key under which an answer is kept.
    pub target: &'t str,
    /// Scope and stream, raw: `live/room1/stream1`, or `list`.
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
    /// Exactly one `action=subscribe`.
    Subscribe,
    /// `list`, `list/stats`, `{scope}/{stream}/stats`.
    List,
    /// Anything else the stream manager may know: passed, never kept.
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
    // The 2.0 routes (/as/v1/…) and WHIP/WHEP outside of /streammanager get their branch here.
    let suffix = path.strip_prefix("/streammanager").ok_or(Refusal::NoSuchRoute)?;
    let first = match suffix.strip_prefix('/') {
        Some(inside) => inside.split('/').next().unwrap_or_default(),
        None if suffix.is_empty() => "",
        None => return Err(Refusal::NoSuchRoute),
    };
    match first {
        "api" => event(target, suffix, query),
        // WHIP and WHEP 1.x live here one day; until then they are not a context
        "whip" | "whep" => Err(Refusal::NoSuchRoute),
        _ => Ok(Route::TwoStep { suffix, query }),
    }
}

/// Whether two readers could find different paths in this one: before unescaping it, or after having done so once.
fn is_ambiguous(path: &str) -> bool {
    if has_trick(path.as_bytes()) {
        return true;
    }
    if !path.contains('%') {
        return false;
    }
    let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
    !escapes_whole(path) || std::str::from_utf8(&decoded).is_err() || has_trick(&decoded)
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
    plain.eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_step_route() {
        let two_step = |suffix, query| Ok(Route::TwoStep { suffix, query });
        assert_eq!(route("/streammanager?id=s"), two_step("", "id=s"));
        assert_eq!(route("/streammanager/??id=s"), two_step("/", "?id=s"));
        assert_eq!(route("/streammanager/room1/?id=s?x"), two_step("/room1/", "id=s?x"));
        assert_eq!(route("/streammanager/apis"), two_step("/apis", ""));
    }

    #[test]
    fn nothing_else_is_served() {
        for target in [
            "/",
            "/streammanagers/",
            "/StreamManager/",
            "/streammanager/api",
            "/streammanager/api/",
            "/streammanager/api/4.0/admin/proxy/clients?accessToken=x",
            "/streammanager/api/4.0/admin/event/meta/live/s",
            "/streammanager/api/4.0/media/live/mediafiles",
            "/streammanager/api/4.0/file/live/s.m3u8",
            "/streammanager/api/5.0/event/live/s",
            "/streammanager/api/4.0/Event/live/s",
            "/streammanager/api/4.0/%65vent/live/s",
            "/streammanager/api/4.0/event",
            "/streammanager/api/4.0/event/",
            "/streammanager/api/4.0/event/live",
            "/streammanager/api/4.0/event/live/",
            "/streammanager/whip/endpoint/s",
            "/as/v1/proxy/ws/publish/live/s?id=s",
            "/as/v1/admin/rtcproxy",
            "/live/whep/endpoint/s",
        ] {
            assert_eq!(route(target), Err(Refusal::NoSuchRoute), "{target}");
        }
    }

    #[test]
    fn a_path_with_two_readings_is_no_path() {
        for path in [
            "/streammanager//",
            "//streammanager/",
            "/streammanager/%2e%2e/",
            "/streammanager/.",
            "/streammanager/api/4.0/event/../admin/x",
            "/streammanager/api/4.0/event/live/%2E./x",
            "/streammanager/api/4.0/event/live/%252e%252e/x",
            "/streammanager/api/4.0/event/live;jsessionid=1/x",
            "/streammanager/api/4.0/event/live%3Bx/x",
            "/streammanager/api/4.0/event/live%2fx",
            "/streammanager/api/4.0/event/live/a%252Fx",
            "/streammanager/api/4.0/event/live/a%5cx",
            "/streammanager/api/4.0/event/live/a\\x",
            "/streammanager/api/4.0/event/live/a%00",
            "/streammanager/api/4.0/event/live/a%0d%0a",
            "/streammanager/api/4.0/event/live/100%",
            "/streammanager/api/4.0/event/live/%zz",
            "/streammanager/api/4.0/event/live/%c0%ae%c0%ae/x",
            "/streammanager/api/4.0/event/live/a#b",
            "streammanager/",
            "",
        ] {
            assert_eq!(route(path), Err(Refusal::BadTarget), "{path}");
        }
    }

    fn event(rest: &str) -> Event<'_> {
        match route(rest) {
            Ok(Route::Event(event)) => event,
            other => panic!("{rest}: {other:?}"),
        }
    }

    #[test]
    fn events_and_what_may_be_kept_of_them() {
        use EventKind::*;
        for (rest, kind, keep) in [
            ("live/s?action=broadcast", Broadcast, Keep::Both),
            ("live/room1/a%20b&c?action=subscribe", Subscribe, Keep::Both),
            ("live/s?action=subscribe&region=us-east-1&strict=true&endpoints=2", Subscribe, Keep::Both),
            ("live/s?action=broadcast&transcode=false", Broadcast, Keep::Both),
            ("live/s?action=broadcast&transcode=true", Broadcast, Keep::Never),
            ("live/s?action=broadcast&restream=1", Broadcast, Keep::Never),
            ("live/s?action=broadcast&region=a&region=b", Broadcast, Keep::Never),
            ("live/s?action=subscribe&region=undefined", Subscribe, Keep::Never),
            ("live/s?action=subscribe&username=u&password=p", Subscribe, Keep::Never),
            ("live/s?action=subscribe&token=t", Subscribe, Keep::Never),
            ("live/s?action=subscribe&foo=bar", Subscribe, Keep::Never),
            ("live/s?action=subscribe&Region=a", Subscribe, Keep::Never),
            ("live/s?action=subscribe&x", Subscribe, Keep::Never),
            ("live/s?action=subscribe&action=subscribe", Other, Keep::Never),
            ("live/s?Action=subscribe", Other, Keep::Never),
            ("live/s", Other, Keep::Never),
            ("live/room/join", Other, Keep::Never),
            ("list", List, Keep::Both),
            ("list/stats", List, Keep::Both),
            ("live/s/stats", List, Keep::Both),
            ("list?foo=bar", List, Keep::Never),
            ("list?action=subscribe", Other, Keep::Never),
            ("live/stats?action=subscribe", Subscribe, Keep::Both),
        ] {
            let target = format!("/streammanager/api/3.1/event/{rest}");
            let event = event(&target);
            assert_eq!((event.kind, event.keep), (kind, keep), "{rest}");
            assert_eq!(event.target, target);
        }
        let target = "/streammanager/api/1.0/event/live/room1/s?action=subscribe";
        assert_eq!((event(target).name, event(target).stream), ("live/room1/s", "s"));
    }

    #[test]
    fn a_long_name_leaves_nothing_missing() {
        let target = |length: usize| {
            format!(
                "/streammanager/api/4.0/event/live/{}?action=subscribe",
                "a".repeat(length - "live/".len())
            )
        };
        assert!(event(&target(256)).missing_keepable());
        assert_eq!(event(&target(257)).keep, Keep::Found);
    }

    #[test]
    fn an_admin_token_is_refused_in_any_disguise() {
        for key in
            ["accessToken", "accesstoken", "ACCESSTOKEN", "acces%73Token", "?accessToken", "%3FaccessToken"]
        {
            let target = format!("/streammanager/api/4.0/event/live/s?action=subscribe&{key}=x");
            assert_eq!(route(&target), Err(Refusal::AdminParameter), "{key}");
        }
    }
}
