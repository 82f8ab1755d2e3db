//! Limits that all workers share: sessions, sessions of one address, new sessions and requests of one address, pending
//! handshakes.
//!
//! A handshake is pending from the accept of a connection to the end of its first request head; then it becomes a session.
//! Where all slots are taken, another connection makes room if it may: of the pending handshakes the oldest of the address
//! with most, of the sessions the connection that waits longest for its next request. The choice is made over all workers.

use crate::config::{Limits, Rate};
use crate::proto::red5::route::Priority;
use crate::proto::refusal::Refusal;
use crate::shared::bucket::Bucket;
use crate::shared::client_address::counted_as;
use crate::shared::counters::Slots;
use crate::shared::evictions::{Eviction, Evictions, IdleEntry};
use crate::shared::pending::Pending;
use crate::shared::session_id::SessionId;
use arc_swap::ArcSwap;
use futures_channel::mpsc;
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many locks the addresses are spread over: so many that two workers seldom wait for each other.
const SHARDS: usize = 64;

/// From this many addresses in one shard on, those without a session or a missing token are removed.
const SHARD_SWEEP: usize = 1024;

/// One of this many session slots is kept for requests of [`Priority::High`], which are those of publishers, PATCH and DELETE.
const PUBLISHER_RESERVE: usize = 20;

/// One address may have one of this many slots for handshakes, rounded down, but at least one. There are at least this many
/// addresses behind full slots, so no few of them keep all others out.
const HANDSHAKE_SHARE: usize = 16;

/// Most idle connections that make room for one session. A session of normal priority may need several: it must not take a
/// slot of [`PUBLISHER_RESERVE`], and idle connections of publishers may hold those.
const EVICTIONS_MAX: usize = 64;

/// Tries to find a handshake that makes room, before a new one is refused. A try finds none when the one that was chosen
/// ended in the same moment.
const EVICTION_TRIES: usize = 3;

/// Counts against `[limits]`, for all workers together. A connection holds a permit, which gives its slot back when dropped.
#[derive(Debug)]
pub struct Limiter {
    /// The newest limits; sessions that began under older ones count against these too.
    limits: ArcSwap<Limits>,
    sessions: Slots,
    handshakes: Slots,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<IpAddr, ClientQuota>>>,
    /// The handshakes that are charged to an address, spread over as many locks.
    pending: Vec<Mutex<Pending<Handshaking>>>,
    /// The number of the next handshake that is charged to an address.
    next_handshake: AtomicU64,
    /// The workers, which close connections that have lost their slots.
    workers: ArcSwap<Vec<Arc<Evictions>>>,
}

/// A connection whose handshake is pending, and its worker.
#[derive(Debug, Clone)]
struct Handshaking {
    id: SessionId,
    worker: Arc<Evictions>,
}

/// The counts of one client address.
#[derive(Debug)]
struct ClientQuota {
    /// Session permits that it holds.
    sessions: usize,
    /// How many sessions it may begin now under `limits.new_per_ip`.
    new: Bucket,
    /// How many requests it may send now under `limits.requests_per_ip`.
    requests: Bucket,
}

/// A slot among the pending handshakes. It counts against an address, and may be taken over by another connection, only after
/// `HandshakePermit::charge_to`. It is handed on in a box: the future of a session would hold it several times.
#[derive(Debug)]
pub struct HandshakePermit {
    limiter: Arc<Limiter>,
    connection: Handshaking,
    /// The address and the number of the handshake.
    charged: Option<(IpAddr, u64)>,
}

/// A slot among the sessions, counted against the address of its client.
#[derive(Debug)]
pub struct SessionPermit {
    limiter: Arc<Limiter>,
    address: Option<IpAddr>,
    /// Whether another session has taken the slot over.
    lost: Cell<bool>,
}

/// The time in which a connection waits for its next request: it ends when this is dropped.
pub(crate) struct Idle<'p> {
    permit: &'p SessionPermit,
    worker: &'p Evictions,
    entry: IdleEntry,
}

