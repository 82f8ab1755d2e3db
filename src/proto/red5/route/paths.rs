//! The routes of Stream Manager 2.0 and of WHIP and WHEP: which segments of a path mean what.
//!
//! Only the shape of a path is looked at; whether an app is served is for those to say who know the rules.

use crate::proto::red5::route::{Event, EventKind, Keep, MISSING_NAME_MAX, Route, asked_streams};
use crate::proto::refusal::Refusal;

/// Longest last segment that a path may have: a stream's name, and the handle that may be behind it.
const STREAM_MAX: usize = 512 + 33;

/// What a client wants with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Publish,
    Subscribe,
}

impl Action {
    /// As paths of 2.0 have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }

    fn read(word: &str) -> Option<Self> {
        match word {
            "publish" => Some(Self::Publish),
            "subscribe" => Some(Self::Subscribe),
            _ => None,
        }
    }
}

/// A stream as a path names it, nothing of it checked but that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPath<'t> {
    /// All segments before the last: `live/room1`.
    pub app: &'t str,
    /// The last segment, as it came.
    pub stream: &'t str,
}

/// The WebSocket for which the gateway finds the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneStepRoute<'t> {
    pub action: Action,
    pub path: StreamPath<'t>,
    /// After the first `?`; empty if there is none.
    pub query: &'t str,
}

/// WHIP or WHEP (RFC 9725 and its sister for playing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Whip,
    Whep,
}

impl Kind {
    /// As paths have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }

    /// What it does with a stream.
    pub const fn action(self) -> Action {
        match self {
            Self::Whip => Action::Publish,
            Self::Whep => Action::Subscribe,
        }
    }

    fn read(word: &str) -> Option<Self> {
        match word {
            "whip" => Some(Self::Whip),
            "whep" => Some(Self::Whep),
            _ => None,
        }
    }
}

/// Which of the two URLs of WHIP a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Where sessions are made.
    Endpoint,
    /// A session that was made.
    Resource,
}

impl Step {
    /// As paths of 1.x have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Resource => "resource",
        }
    }
}

/// In which of the ways a WHIP path is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhipForm<'t> {
    /// `/as/v1/proxy/whip/live/stream1`: endpoint and resource in one, told apart by the method.
    Proxy { app: &'t str },
    /// `/live/whip/endpoint/stream1`.
    Direct { app: &'t str, step: Step },
    /// `/streammanager/whip/endpoint/stream1`, the app among the parameters.
    Manager {
        /// Between `/streammanager` and the kind: empty, or a context as in `/room1`.
        suffix: &'t str,
        step: Step,
    },
}

/// A request of WHIP or WHEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WhipRoute<'t> {
    pub kind: Kind,
    pub form: WhipForm<'t>,
    /// The last segment, as it came; the handle of a resource may be in it.
    pub stream: &'t str,
    /// After the first `?`; empty if there is none.
    pub query: &'t str,
}

/// Everything below `/as`; nothing of it that is not named here is served.
pub(crate) fn below_as<'t>(target: &'t str, path: &'t str, query: &'t str) -> Result<Route<'t>, Refusal> {
    let rest = path.strip_prefix("/as/v1/").ok_or(Refusal::NoSuchRoute)?;
    let words = |rest: &'t str| rest.split_once('/').ok_or(Refusal::NoSuchRoute);
    let (service, rest) = words(rest)?;
    let (first, rest) = words(rest)?;
    match (service, first) {
        ("streams", "stream") => {
            let (group, rest) = words(rest)?;
            let (action, guid) = words(rest)?;
            let action = Action::read(action).ok_or(Refusal::NoSuchRoute)?;
            streams(target, query, group, action, guid).map(Route::Event)
        }
        ("proxy", "ws") => {
            let (action, guid) = words(rest)?;
            let action = Action::read(action).ok_or(Refusal::NoSuchRoute)?;
            Ok(Route::OneStep(OneStepRoute { action, path: stream_path(guid)?, query }))
        }
        ("proxy", word) => {
            let kind = Kind::read(word).ok_or(Refusal::NoSuchRoute)?;
            let StreamPath { app, stream } = stream_path(rest)?;
            Ok(Route::Whip(WhipRoute { kind, form: WhipForm::Proxy { app }, stream, query }))
        }
        _ => Err(Refusal::NoSuchRoute),
    }
}

/// App and stream of a guid, which needs both.
fn stream_path(guid: &str) -> Result<StreamPath<'_>, Refusal> {
    let (app, stream) = guid.rsplit_once('/').ok_or(Refusal::BadTarget)?;
    if app.is_empty() || stream.is_empty() || stream.len() > STREAM_MAX {
        return Err(Refusal::BadTarget);
    }
    Ok(StreamPath { app, stream })
}

/// A question to the streams service. One for a publisher is a decision with side effects: nothing of it is kept, shared
/// or repeated.
fn streams<'t>(
    target: &'t str,
    query: &'t str,
    group: &'t str,
    action: Action,
    guid: &'t str,
) -> Result<Event<'t>, Refusal> {
    let stream = stream_path(guid)?.stream;
    let placement_only = asked_streams(query)? && !crate::proto::red5::route::is_leftover(group);
    let (kind, keep) = match action {
        Action::Publish => (EventKind::Other, Keep::Never),
        Action::Subscribe if !placement_only => (EventKind::Subscribe, Keep::Never),
        Action::Subscribe if guid.len() > MISSING_NAME_MAX => (EventKind::Subscribe, Keep::Found),
        Action::Subscribe => (EventKind::Subscribe, Keep::Both),
    };
    Ok(Event { kind, keep, target, name: guid, stream })
}

/// `{before}/{whip|whep}/{endpoint|resource}/{stream}`: what stands before it, and the rest taken apart.
fn split_whip(path: &str) -> Option<(&str, Kind, Step, &str)> {
    let (rest, stream) = path.rsplit_once('/')?;
    let (rest, step) = rest.rsplit_once('/')?;
    let (before, kind) = rest.rsplit_once('/')?;
    let step = match step {
        "endpoint" => Step::Endpoint,
        "resource" => Step::Resource,
        _ => return None,
    };
    (!stream.is_empty() && stream.len() <= STREAM_MAX).then_some((before, Kind::read(kind)?, step, stream))
}

/// `/{app…}/{whip|whep}/{endpoint|resource}/{stream}`.
pub(crate) fn direct<'t>(path: &'t str, query: &'t str) -> Result<Route<'t>, Refusal> {
    let (before, kind, step, stream) = split_whip(path).ok_or(Refusal::NoSuchRoute)?;
    let app = before.strip_prefix('/').filter(|app| !app.is_empty()).ok_or(Refusal::NoSuchRoute)?;
    Ok(Route::Whip(WhipRoute { kind, form: WhipForm::Direct { app, step }, stream, query }))
}

/// The same below `/streammanager`; `None` if it is no such path.
pub(crate) fn below_manager<'t>(suffix: &'t str, query: &'t str) -> Option<Route<'t>> {
    let (suffix, kind, step, stream) = split_whip(suffix)?;
    Some(Route::Whip(WhipRoute { kind, form: WhipForm::Manager { suffix, step }, stream, query }))
}
