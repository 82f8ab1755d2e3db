//! Whose requests are served last of all when places get few: those of publishers, whom many wait for.
//!
//! A client may say of itself what it likes, so a priority keeps order among honest clients only. It opens nothing.

use crate::proto::red5::query::{key_value, split};
use crate::proto::red5::route::event::EventKind;
use crate::proto::red5::route::find::Route;
use crate::proto::red5::route::streams::{Action, Kind};

/// What SDKs put before the random `id` of a client that plays.
const PLAYER: &str = "subscriber-";

/// What it costs to turn a request away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// One who would watch, or ask. It comes again.
    Usual,
    /// A publisher on its way, or the course of a WHIP or WHEP session that exists.
    First,
}

impl Route<'_> {
    /// The priority of a request on this route.
    pub fn priority(&self, method: &str) -> Priority {
        let first = match self {
            Self::Event(event) => event.kind == EventKind::Broadcast || is_publish_of_2_0(event.target),
            Self::TwoStep { query, .. } => {
                let id = split(query).map(key_value).find(|(key, _)| *key == "id");
                id.and_then(|(_, id)| id).is_some_and(|id| !id.starts_with(PLAYER))
            }
            Self::OneStep(route) => route.action == Action::Publish,
            Self::Whip(route) => route.kind == Kind::Whip || matches!(method, "PATCH" | "DELETE"),
        };
        if first { Priority::First } else { Priority::Usual }
    }
}

/// `/as/v1/streams/stream/{group}/publish/{guid}`
fn is_publish_of_2_0(target: &str) -> bool {
    let rest = target.strip_prefix("/as/v1/streams/stream/");
    rest.and_then(|rest| rest.split('/').nth(1)) == Some(Action::Publish.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::red5::route::route;

    #[test]
    fn publishers_come_first_on_every_route() {
        for (first, method, target) in [
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
            let priority = if first { Priority::First } else { Priority::Usual };
            assert_eq!(route(target).expect(target).priority(method), priority, "{method} {target}");
        }
    }
}