impl Limiter {
    /// A limiter without any session, with the limits as configured.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: ArcSwap::from_pointee(limits.clone()),
            sessions: Slots::default(),
            handshakes: Slots::default(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            pending: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next_handshake: AtomicU64::new(0),
            workers: ArcSwap::default(),
        }
    }

    /// Adds a worker. The result is how it notes its idle connections, and from where it learns which connections it has to
    /// close.
    pub(crate) fn add_worker(&self) -> (Arc<Evictions>, mpsc::UnboundedReceiver<Eviction>) {
        let (worker, evicted) = Evictions::channel();
        let worker = Arc::new(worker);
        self.workers.rcu(|workers| workers.iter().chain([&worker]).cloned().collect::<Vec<_>>());
        (worker, evicted)
    }

    /// Replaces the limits. Sessions over a lower limit stay open.
    pub fn change(&self, limits: &Limits) {
        self.limits.store(Arc::new(limits.clone()));
    }

    /// How many sessions are open now.
    pub fn sessions(&self) -> usize {
        self.sessions.taken()
    }

    /// How many accepted connections have not completed their first request head yet.
    pub fn pending_handshakes(&self) -> usize {
        self.handshakes.taken()
    }

    /// Takes a slot for one more handshake of the session `id` of `worker`, and charges it to the address of its client if that
    /// is known already; see `HandshakePermit::charge_to`. When `limits.handshakes` are pending, the oldest handshake of the
    /// address that has most of them makes room.
    ///
    /// Fails with [`Refusal::TooMany`] over the share of the address, and with [`Refusal::Overloaded`] when no handshake can
    /// make room, because none has been charged to an address yet.
    pub(crate) fn handshake(
        self: &Arc<Self>,
        id: SessionId,
        worker: &Arc<Evictions>,
        client: Option<IpAddr>,
    ) -> Result<Box<HandshakePermit>, Refusal> {
        let limits = self.limits.load();
        let has_share = |client| self.pending(counted_as(client)).count(counted_as(client)) < share(&limits);
        if !client.is_none_or(has_share) {
            // before it makes room: it gets no slot
            return Err(Refusal::TooMany);
        }
        let most = limits.handshakes.unwrap_or(usize::MAX);
        if !self.handshakes.take(most) && !(0..EVICTION_TRIES).any(|_| self.evict_handshake()) {
            return Err(Refusal::Overloaded);
        }
        let connection = Handshaking { id, worker: worker.clone() };
        let mut permit = Box::new(HandshakePermit { limiter: self.clone(), connection, charged: None });
        client.map_or(Ok(()), |client| permit.charge_to(client))?;
        Ok(permit)
    }

    /// Takes the slot of the handshake that has to make room, and tells its worker; false if there is none.
    fn evict_handshake(&self) -> bool {
        let ranks = self.pending.iter().enumerate();
        let ranks = ranks.filter_map(|(shard, pending)| Some((lock(pending).greatest()?, shard)));
        let Some((_, shard)) = ranks.max() else { return false };
        let evicted = lock(&self.pending[shard]).evict();
        evicted.inspect(|evicted| evicted.worker.tell(Eviction::Handshake(evicted.id))).is_some()
    }

    /// Makes room for one session, and for its descriptor: the connection that waits longest for its next request loses its
    /// slot. False if none waits.
    pub(crate) fn evict_idle(&self) -> bool {
        let workers = self.workers.load();
        let idle = workers.iter().filter_map(|worker| Some((worker.longest_idle()?, worker)));
        let evicted =
            idle.min_by_key(|(since, _)| *since).is_some_and(|(_, worker)| worker.evict_longest_idle());
        if evicted {
            self.sessions.give_back();
        }
        evicted
    }

    /// Makes room among the first `usable` session slots, and takes one; whether it could.
    fn take_session_of_idle(&self, usable: usize) -> bool {
        for _ in 0..EVICTIONS_MAX {
            if !self.evict_idle() {
                return false;
            }
            if self.sessions.take(usable) {
                return true;
            }
        }
        false
    }

    /// Takes a slot for one more session of `address`.
    ///
    /// `priority` is that of its first request; `None`: it ended without one and only has to be counted, so no connection makes
    /// room for it. Fails with [`Refusal::Overloaded`] over `limits.sessions`, whose last twentieth is kept for [`Priority::High`], if no idle
    /// connection can make room, and with [`Refusal::TooMany`] over `limits.sessions_per_ip` or `limits.new_per_ip`.
    pub fn session(
        self: &Arc<Self>,
        address: IpAddr,
        priority: Option<Priority>,
        now: Instant,
    ) -> Result<SessionPermit, Refusal> {
        let address = counted_as(address);
        let limits = self.limits.load();
        let max = limits.sessions.unwrap_or(usize::MAX);
        let usable = if priority == Some(Priority::High) { max } else { max - max / PUBLISHER_RESERVE };
        let taken = self.sessions.take(usable) || priority.is_some() && self.take_session_of_idle(usable);
        if !taken {
            return Err(Refusal::Overloaded);
        }
        let mut permit = SessionPermit { limiter: self.clone(), address: None, lost: Cell::new(false) };
        // counted also without a limit for addresses: a later one has to know the sessions that are open
        self.enter(address, now, &limits)?;
        permit.address = Some(address);
        Ok(permit)
    }

    /// Counts one more request of `address`. Fails with [`Refusal::TooMany`] over `rate`, which is `limits.requests_per_ip`.
    pub(crate) fn request(&self, address: IpAddr, rate: Rate, now: Instant) -> Result<(), Refusal> {
        let address = counted_as(address);
        let mut shard = self.shard(address);
        let quota = Self::quota(&mut shard, address, now, &self.limits.load());
        if quota.requests.take(rate, now) { Ok(()) } else { Err(Refusal::TooMany) }
    }

    fn index(&self, address: IpAddr) -> usize {
        usize::try_from(self.hasher.hash_one(address) % SHARDS as u64).unwrap_or(0)
    }

    fn pending(&self, address: IpAddr) -> MutexGuard<'_, Pending<Handshaking>> {
        lock(&self.pending[self.index(address)])
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, ClientQuota>> {
        lock(&self.shards[self.index(address)])
    }

    /// The counts of an address, new ones if there are none.
    fn quota<'s>(
        shard: &'s mut HashMap<IpAddr, ClientQuota>,
        address: IpAddr,
        now: Instant,
        limits: &Limits,
    ) -> &'s mut ClientQuota {
        if shard.len() >= SHARD_SWEEP && !shard.contains_key(&address) {
            shard.retain(|_, quota| !quota.is_new(limits, now));
        }
        shard.entry(address).or_insert_with(|| ClientQuota {
            sessions: 0,
            new: Bucket::full(limits.new_per_ip, now),
            requests: Bucket::full(limits.requests_per_ip, now),
        })
    }

    /// Counts one more session of an address, or refuses it.
    fn enter(&self, address: IpAddr, now: Instant, limits: &Limits) -> Result<(), Refusal> {
        let mut shard = self.shard(address);
        let quota = Self::quota(&mut shard, address, now, limits);
        if quota.sessions >= limits.sessions_per_ip.unwrap_or(usize::MAX) {
            return Err(Refusal::TooMany);
        }
        if limits.new_per_ip.is_some_and(|rate| !quota.new.take(rate, now)) {
            return Err(Refusal::TooMany);
        }
        quota.sessions += 1;
        Ok(())
    }

    /// Takes one off the sessions of an address.
    fn leave(&self, address: IpAddr) {
        let mut shard = self.shard(address);
        if let Some(quota) = shard.get_mut(&address) {
            quota.sessions = quota.sessions.saturating_sub(1);
            let limits = self.limits.load();
            if quota.sessions == 0 && limits.new_per_ip.is_none() && limits.requests_per_ip.is_none() {
                shard.remove(&address);
            }
        }
    }
}

