//! A table of WHIP sessions, with a limit on its memory.

use crate::proto::red5::whip::{AffinityKey, Handle};
use crate::shared::whip_sessions::session::WhipSession;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// One table, with a limit on its memory.
///
/// Times are counts of this table's events. All maps hold the same sessions; every operation takes logarithmic time.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) sessions: HashMap<Handle, Entry>,
    /// The sessions of each name, by the time at which they were made: once for all addresses (`None`) and once for the address
    /// of the session.
    pub(super) names: BTreeMap<(AffinityKey, Option<IpAddr>, u64), Handle>,
    /// The sessions of each address, in the order in which they would go: first those for which [`Entry::is_newest`] is false,
    /// and by the time of their last use.
    pub(super) uses: BTreeMap<(IpAddr, bool, u64), Handle>,
    /// The bytes of each address that has a session.
    pub(super) shares: HashMap<IpAddr, usize>,
    /// The same, ordered by bytes.
    pub(super) by_bytes: BTreeSet<(usize, IpAddr)>,
    /// Sessions for which [`Entry::is_newest`] is true.
    pub(super) newest_sessions: usize,
    pub(super) bytes: usize,
    pub(super) bytes_max: usize,
    now: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) session: Arc<WhipSession>,
    made: u64,
    used: u64,
    /// Whether no newer session of a publisher has its name and address. Always true for players.
    pub(super) is_newest: bool,
}

impl Table {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            sessions: HashMap::new(),
            names: BTreeMap::new(),
            uses: BTreeMap::new(),
            shares: HashMap::new(),
            by_bytes: BTreeSet::new(),
            newest_sessions: 0,
            bytes: 0,
            bytes_max,
            now: 0,
        }
    }

    /// Adds a session. The result are the sessions that had to go for it.
    pub(super) fn remember(&mut self, session: Arc<WhipSession>) -> Vec<Arc<WhipSession>> {
        self.remove(session.handle);
        self.now += 1;
        let (now, handle, size, address) = (self.now, session.handle, session.size(), session.charged_to());
        let key = session.key.clone();
        if key.is_publisher() {
            self.supersede(&key, address);
        }
        for scope in [None, Some(address)] {
            self.names.insert((key.clone(), scope, now), handle);
        }
        self.uses.insert((address, true, now), handle);
        let entry = Entry { session, made: now, used: now, is_newest: true };
        self.sessions.insert(handle, entry);
        self.newest_sessions += 1;
        self.charge(address, |bytes| bytes + size);
        let mut pushed_out = Vec::new();
        while self.bytes > self.bytes_max
            && let Some(session) = self.push_out(address)
        {
            pushed_out.push(session);
        }
        pushed_out
    }

    /// Notes that the newest session of a publisher's name and address is about to be followed by another one. A node lets one
    /// publisher have a name, so the older session is most likely over, and it is the first to go: a publisher that
    /// reconnects without a DELETE pushes out no other one of its address.
    fn supersede(&mut self, key: &AffinityKey, address: IpAddr) {
        let Some(handle) = self.newest(key, Some(address)) else { return };
        if let Some(entry) = self.sessions.get_mut(&handle) {
            self.uses.remove(&(address, entry.is_newest, entry.used));
            self.newest_sessions -= usize::from(entry.is_newest);
            entry.is_newest = false;
            self.uses.insert((address, false, entry.used), handle);
        }
    }

    /// Forgets the least recently used session of the address that has the most bytes; with equal bytes, of `newest`, the
    /// address whose session came last.
    fn push_out(&mut self, newest: IpAddr) -> Option<Arc<WhipSession>> {
        let &(most, greediest) = self.by_bytes.last()?;
        let own = self.shares.get(&newest).copied().unwrap_or_default();
        let address = if own == most { newest } else { greediest };
        let (_, &handle) = self.uses.range((address, false, 0)..=(address, true, u64::MAX)).next()?;
        self.remove(handle)
    }

    /// Changes the bytes of an address.
    fn charge(&mut self, address: IpAddr, change: impl FnOnce(usize) -> usize) {
        let before = self.shares.remove(&address).unwrap_or_default();
        let after = change(before);
        self.by_bytes.remove(&(before, address));
        if after > 0 {
            self.shares.insert(address, after);
            self.by_bytes.insert((after, address));
        }
        self.bytes = self.bytes - before + after;
    }

    /// Removes a session; `None` if there is none with this handle.
    pub(super) fn remove(&mut self, handle: Handle) -> Option<Arc<WhipSession>> {
        let entry = self.sessions.remove(&handle)?;
        self.newest_sessions -= usize::from(entry.is_newest);
        let Entry { session, made, used, is_newest } = entry;
        let address = session.charged_to();
        for scope in [None, Some(address)] {
            self.names.remove(&(session.key.clone(), scope, made));
        }
        self.uses.remove(&(address, is_newest, used));
        self.charge(address, |bytes| bytes - session.size());
        Some(session)
    }

    pub(super) fn get(&self, handle: Handle) -> Option<Arc<WhipSession>> {
        self.sessions.get(&handle).map(|entry| Arc::clone(&entry.session))
    }

    /// The newest session of a name, of all addresses or of one.
    pub(super) fn newest(&self, key: &AffinityKey, scope: Option<IpAddr>) -> Option<Handle> {
        let of_name = (key.clone(), scope, 0)..=(key.clone(), scope, u64::MAX);
        self.names.range(of_name).next_back().map(|(_, handle)| *handle)
    }

    /// Notes that a session is used now.
    pub(super) fn touch(&mut self, handle: Handle) {
        self.now += 1;
        if let Some(entry) = self.sessions.get_mut(&handle) {
            let address = entry.session.charged_to();
            self.uses.remove(&(address, entry.is_newest, entry.used));
            self.uses.insert((address, entry.is_newest, self.now), handle);
            entry.used = self.now;
        }
    }

    /// All sessions, in the order in which they were made.
    pub(super) fn all(&self) -> Vec<Arc<WhipSession>> {
        let mut all: Vec<_> = self.sessions.values().collect();
        all.sort_unstable_by_key(|entry| entry.made);
        all.iter().map(|entry| Arc::clone(&entry.session)).collect()
    }
}
