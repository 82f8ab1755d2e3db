//! Limits that all workers share: sessions, sessions of one address, new sessions of one address, pending handshakes.
//!
//! A handshake is pending from the accept of a connection to the end of its first request head; then it becomes a session.

use crate::config::{Limits, Rate};
use crate::proto::red5::route::Priority;
use crate::proto::refusal::Refusal;
use crate::shared::counters::Slots;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How many locks the addresses are spread over: so many that two workers seldom wait for each other.
const SHARDS: usize = 64;

/// From this many addresses in one shard on, those without a session, a pending handshake or a missing token are removed.
const SHARD_SWEEP: usize = 1024;

/// One of this many session slots is kept for requests of [`Priority::High`], which are those of publishers, PATCH and DELETE.
const PUBLISHER_RESERVE: usize = 20;

/// Handshakes that one address may have pending in any case, so that a client over its session limit gets as far as the
/// refusal.
const HANDSHAKES_PER_IP_MIN: usize = 64;

/// Bits of an IPv6 address that are counted as one client. The owner of such a network chooses the other bits, so one client
/// could use any number of single addresses.
const V6_PREFIX: u32 = 64;

/// Counts against `[limits]`, for all workers together. A connection holds a permit, which gives its slot back when dropped.
#[derive(Debug)]
pub struct Limiter {
    /// The newest limits; sessions that began under older ones count against these too.
    limits: ArcSwap<Limits>,
    sessions: Slots,
    handshakes: Slots,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<IpAddr, ClientQuota>>>,
}

/// The counts of one client address.
#[derive(Debug)]
struct ClientQuota {
    /// Session permits that it holds.
    sessions: usize,
    /// Handshake permits that are charged to it.
    handshakes: usize,
    /// How many sessions it may begin now under `limits.new_per_ip`; grows with time (token bucket).
    tokens: f64,
    /// When `tokens` was computed last.
    refilled: Instant,
}

/// A slot among the pending handshakes. It counts against an address only after [`HandshakePermit::charge_to`].
#[derive(Debug)]
pub struct HandshakePermit {
    limiter: Arc<Limiter>,
    address: Option<IpAddr>,
}

