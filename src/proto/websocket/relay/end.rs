//! The end of a relay: which side caused it, and how.

use crate::proto::websocket::frame::Side;

/// Which party caused the end of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum By {
    /// The client's connection.
    Client,
    /// The node's connection.
    Node,
    /// The gateway: a limit, a timeout, a drain, or the operator.
    Gateway,
}

impl By {
    /// All variants, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 3] = [Self::Client, Self::Node, Self::Gateway];

    /// The label in metrics and logs. A node is called `origin` there: that label is a fixed name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "origin",
            Self::Gateway => "gateway",
        }
    }
}

impl From<Side> for By {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Node => Self::Node,
        }
    }
}

/// The way in which a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum How {
    /// A side sent a Close frame.
    Close,
    /// A connection ended at a frame boundary, without a Close.
    Lost,
    /// The gateway drains, and both legs got its Close.
    Drain,
    /// No frame but Ping and Pong went through for `idle`.
    Idle,
    /// The client sent nothing for `pong_timeout` after a Ping.
    Silent,
    /// The relay reached `lifetime`.
    Lifetime,
    /// A message is longer than `message_max`.
    TooBig,
    /// A side sent a frame that RFC 6455 forbids.
    Violation,
    /// A connection ended inside a frame.
    Truncated,
    /// The operator ended the session.
    Kicked,
    /// A drain was over before both legs got its Close.
    Cut,
}

impl How {
    /// All variants, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 11] = [
        Self::Close,
        Self::Lost,
        Self::Drain,
        Self::Idle,
        Self::Silent,
        Self::Lifetime,
        Self::TooBig,
        Self::Violation,
        Self::Truncated,
        Self::Kicked,
        Self::Cut,
    ];

    /// The label in metrics and logs. A truncated end is called `torn` there: that label is a fixed name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Lost => "lost",
            Self::Drain => "drain",
            Self::Idle => "idle",
            Self::Silent => "silent",
            Self::Lifetime => "lifetime",
            Self::TooBig => "too_big",
            Self::Violation => "violation",
            Self::Truncated => "torn",
            Self::Kicked => "kicked",
            Self::Cut => "cut",
        }
    }
}

/// The first cause of a relay's end. Later causes do not replace it, but a drain that was cut becomes [`How::Cut`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The party that caused it.
    pub by: By,
    /// What happened.
    pub how: How,
}
