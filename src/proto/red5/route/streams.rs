//! What the path of a stream says, on the routes of Stream Manager 2.0 and of WHIP and WHEP.
//!
//! Only the shape of a path is looked at; whether an app is served is decided with the rules at hand.

use crate::proto::refusal::Refusal;

/// Longest last segment that a path may have: a stream's name, and the handle that may be behind it.
pub(crate) const STREAM_MAX: usize = 512 + 33;

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

    pub(crate) fn read(word: &str) -> Option<Self> {
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

    pub(crate) fn read(word: &str) -> Option<Self> {
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

/// App and stream of a guid, which needs both.
pub(crate) fn stream_path(guid: &str) -> Result<StreamPath<'_>, Refusal> {
    let (app, stream) = guid.rsplit_once('/').ok_or(Refusal::BadTarget)?;
    if app.is_empty() || stream.is_empty() || stream.len() > STREAM_MAX {
        return Err(Refusal::BadTarget);
    }
    Ok(StreamPath { app, stream })
}
