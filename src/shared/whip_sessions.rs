//! Affinity: the node of each WHIP session, so that PATCH and DELETE reach it from any connection on any worker.
//!
//! A WHIP session is remembered until its DELETE, for days if need be: a camera publishes around the clock and sends no
//! request meanwhile. Only the memory is limited. Publishers and players have a table each, so that players never push out
//! publishers. When a table is full, the client address that fills most of it loses the session that it used least recently,
//! so that a client never pushes out sessions of an address that has fewer.

use crate::proto::red5::whip::{AffinityKey, Handle};
use crate::shared::client_address::counted_as;
use crate::shared::node_metrics::NodeSession;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory for the WHIP sessions of publishers, and as much again for those of players, in bytes, approximately.
const TABLE_BYTES_MAX: usize = 16 << 20;

/// What a WHIP session needs in memory besides its two texts, in bytes, approximately.
const ENTRY_OVERHEAD: usize = 640;

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
    /// The address of the client that created it.
    pub(crate) client: IpAddr,
    /// Counts it at its node.
    pub(crate) _counted: NodeSession,
}

impl WhipSession {
    fn size(&self) -> usize {
        ENTRY_OVERHEAD + self.at_node.len() + self.key.size()
    }

    /// The address to which its memory is charged.
    fn charged_to(&self) -> IpAddr {
        counted_as(self.client)
    }
}

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

    /// Remembers a WHIP session. For clients without a handle it hides older ones of the same name.
    pub(crate) fn remember(&self, session: WhipSession) {
        self.table(&session.key).remember(session);
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
        let tables = [&self.publishers, &self.players];
        tables.iter().flat_map(|table| table.lock().unwrap_or_else(PoisonError::into_inner).all()).collect()
    }

    /// How many WHIP sessions of publishers and of players are remembered.
    pub(crate) fn count(&self) -> [usize; 2] {
        [&self.publishers, &self.players]
            .map(|table| table.lock().unwrap_or_else(PoisonError::into_inner).sessions.len())
    }

    /// Forgets a WHIP session that has ended.
    pub(crate) fn forget(&self, session: &WhipSession) {
        self.table(&session.key).remove(session.handle);
    }
}

/// One table, with a limit on its memory.
///
/// Times are counts of this table's events. All maps hold the same sessions; every operation takes logarithmic time.
#[derive(Debug)]
struct Table {
    sessions: HashMap<Handle, Entry>,
    /// The sessions of each name, by the time at which they were made: once for all addresses (`None`) and once for the address
    /// of the session.
    names: BTreeMap<(AffinityKey, Option<IpAddr>, u64), Handle>,
    /// The sessions of each address, in the order in which they would go: first those for which [`Entry::is_newest`] is false,
    /// and by the time of their last use.
    uses: BTreeMap<(IpAddr, bool, u64), Handle>,
    /// The bytes of each address that has a session.
    shares: HashMap<IpAddr, usize>,
    /// The same, ordered by bytes.
    by_bytes: BTreeSet<(usize, IpAddr)>,
    bytes: usize,
    bytes_max: usize,
    now: u64,
}

#[derive(Debug)]
struct Entry {
    session: Arc<WhipSession>,
    made: u64,
    used: u64,
    /// Whether no newer session of a publisher has its name and address. Always true for players.
    is_newest: bool,
}

impl Table {
    fn new(bytes_max: usize) -> Self {
        Self {
            sessions: HashMap::new(),
            names: BTreeMap::new(),
            uses: BTreeMap::new(),
            shares: HashMap::new(),
            by_bytes: BTreeSet::new(),
            bytes: 0,
            bytes_max,
            now: 0,
        }
    }

    fn remember(&mut self, session: WhipSession) {
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
        let entry = Entry { session: Arc::new(session), made: now, used: now, is_newest: true };
        self.sessions.insert(handle, entry);
        self.charge(address, |bytes| bytes + size);
        while self.bytes > self.bytes_max {
            self.push_out(address);
        }
    }

    /// Notes that the newest session of a publisher's name and address is about to be followed by another one. A node lets one
    /// publisher have a name, so the older session is most likely over, and it is the first to go: a publisher that
    /// reconnects without a DELETE pushes out no other one of its address.
    fn supersede(&mut self, key: &AffinityKey, address: IpAddr) {
        let Some(handle) = self.newest(key, Some(address)) else { return };
        if let Some(entry) = self.sessions.get_mut(&handle) {
            self.uses.remove(&(address, entry.is_newest, entry.used));
            entry.is_newest = false;
            self.uses.insert((address, false, entry.used), handle);
        }
    }