/// Locks a shard. Nothing panics between two changes that belong together.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientQuota {
    /// Whether a new quota would be the same.
    fn is_new(&self, limits: &Limits, now: Instant) -> bool {
        self.sessions == 0
            && self.new.is_full(limits.new_per_ip, now)
            && self.requests.is_full(limits.requests_per_ip, now)
    }
}

impl HandshakePermit {
    /// The session whose handshake is pending.
    pub(crate) const fn id(&self) -> SessionId {
        self.connection.id
    }

    /// Charges this permit to a client address, if it is not charged to one yet. From now on the connection may have to make
    /// room.
    ///
    /// Fails with [`Refusal::Overloaded`] if it was charged before and has lost its slot since. Its worker may not have known
    /// the session when it was told, so this has to be called once after that.
    ///
    /// Fails with [`Refusal::TooMany`] once the address has a sixteenth of `limits.handshakes`: silent connections of one
    /// client must not take the slots of all other clients. With `limits.sessions_per_ip = "off"` there is no such share: then
    /// addresses say nothing, because something in front hides them.
    pub(crate) fn charge_to(&mut self, client: IpAddr) -> Result<(), Refusal> {
        let (limiter, address) = (&self.limiter, counted_as(client));
        if let Some((address, number)) = self.charged {
            let has_slot = limiter.pending(address).has(address, number);
            return if has_slot { Ok(()) } else { Err(Refusal::Overloaded) };
        }
        let share = share(&limiter.limits.load());
        let number = limiter.next_handshake.fetch_add(1, Relaxed);
        if !limiter.pending(address).enter(address, number, self.connection.clone(), share) {
            return Err(Refusal::TooMany);
        }
        self.charged = Some((address, number));
        Ok(())
    }
}

/// How many pending handshakes one address may have.
fn share(limits: &Limits) -> usize {
    match (limits.sessions_per_ip, limits.handshakes) {
        (Some(_), Some(handshakes)) => (handshakes / HANDSHAKE_SHARE).max(1),
        _ => usize::MAX,
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        let limiter = &self.limiter;
        let has_slot = self.charged.is_none_or(|(address, number)| {
            // one that is no longer there was evicted, and the new handshake has the slot
            limiter.pending(address).leave(address, number).is_some()
        });
        if has_slot {
            limiter.handshakes.give_back();
        }
    }
}

impl SessionPermit {
    /// Notes that its connection, the session `id` of `worker`, waits for its next request since `now`. Until that comes the
    /// connection may have to make room.
    pub(crate) fn idle<'p>(&'p self, worker: &'p Evictions, id: SessionId, now: Instant) -> Idle<'p> {
        Idle { permit: self, worker, entry: worker.enter_idle(id, now) }
    }
}

impl Idle<'_> {
    /// Ends the wait. False if the connection has lost its slot: then it must not go on.
    pub(crate) fn end(self) -> bool {
        let permit = self.permit;
        drop(self);
        !permit.lost.get()
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.permit.lost.set(!self.worker.leave_idle(self.entry));
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        if !self.lost.get() {
            self.limiter.sessions.give_back();
        }
        if let Some(address) = self.address {
            self.limiter.leave(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_one_client_are_counted_together() {
        for (one, other, same) in [
            ("2001:db8:1:2::7", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::7", "2001:db8:1:3::7", false),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
        ] {
            let [one, other] = [one, other].map(|text| counted_as(text.parse().expect("an address")));
            assert_eq!(one == other, same, "{one} {other}");
        }
    }
}
