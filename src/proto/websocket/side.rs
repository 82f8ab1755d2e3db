//! The two sides of a relay.

/// The two sides of a relay, as sender or as receiver of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// The client; its frames are masked.
    Client,
    /// The node; frames to it are masked, since the gateway is its client.
    Node,
}

impl Side {
    /// Both sides, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 2] = [Self::Client, Self::Node];

    /// The label in metrics and logs. A node is called `origin` there: that label is a fixed name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "origin",
        }
    }

    /// The side opposite to this one.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Node,
            Self::Node => Self::Client,
        }
    }
}
