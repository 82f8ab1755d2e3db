//! What the client of a session does with its stream.

use crate::proto::red5::route::{Action, Kind};

/// Whether the client of a session sends a stream or receives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Role {
    /// It sends a stream.
    Publisher,
    /// It receives a stream.
    Subscriber,
}

/// How the SDKs begin the `id` of a subscriber's WebSocket; a publisher's is the name of its stream.
const SUBSCRIBER: &str = "subscriber-";

impl Role {
    /// All roles, in the order of their numbers (`as usize`).
    pub const ALL: [Self; 2] = [Self::Publisher, Self::Subscriber];

    /// How many roles there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The label in metrics, logs and the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
        }
    }

    /// The role with this label.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// The role of a two-step WebSocket, in which the client says nothing of it but its `id`.
    pub fn of_id(id: &str) -> Self {
        if id.starts_with(SUBSCRIBER) { Self::Subscriber } else { Self::Publisher }
    }
}

impl From<Action> for Role {
    fn from(action: Action) -> Self {
        match action {
            Action::Publish => Self::Publisher,
            Action::Subscribe => Self::Subscriber,
        }
    }
}

impl From<Kind> for Role {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Whip => Self::Publisher,
            Kind::Whep => Self::Subscriber,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_two_step_websocket_tells_the_role() {
        for (id, role) in [
            ("subscriber-1b31", Role::Subscriber),
            ("subscriber-", Role::Subscriber),
            ("stream1", Role::Publisher),
            ("my-subscriber-1", Role::Publisher),
            ("", Role::Publisher),
        ] {
            assert_eq!(Role::of_id(id), role, "{id}");
        }
        assert!(Role::ALL.iter().all(|role| Role::from_word(role.word()) == Some(*role)));
    }
}
