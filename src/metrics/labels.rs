//! The closed sets of label values that belong to metrics alone. Codes of refusals, sides and ends have theirs in `proto`.

use crate::proto::websocket::relay::By;

/// Defines a set of label values: an enum whose discriminants are the indices of the counters, and the word of each value.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($variant),+ }

        impl $name {
            /// All values, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The number of values, and so of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The value of the label, as `/metrics` prints it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

labels! {
    /// How a session came about: `route` of the metrics of sessions.
    Route { TwoStep = "two_step", OneStep = "one_step", Whip = "whip", Whep = "whep" }
}

labels! {
    /// What a request was for: `route` of the metrics of requests.
    RequestRoute {
        Event = "event",
        Streams = "streams",
        TwoStep = "two_step",
        OneStep = "one_step",
        Whip = "whip",
        Whep = "whep",
        Health = "health",
        Other = "other",
    }
}

labels! {
    /// How a WHIP or WHEP session ended, as far as the gateway learns of it: by a DELETE of its client that the node took; the
    /// node did not know it any more (404 or 410); the gateway deleted it, because its client had left before it had the
    /// answer; the operator ended it; the table of sessions was full.
    WhipEnd {
        Deleted = "deleted",
        Gone = "gone",
        Undone = "undone",
        Kicked = "kicked",
        Forgotten = "forgotten",
    }
}

impl WhipEnd {
    /// The party that ended it.
    pub const fn by(self) -> By {
        match self {
            Self::Deleted | Self::Undone => By::Client,
            Self::Gone => By::Node,
            Self::Kicked | Self::Forgotten => By::Gateway,
        }
    }
}

labels! {
    /// The TLS version of a completed handshake.
    Version { Tls12 = "1.2", Tls13 = "1.3" }
}

labels! {
    /// The result of a question to the stream manager.
    AnswerOutcome {
        Hit = "hit",
        Miss = "miss",
        Collapsed = "collapsed",
        MissingHit = "missing_hit",
        Bypass = "bypass",
        Invalidated = "invalidated",
        Failed = "failed",
    }
}

labels! {
    /// What became of a question to one stream manager.
    ManagerOutcome {
        Answered = "answered",
        Dns = "dns",
        Refused = "refused",
        Unreachable = "unreachable",
        Tls = "tls",
        Timeout = "timeout",
        ServerError = "server_error",
        Closed = "closed",
        NotHttp = "not_http",
        Json = "json",
        Unusable = "unusable",
        NotAsked = "not_asked",
    }
}

labels! {
    /// The result of one dial of a node.
    DialOutcome {
        Connected = "connected",
        Refused = "refused",
        Timeout = "timeout",
        BadHandshake = "bad_handshake",
        UpgradeTimeout = "upgrade_timeout",
        Cancelled = "cancelled",
        Exhausted = "exhausted",
        Local = "local",
    }
}

labels! {
    /// The reason why a TLS handshake failed.
    TlsFailure { Timeout = "timeout", Protocol = "protocol", Lost = "lost" }
}

labels! {
    /// The reason why a connection was dropped before TLS, where a load balancer has to send a PROXY header.
    ProxyFailure { Untrusted = "untrusted", Malformed = "malformed", Timeout = "timeout", Lost = "lost" }
}