    /// Forgets the least recently used session of the address that has the most bytes; with equal bytes, of `newest`, the
    /// address whose session came last.
    fn push_out(&mut self, newest: IpAddr) {
        let Some(&(most, greediest)) = self.by_bytes.last() else { return };
        let own = self.shares.get(&newest).copied().unwrap_or_default();
        let address = if own == most { newest } else { greediest };
        let oldest = self.uses.range((address, false, 0)..=(address, true, u64::MAX)).next();
        if let Some((_, &handle)) = oldest {
            self.remove(handle);
        }
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

    fn remove(&mut self, handle: Handle) {
        let Some(entry) = self.sessions.remove(&handle) else { return };
        let Entry { session, made, used, is_newest } = entry;
        let address = session.charged_to();
        for scope in [None, Some(address)] {
            self.names.remove(&(session.key.clone(), scope, made));
        }
        self.uses.remove(&(address, is_newest, used));
        self.charge(address, |bytes| bytes - session.size());
    }

    fn get(&self, handle: Handle) -> Option<Arc<WhipSession>> {
        self.sessions.get(&handle).map(|entry| Arc::clone(&entry.session))
    }

    /// The newest session of a name, of all addresses or of one.
    fn newest(&self, key: &AffinityKey, scope: Option<IpAddr>) -> Option<Handle> {
        let of_name = (key.clone(), scope, 0)..=(key.clone(), scope, u64::MAX);
        self.names.range(of_name).next_back().map(|(_, handle)| *handle)
    }

    /// Notes that a session is used now.
    fn touch(&mut self, handle: Handle) {
        self.now += 1;
        if let Some(entry) = self.sessions.get_mut(&handle) {
            let address = entry.session.charged_to();
            self.uses.remove(&(address, entry.is_newest, entry.used));
            self.uses.insert((address, entry.is_newest, self.now), handle);
            entry.used = self.now;
        }
    }

    /// All sessions, in the order in which they were made.
    fn all(&self) -> Vec<Arc<WhipSession>> {
        let mut all: Vec<_> = self.sessions.values().collect();
        all.sort_unstable_by_key(|entry| entry.made);
        all.iter().map(|entry| Arc::clone(&entry.session)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::red5::route::Kind;

    /// The `n`-th address of IPv4.
    fn address(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    /// Session `n` of a stream, with about 4 KiB of text.
    fn session(kind: Kind, stream: &str, n: u128, client: IpAddr) -> WhipSession {
        WhipSession {
            node: [10, 0, 0, 5].into(),
            at_node: format!("/live/{}/resource/s{n}?{}", kind.word(), "x".repeat(4000)),
            handle: Handle::new(n.to_be_bytes()),
            key: AffinityKey::new(kind, "live", stream, ""),
            client,
            _counted: NodeSession::begin(Arc::default()),
        }
    }

    fn is_known(sessions: &WhipSessions, kind: Kind, stream: &str, n: u128) -> bool {
        let key = AffinityKey::new(kind, "live", stream, "");
        sessions.by_handle(Handle::new(n.to_be_bytes()), &key).is_some()
    }

    #[test]
    fn players_never_push_out_a_publisher() {
        let sessions = WhipSessions::default();
        // all of them behind one address, as behind a load balancer that announces none
        sessions.remember(session(Kind::Whip, "camera", 1, address(1)));
        for n in 2..9000 {
            sessions.remember(session(Kind::Whep, "camera", n, address(1)));
        }
        assert!(is_known(&sessions, Kind::Whip, "camera", 1));
        assert!(
            is_known(&sessions, Kind::Whep, "camera", 8999) && !is_known(&sessions, Kind::Whep, "camera", 2)
        );
        assert!(sessions.players.lock().unwrap().bytes <= TABLE_BYTES_MAX);
    }

    #[test]
    fn sessions_of_one_address_never_push_out_those_of_another_one() {
        for kind in [Kind::Whip, Kind::Whep] {
            let sessions = WhipSessions::default();
            for n in 0..100 {
                let client = address(u32::try_from(n).unwrap());
                sessions.remember(session(kind, &format!("s{n}"), n, client));
            }
            // a few addresses flood the table, each more than all others together have
            for n in 1000..20_000 {
                let client = address(1000 + u32::try_from(n % 8).unwrap());
                sessions.remember(session(kind, &format!("s{n}"), n, client));
            }
            let all_known = (0..100).all(|n| is_known(&sessions, kind, &format!("s{n}"), n));
            assert!(all_known, "{kind:?}");
            assert!((19_900..20_000).all(|n| is_known(&sessions, kind, &format!("s{n}"), n)), "{kind:?}");
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let sessions = WhipSessions::default();
        sessions.remember(session(Kind::Whep, "s", 0, "2001:db8:1::1".parse().unwrap()));
        for n in 1..9000_u128 {
            let client = std::net::Ipv6Addr::from_bits((0x2001_0db8_0002_u128 << 80) + n);
            sessions.remember(session(Kind::Whep, "s", n, client.into()));
        }
        assert!(is_known(&sessions, Kind::Whep, "s", 0));
        assert_eq!(sessions.players.lock().unwrap().shares.len(), 2);
    }

    #[test]
    fn a_session_that_is_used_outlives_those_of_its_address_that_are_not() {
        let sessions = WhipSessions::default();
        let key = |stream| AffinityKey::new(Kind::Whip, "live", stream, "");
        for n in 0..20_000 {
            sessions.remember(session(Kind::Whip, &format!("s{n}"), n, address(1)));
            // one is used by its handle, one by its name
            assert!(is_known(&sessions, Kind::Whip, "s0", 0), "{n}");
            assert!(n == 0 || sessions.by_key(&key("s1"), address(2)).is_some(), "{n}");
        }
        assert!(sessions.by_key(&key("s2"), address(1)).is_none());
    }

    #[test]
    fn a_publisher_that_reconnects_pushes_out_only_its_own_sessions() {
        let sessions = WhipSessions::default();
        sessions.remember(session(Kind::Whip, "camera", 0, address(1)));
        for n in 1..20_000 {
            sessions.remember(session(Kind::Whip, "unsteady", n, address(1)));
        }
        assert!(is_known(&sessions, Kind::Whip, "camera", 0));
        assert!(is_known(&sessions, Kind::Whip, "unsteady", 19_999));
        assert!(!is_known(&sessions, Kind::Whip, "unsteady", 1));
    }

    #[test]
    fn a_name_means_the_newest_session_of_the_address_and_else_the_newest_of_all() {
        let sessions = WhipSessions::default();
        let key = AffinityKey::new(Kind::Whep, "live", "s", "");
        let found = |client| sessions.by_key(&key, address(client)).map(|session| session.handle);
        let handle = |n: u128| Some(Handle::new(n.to_be_bytes()));
        for (n, client) in [(1, 1), (2, 1), (3, 2)] {
            sessions.remember(session(Kind::Whep, "s", n, address(client)));
        }
        assert_eq!([found(1), found(2), found(3)], [handle(2), handle(3), handle(3)]);
        sessions.forget(&session(Kind::Whep, "s", 2, address(1)));
        assert_eq!(found(1), handle(1), "the older one is not hidden any more");
        sessions.forget(&session(Kind::Whep, "s", 1, address(1)));
        assert_eq!(found(1), handle(3));
        assert!(
            sessions.by_handle(handle(3).unwrap(), &AffinityKey::new(Kind::Whep, "live", "t", "")).is_none()
        );
    }

    #[test]
    fn all_maps_of_a_table_hold_the_same_sessions() {
        let mut table = Table::new(40 * (4096 + ENTRY_OVERHEAD));
        let mut random = 1_u64;
        for _ in 0..5000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = u128::from(random >> 33) % 200;
            match (random >> 40) % 4 {
                0 => table.remove(Handle::new(n.to_be_bytes())),
                1 => table.touch(Handle::new(n.to_be_bytes())),
                _ => {
                    let client = address(u32::try_from(n % 7).unwrap());
                    table.remember(session(Kind::Whip, &format!("s{}", n % 3), n, client));
                }
            }
            let count = table.sessions.len();
            assert_eq!((table.names.len(), table.uses.len()), (2 * count, count));
            assert_eq!(table.by_bytes.len(), table.shares.len());
            let sizes: usize = table.all().iter().map(|session| session.size()).sum();
            assert_eq!((table.bytes, table.shares.values().sum::<usize>()), (sizes, sizes));
            assert!(table.bytes <= table.bytes_max);
        }
        for session in table.all() {
            table.remove(session.handle);
        }
        assert!(table.names.is_empty() && table.uses.is_empty() && table.by_bytes.is_empty());
        assert_eq!(table.bytes, 0);
    }
}
