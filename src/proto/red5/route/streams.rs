//! The path of a stream on the routes of Stream Manager 2.0 and of WHIP and WHEP.
//!
//! Only the form of a path is checked here; whether its app is served is checked with the rules.

use crate::proto::refusal::Refusal;

/// Longest last segment of a path, in bytes: a stream's name of 512, and a handle of 33 behind it.
pub(crate) const STREAM_MAX: usize = 512 + 33;

/// What a client does with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The client sends the stream.
    Publish,
    /// The client plays the stream.
    Subscribe,
}

impl Action {
    /// The word for it in paths of Stream Manager 2.0.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }

    /// The action that a word of such a path means.
    pub(crate) fn read(word: &str) -> Option<Self> {
        match word {
            "publish" => Some(Self::Publish),
            "subscribe" => Some(Self::Subscribe),
            _ => None,
        }
    }
}

/// A stream as a path names it. Both parts are there; nothing else is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPath<'t> {
    /// All segments before the last, app and context: `live/room1`.
    pub app: &'t str,
    /// The last segment, as it came.
    pub stream: &'t str,
}

/// A request for the WebSocket for which the gateway finds the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneStepRoute<'t> {
    /// Whether the client publishes or plays.
    pub action: Action,
    /// App and stream.
    pub path: StreamPath<'t>,
    /// What stands behind the first `?`; empty if there is none.
    pub query: &'t str,
}

/// Which of the two protocols over HTTP a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// WHIP, for publishing (RFC 9725).
    Whip,
    /// WHEP, for playing (draft-ietf-wish-whep).
    Whep,
}

impl Kind {
    /// The word for it in paths of all routes.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }

    /// What a client of this protocol does with a stream.
    pub const fn action(self) -> Action {
        match self {
            Self::Whip => Action::Publish,
            Self::Whep => Action::Subscribe,
        }
    }

    /// The protocol that a word of a path means.
    pub(crate) fn read(word: &str) -> Option<Self> {
        match word {
            "whip" => Some(Self::Whip),
            "whep" => Some(Self::Whep),
            _ => None,
        }
    }
}

/// Which of the two URLs of WHIP or WHEP a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The endpoint: a POST to it creates a WHIP session.
    Endpoint,
    /// The resource of a WHIP session that was created.
    Resource,
}

impl Step {
    /// The word for it in paths of Stream Manager 1.x and of nodes.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Resource => "resource",
        }
    }
}

/// The three forms of a WHIP or WHEP path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhipForm<'t> {
    /// `/as/v1/proxy/whip/live/stream1` of Stream Manager 2.0: endpoint and resource have one path, the method tells which.
    Proxy {
        /// App and context: `live/room1`.
        app: &'t str,
    },
    /// `/live/whip/endpoint/stream1`, as at a node.
    Direct {
        /// App and context: `live/room1`.
        app: &'t str,
        /// Endpoint or resource.
        step: Step,
    },
    /// `/streammanager/whip/endpoint/stream1` of Stream Manager 1.x, with the app among the parameters.
    Manager {
        /// What stands between `/streammanager` and the kind: empty, or a context as in `/room1`.
        suffix: &'t str,
        /// Endpoint or resource.
        step: Step,
    },
}

/// The route of a request of WHIP or WHEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WhipRoute<'t> {
    /// WHIP or WHEP.
    pub kind: Kind,
    /// The form of the path, with its app and step.
    pub form: WhipForm<'t>,
    /// The last segment, as it came: the stream's name, and behind it perhaps the handle of a resource.
    pub stream: &'t str,
    /// What stands behind the first `?`; empty if there is none.
    pub query: &'t str,
}

/// App and stream of a guid. Fails with [`Refusal::BadTarget`] if one is missing or the stream is too long.
pub(crate) fn stream_path(guid: &str) -> Result<StreamPath<'_>, Refusal> {
    let (app, stream) = guid.rsplit_once('/').ok_or(Refusal::BadTarget)?;
    if app.is_empty() || stream.is_empty() || stream.len() > STREAM_MAX {
        return Err(Refusal::BadTarget);
    }
    Ok(StreamPath { app, stream })
}
