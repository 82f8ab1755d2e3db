//! Affinity: the node of each WHIP session, so that PATCH and DELETE reach it from any connection on any worker.

use crate::proto::red5::whip::{AffinityKey, Handle};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Memory for all WHIP sessions together, in bytes; over it the least recently used ones are forgotten.
const BYTES_MAX: u64 = 32 << 20;

/// How long a WHIP session that was never deleted is remembered. No publisher uses one handle for longer.
const LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A WHIP session: what a POST created at a node.
#[derive(Debug)]
pub(crate) struct WhipSession {
    /// The node that created it.
    pub(crate) node: IpAddr,
    /// The target of its resource at the node.
    pub(crate) at_node: String,
    /// Its random name in the `Location` that the client got.
    pub(crate) handle: Handle,
    /// What its client calls it: finds it for clients without a handle.
    pub(crate) key: AffinityKey,
}

/// A WHIP session has two entries in the cache, one under each of these keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum CacheKey {
    Handle(Handle),
    Affinity(AffinityKey),
}

/// All WHIP sessions that are remembered, for all workers.
pub(crate) struct WhipSessions(Cache<CacheKey, Arc<WhipSession>>);

impl Default for WhipSessions {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(BYTES_MAX)
            // the default policy would reject new sessions in favour of old ones that no client deleted
            .eviction_policy(EvictionPolicy::lru())
            .weigher(|_, session: &Arc<WhipSession>| {
                u32::try_from(256 + session.at_node.len() + session.key.size() * 2).unwrap_or(u32::MAX)
            })
            .time_to_live(LIFE_MAX)
            .build();
        Self(cache)
    }
}

impl WhipSessions {
    /// Remembers a WHIP session. For clients without a handle it replaces an older one of the same name.
    pub(crate) fn remember(&self, session: WhipSession) {
        let session = Arc::new(session);
        self.0.insert(CacheKey::Handle(session.handle), session.clone());
        self.0.insert(CacheKey::Affinity(session.key.clone()), session);
    }

    /// Finds a WHIP session by the handle in its path.
    pub(crate) fn by_handle(&self, handle: Handle) -> Option<Arc<WhipSession>> {
        self.0.get(&CacheKey::Handle(handle))
    }

    /// Finds the newest WHIP session of a name.
    pub(crate) fn by_key(&self, key: AffinityKey) -> Option<Arc<WhipSession>> {
        self.0.get(&CacheKey::Affinity(key))
    }

    /// All WHIP sessions, the newest of each name at the end.
    pub(crate) fn all(&self) -> Vec<Arc<WhipSession>> {
        let is_newest = |session: &WhipSession| {
            self.by_key(session.key.clone()).is_some_and(|newest| newest.handle == session.handle)
        };
        let handles = self.0.iter().filter(|(key, _)| matches!(**key, CacheKey::Handle(_)));
        let (newest, mut all): (Vec<_>, Vec<_>) =
            handles.map(|(_, session)| session).partition(|session| is_newest(session));
        all.extend(newest);
        all
    }

    /// Forgets a WHIP session that has ended.
    pub(crate) fn forget(&self, session: &WhipSession) {
        self.0.invalidate(&CacheKey::Handle(session.handle));
        let key = CacheKey::Affinity(session.key.clone());
        if self.0.get(&key).is_some_and(|newest| newest.handle == session.handle) {
            self.0.invalidate(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::red5::route::{self, Route};
    use crate::proto::red5::rules::ParamRules;
    use crate::proto::red5::whip::{Method, Request};

    fn session(n: u128) -> WhipSession {
        let target = format!("/live/whip/endpoint/s{n}");
        let Ok(Route::Whip(route)) = route::route(&target) else { panic!("{target}") };
        let request = Request::read(&route, Method::Post, &ParamRules::default(), "").unwrap();
        let handle = Handle::new(n.to_be_bytes());
        let at_node = format!("/live/whip/resource/s{n}?{}", "x".repeat(4000));
        WhipSession { node: [10, 0, 0, 5].into(), at_node, handle, key: request.affinity_key() }
    }

    #[test]
    fn new_whip_sessions_replace_the_least_recently_used_ones() {
        let sessions = WhipSessions::default();
        for n in 0..8000 {
            sessions.remember(session(n));
            sessions.0.run_pending_tasks();
        }
        assert!(sessions.0.weighted_size() <= BYTES_MAX);
        for n in 7900..8000 {
            let session = session(n);
            assert!(sessions.by_handle(session.handle).is_some(), "{n}");
            assert!(sessions.by_key(session.key).is_some(), "{n}");
        }
    }
}
