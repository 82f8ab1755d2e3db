//! The priority of a request: publishers may take the reserved slots, because many clients wait for what they publish.
//!
//! A client can claim anything about itself, so priorities help honest clients only. No access depends on them.

use crate::proto::red5::query::{key_value, split};
use crate::proto::red5::route::event::EventKind;
use crate::proto::red5::route::find::Route;
use crate::proto::red5::route::streams::{Action, Kind};

/// What SDKs put before the random `id` of a client that plays.
const PLAYER: &str = "subscriber-";

/// Which slots a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A client that plays, or asks a question: it may take all slots but the reserved ones.
    Normal,
    /// A publisher, or a request of a WHIP or WHEP session that exists: it may take the reserved slots too.
    High,
}

impl Route<'_> {
    /// The priority of a request with this method on this route.
    pub fn priority(&self, method: &str) -> Priority {
        let high = match self {
            Self::Event(event) => event.kind == EventKind::Broadcast || is_publish_of_2_0(event.target),
            Self::TwoStep { query, .. } => {
                let id = split(query).map(key_value).find(|(key, _)| *key == "id");
                id.and_then(|(_, id)| id).is_some_and(|id| !id.starts_with(PLAYER))
            }
            Self::OneStep(route) => route.action == Action::Publish,
            Self::Whip(route) => route.kind == Kind::Whip || matches!(method, "PATCH" | "DELETE"),
        };
        if high { Priority::High } else { Priority::Normal }
    }
}

/// Whether this is the publisher's question of 2.0: `/as/v1/streams/stream/{group}/publish/{guid}`.
fn is_publish_of_2_0(target: &str) -> bool {
    let rest = target.strip_prefix("/as/v1/streams/stream/");
    rest.and_then(|rest| rest.split('/').nth(1)) == Some(Action::Publish.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::red5::route::route;

    #[test]
    fn publishers_have_high_priority_on_every_route() {
        for (high, method, target) in [
            (true, "GET", "/streammanager/api/4.0/event/live/s?action=broadcast"),
            (false, "GET", "/streammanager/api/4.0/event/live/s?action=subscribe"),
            (false, "GET", "/streammanager/api/4.0/event/list"),
            (true, "GET", "/as/v1/streams/stream/ng1/publish/live/s"),
            (false, "GET", "/as/v1/streams/stream/ng1/subscribe/live/publish"),
            (true, "GET", "/streammanager/?id=stream1&host=10.0.0.1&app=live"),
            (false, "GET", "/streammanager/?host=10.0.0.1&app=live&id=subscriber-1b31"),
            (false, "GET", "/streammanager/?host=10.0.0.1&app=live"),
            (true, "GET", "/as/v1/proxy/ws/publish/live/s?id=s"),
            (false, "GET", "/as/v1/proxy/ws/subscribe/live/s?id=s"),
            (true, "POST", "/as/v1/proxy/whip/live/s"),
            (false, "POST", "/as/v1/proxy/whep/live/s"),
            (true, "DELETE", "/as/v1/proxy/whep/live/s"),
            (true, "PATCH", "/live/whep/resource/s"),
        ] {
            let priority = if high { Priority::High } else { Priority::Normal };
            assert_eq!(route(target).expect(target).priority(method), priority, "{method} {target}");
        }
    }
}
