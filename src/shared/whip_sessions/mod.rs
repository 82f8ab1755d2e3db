//! Affinity: the node of each WHIP session, so that PATCH and DELETE reach it from any connection on any worker.
//!
//! A WHIP session is remembered until its DELETE, for days if need be: a camera publishes around the clock and sends no
//! request meanwhile. Only the memory is limited. Publishers and players have a table each, so that players never push out
//! publishers. When a table is full, the client address that fills most of it loses the session that it used least recently,
//! so that a client never pushes out sessions of an address that has fewer.

mod session;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use session::{Identity, WhipSession};

use crate::proto::red5::whip::{AffinityKey, Handle};
use crate::shared::client_address::counted_as;
use crate::shared::session_id::SessionId;
use crate::shared::whip_sessions::table::{Entry, Table};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory for the WHIP sessions of publishers, and as much again for those of players, in bytes, approximately.
const TABLE_BYTES_MAX: usize = 24 << 20;

/// All WHIP sessions that are remembered, for all workers.
pub(crate) struct WhipSessions {
    publishers: Mutex<Table>,
    players: Mutex<Table>,
}

impl Default for WhipSessions {
    fn default() -> Self {
        let table = || Mutex::new(Table::new(TABLE_BYTES_MAX));
        Self { publishers: table(), players: table() }
    }
}

impl WhipSessions {
    /// The table in which sessions with this key are. It is locked for a few lookups at a time, never across an await.
    fn table(&self, key: &AffinityKey) -> MutexGuard<'_, Table> {
        let table = if key.is_publisher() { &self.publishers } else { &self.players };
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a WHIP session. For clients without a handle it hides older ones of the same name. The result are the
    /// sessions that had to go for it.
    pub(crate) fn remember(&self, session: Arc<WhipSession>) -> Vec<Arc<WhipSession>> {
        self.table(&session.key).remember(session)
    }

    /// The WHIP session with this id, and whether it is the newest of its name and address. It visits all of them.
    pub(crate) fn by_id(&self, id: SessionId) -> Option<(Arc<WhipSession>, bool)> {
        self.tables().find_map(|table| {
            let mut all = table.sessions.values();
            let found = all.find(|entry| entry.session.id == id);
            found.map(|entry| (Arc::clone(&entry.session), entry.is_newest))
        })
    }

    /// The WHIP sessions whose ids are above `after`, with whether each is the newest of its name and address: one that is
    /// not is most likely over.
    pub(crate) fn above(&self, after: Option<SessionId>) -> Vec<(Arc<WhipSession>, bool)> {
        let above = |entry: &&Entry| after.is_none_or(|after| entry.session.id > after);
        let of = |table: MutexGuard<'_, Table>| {
            let entries = table.sessions.values().filter(above);
            entries.map(|entry| (Arc::clone(&entry.session), entry.is_newest)).collect::<Vec<_>>()
        };
        self.tables().flat_map(of).collect()
    }

    /// Both tables, each locked while it is looked at.
    fn tables(&self) -> impl Iterator<Item = MutexGuard<'_, Table>> {
        [&self.publishers, &self.players]
            .into_iter()
            .map(|table| table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Finds the WHIP session with this handle in its path. `key` is what the request calls it; the kind, app and stream of
    /// the session have to be the same.
    pub(crate) fn by_handle(&self, handle: Handle, key: &AffinityKey) -> Option<Arc<WhipSession>> {
        let mut table = self.table(key);
        let session = table.get(handle).filter(|session| session.key.is_same_stream(key))?;
        table.touch(handle);
        Some(session)
    }

    /// Finds the newest WHIP session of a name: the newest one of this client address, else of all addresses. So a POST of
    /// the same name from another address takes no session from a client without a handle.
    pub(crate) fn by_key(&self, key: &AffinityKey, client: IpAddr) -> Option<Arc<WhipSession>> {
        let mut table = self.table(key);
        let newest = table.newest(key, Some(counted_as(client)));
        let handle = newest.or_else(|| table.newest(key, None))?;
        table.touch(handle);
        table.get(handle)
    }

    /// All WHIP sessions, of each name the older ones first.
    pub(crate) fn all(&self) -> Vec<Arc<WhipSession>> {
        self.tables().flat_map(|table| table.all()).collect()
    }

    /// How many WHIP sessions of publishers and of players are open: all but those that their publisher followed by another.
    pub(crate) fn count(&self) -> [usize; 2] {
        [&self.publishers, &self.players]
            .map(|table| table.lock().unwrap_or_else(PoisonError::into_inner).newest_sessions)
    }

    /// Forgets a WHIP session that has ended; false if it was forgotten before.
    pub(crate) fn forget(&self, session: &WhipSession) -> bool {
        self.table(&session.key).remove(session.handle).is_some()
    }
}
