//! Records which streams are live on which node. Nodes write it, the stream manager reads it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// One live stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveStream {
    /// Path of the application without a slash at either end, for example `live/room1`.
    pub scope: String,
    /// The stream's name.
    pub name: String,
    /// Index of the node that has the stream.
    pub node: usize,
    /// Number of subscribers now.
    pub subscribers: u64,
    /// Start of the stream, in milliseconds since 1970.
    pub since: u64,
}

/// All live streams, shared by all parts of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    streams: Mutex<BTreeMap<(String, String), LiveStream>>,
}

impl Directory {
    /// Adds a stream. False when the name is taken already.
    pub(crate) fn publish(&self, scope: &str, name: &str, node: usize) -> bool {
        let mut streams = self.lock();
        let key = (scope.to_owned(), name.to_owned());
        if streams.contains_key(&key) {
            return false;
        }
        let live = LiveStream {
            scope: scope.to_owned(),
            name: name.to_owned(),
            node,
            subscribers: 0,
            since: now_ms(),
        };
        streams.insert(key, live);
        true
    }

    /// Removes a stream.
    pub(crate) fn unpublish(&self, scope: &str, name: &str) {
        self.lock().remove(&(scope.to_owned(), name.to_owned()));
    }

    /// Adds one subscriber to a stream (`joins`) or subtracts one.
    pub(crate) fn count_subscriber(&self, scope: &str, name: &str, joins: bool) {
        if let Some(live) = self.lock().get_mut(&(scope.to_owned(), name.to_owned())) {
            live.subscribers = if joins { live.subscribers + 1 } else { live.subscribers.saturating_sub(1) };
        }
    }

    /// Finds a stream. None when it is not live on any node.
    pub(crate) fn find(&self, scope: &str, name: &str) -> Option<LiveStream> {
        self.lock().get(&(scope.to_owned(), name.to_owned())).cloned()
    }

    /// All live streams, ordered by scope and name.
    pub(crate) fn list(&self) -> Vec<LiveStream> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), LiveStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The current time in milliseconds since 1970, the unit of the stream manager's answers.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
