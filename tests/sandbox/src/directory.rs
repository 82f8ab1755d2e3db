//! Which streams are live on which node: the cluster's common memory. Nodes write it, the manager reads it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// One live stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Path of the application without slashes at its ends, `live/room1`.
    pub scope: String,
    /// The stream's name.
    pub name: String,
    /// Index of the node that has it.
    pub node: usize,
    /// Who plays it now.
    pub subscribers: u64,
    /// Milliseconds since 1970.
    pub since: u64,
}

/// The directory itself, shared by every part of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    streams: Mutex<BTreeMap<(String, String), Live>>,
}

impl Directory {
    /// Enters a stream; false when the name is taken.
    pub(crate) fn publish(&self, scope: &str, name: &str, node: usize) -> bool {
        let mut streams = self.lock();
        let key = (scope.to_owned(), name.to_owned());
        if streams.contains_key(&key) {
            return false;
        }
        let live =
            Live { scope: scope.to_owned(), name: name.to_owned(), node, subscribers: 0, since: now_ms() };
        streams.insert(key, live);
        true
    }

    /// Takes a stream out again.
    pub(crate) fn unpublish(&self, scope: &str, name: &str) {
        self.lock().remove(&(scope.to_owned(), name.to_owned()));
    }

    /// Counts a subscriber in (`true`) or out.
    pub(crate) fn count_subscriber(&self, scope: &str, name: &str, joins: bool) {
        if let Some(live) = self.lock().get_mut(&(scope.to_owned(), name.to_owned())) {
            live.subscribers = if joins { live.subscribers + 1 } else { live.subscribers.saturating_sub(1) };
        }
    }

    /// The stream, if it is live somewhere.
    pub(crate) fn find(&self, scope: &str, name: &str) -> Option<Live> {
        self.lock().get(&(scope.to_owned(), name.to_owned())).cloned()
    }

    /// Every live stream, ordered by scope and name.
    pub(crate) fn list(&self) -> Vec<Live> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Live>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970, as the manager's bodies carry them.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
