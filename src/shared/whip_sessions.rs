//! Which node made a WHIP or WHEP session: PATCH and DELETE have to find it again, from any connection on any worker.

use crate::proto::red5::whip::{AffinityKey, Handle};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Memory for all sessions together; those that were not used for the longest time go first.
const BYTES_MAX: u64 = 32 << 20;

/// Nobody publishes longer under one handle; a session that was never deleted is forgotten then.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A session that a node made.
#[derive(Debug)]
pub(crate) struct WhipSession {
    pub(crate) node: IpAddr,
    /// Its resource at the node.
    pub(crate) at_node: String,
    pub(crate) handle: Handle,
    pub(crate) key: AffinityKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Slot {
    Handle(Handle),
    Key(AffinityKey),
}

/// All sessions that are remembered, for all workers.
pub(crate) struct WhipSessions(Cache<Slot, Arc<WhipSession>>);

impl Default for WhipSessions {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(BYTES_MAX)
            // the usual policy would turn new sessions away for the sake of old ones that nobody deleted
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, made: &Arc<WhipSession>| {
                u32::try_from(256 + made.at_node.len() + made.key.size() * 2).unwrap_or(u32::MAX)
            })
            .time_to_live(LIFE)
            .build();
        Self(cache)
    }
}

impl WhipSessions {
    /// Remembers a session. A newer one of the same name takes the older one's place for clients without a handle.
    pub(crate) fn remember(&self, made: WhipSession) {
        let made = Arc::new(made);
        self.0.insert(Slot::Handle(made.handle), made.clone());
        self.0.insert(Slot::Key(made.key.clone()), made);
    }

    /// Finds a session by the handle in its path.
    pub(crate) fn by_handle(&self, handle: Handle) -> Option<Arc<WhipSession>> {
        self.0.get(&Slot::Handle(handle))
    }

    /// Finds the newest session of a name.
    pub(crate) fn by_key(&self, key: AffinityKey) -> Option<Arc<WhipSession>> {
        self.0.get(&Slot::Key(key))
    }

    /// All sessions, the newest of each name last.
    pub(crate) fn all(&self) -> Vec<Arc<WhipSession>> {
        let named = |made: &WhipSession| {
            self.by_key(made.key.clone()).is_some_and(|newest| newest.handle == made.handle)
        };
        let handles = self.0.iter().filter(|(slot, _)| matches!(**slot, Slot::Handle(_)));
        let (newest, mut all): (Vec<_>, Vec<_>) = handles.map(|(_, made)| made).partition(|made| named(made));
        all.extend(newest);
        all
    }

    /// A session has ended.
    pub(crate) fn forget(&self, made: &WhipSession) {
        self.0.invalidate(&Slot::Handle(made.handle));
        let slot = Slot::Key(made.key.clone());
        if self.0.get(&slot).is_some_and(|newest| newest.handle == made.handle) {
            self.0.invalidate(&slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::red5::route;
    use crate::proto::red5::route::Route;
    use crate::proto::red5::rules::ParamRules;
    use crate::proto::red5::whip::{Method, Request};

    fn made(n: u128) -> WhipSession {
        let target = format!("/live/whip/endpoint/s{n}");
        let Ok(Route::Whip(route)) = route::route(&target) else { panic!("{target}") };
        let request = Request::read(&route, Method::Post, &ParamRules::default(), "").unwrap();
        let handle = Handle::new(n.to_be_bytes());
        let at_node = format!("/live/whip/resource/s{n}?{}", "x".repeat(4000));
        WhipSession { node: [10, 0, 0, 5].into(), at_node, handle, key: request.affinity_key() }
    }

    #[test]
    fn old_sessions_make_room_for_new_ones() {
        let affinity = WhipSessions::default();
        for n in 0..8000 {
            affinity.remember(made(n));
            affinity.0.run_pending_tasks();
        }
        assert!(affinity.0.weighted_size() <= BYTES_MAX);
        for n in 7900..8000 {
            let made = made(n);
            assert!(affinity.by_handle(made.handle).is_some(), "{n}");
            assert!(affinity.by_key(made.key).is_some(), "{n}");
        }
    }
}