/// A slot among the sessions, counted against the address of its client.
#[derive(Debug)]
pub struct SessionPermit {
    limiter: Arc<Limiter>,
    address: Option<IpAddr>,
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
        }
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

    /// Takes a slot for one more handshake; `None` when `limits.handshakes` are pending.
    pub fn handshake(self: &Arc<Self>) -> Option<HandshakePermit> {
        let most = self.limits.load().handshakes.unwrap_or(usize::MAX);
        self.handshakes.take(most).then(|| HandshakePermit { limiter: self.clone(), address: None })
    }

    /// Takes a slot for one more session of `address`.
    ///
    /// Fails with [`Refusal::Overloaded`] over `limits.sessions`, whose last twentieth is kept for [`Priority::High`], and with
    /// [`Refusal::TooMany`] over `limits.sessions_per_ip` or `limits.new_per_ip`.
    pub fn session(
        self: &Arc<Self>,
        address: IpAddr,
        priority: Priority,
        now: Instant,
    ) -> Result<SessionPermit, Refusal> {
        let address = counted_as(address);
        let limits = self.limits.load();
        let max = limits.sessions.unwrap_or(usize::MAX);
        let usable = if priority == Priority::High { max } else { max - max / PUBLISHER_RESERVE };
        if !self.sessions.take(usable) {
            return Err(Refusal::Overloaded);
        }
        let mut permit = SessionPermit { limiter: self.clone(), address: None };
        // counted also without a limit for addresses: a later one has to know the sessions that are open
        self.enter(address, now, &limits)?;
        permit.address = Some(address);
        Ok(permit)
    }

    fn shard(&self, address: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, ClientQuota>> {
        let shard = usize::try_from(self.hasher.hash_one(address) % SHARDS as u64).unwrap_or(0);
        // counters can't be left half-changed by a panic
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts of an address, new ones if there are none.
    fn quota<'s>(
        shard: &'s mut HashMap<IpAddr, ClientQuota>,
        address: IpAddr,
        now: Instant,
        limits: &Limits,
    ) -> &'s mut ClientQuota {
        if shard.len() >= SHARD_SWEEP && !shard.contains_key(&address) {
            shard.retain(|_, quota| !quota.is_idle() || !is_full(quota, limits.new_per_ip, now));
        }
        // without a rate no address lacks a token, should a reload bring a rate
        let full = limits.new_per_ip.map_or(f64::INFINITY, |rate| f64::from(rate.count));
        shard.entry(address).or_insert(ClientQuota {
            sessions: 0,
            handshakes: 0,
            tokens: full,
            refilled: now,
        })
    }

    /// Counts one more session of an address, or refuses it.
    fn enter(&self, address: IpAddr, now: Instant, limits: &Limits) -> Result<(), Refusal> {
        let mut shard = self.shard(address);
        let quota = Self::quota(&mut shard, address, now, limits);
        if quota.sessions >= limits.sessions_per_ip.unwrap_or(usize::MAX) {
            return Err(Refusal::TooMany);
        }
        if let Some(rate) = limits.new_per_ip {
            quota.tokens = (quota.tokens + refill(rate, quota.refilled, now)).min(f64::from(rate.count));
            quota.refilled = now;
            if quota.tokens < 1.0 {
                return Err(Refusal::TooMany);
            }
            quota.tokens -= 1.0;
        }
        quota.sessions += 1;
        Ok(())
    }

    /// Takes one off a count of an address.
    fn leave(&self, address: IpAddr, count: impl FnOnce(&mut ClientQuota) -> &mut usize) {
        let mut shard = self.shard(address);
        if let Some(quota) = shard.get_mut(&address) {
            let count = count(quota);
            *count = count.saturating_sub(1);
            if quota.is_idle() && self.limits.load().new_per_ip.is_none() {
                shard.remove(&address);
            }
        }
    }
}

impl ClientQuota {
    const fn is_idle(&self) -> bool {
        self.sessions == 0 && self.handshakes == 0
    }
}

/// The address under which a client is counted: IPv4 as it is, IPv6 as its /64.
pub(crate) fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - V6_PREFIX))).into()
        }
        v4 => v4,
    }
}

/// Whether the quota has all its tokens again.
fn is_full(quota: &ClientQuota, new_per_ip: Option<Rate>, now: Instant) -> bool {
    new_per_ip.is_none_or(|rate| quota.tokens + refill(rate, quota.refilled, now) >= f64::from(rate.count))
}

/// The tokens that a quota has gained since it was refilled.
fn refill(rate: Rate, since: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64() * f64::from(rate.count) / rate.per.as_secs_f64()
}

impl HandshakePermit {
    /// Charges this permit to a client address.
    ///
    /// Fails with [`Refusal::TooMany`] once the address has max(`limits.sessions_per_ip`, 64) pending handshakes: silent
    /// connections of one client must not take the slots of all other clients.
    pub fn charge_to(&mut self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        let limiter = &self.limiter;
        let address = counted_as(address);
        let limits = limiter.limits.load();
        let share = limits.sessions_per_ip.map_or(usize::MAX, |sessions| sessions.max(HANDSHAKES_PER_IP_MIN));
        let mut shard = limiter.shard(address);
        let quota = Limiter::quota(&mut shard, address, now, &limits);
        if quota.handshakes >= share {
            return Err(Refusal::TooMany);
        }
        quota.handshakes += 1;
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.limiter.handshakes.give_back();
        if let Some(address) = self.address {
            self.limiter.leave(address, |quota| &mut quota.handshakes);
        }
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        self.limiter.sessions.give_back();
        if let Some(address) = self.address {
            self.limiter.leave(address, |quota| &mut quota.sessions);
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
