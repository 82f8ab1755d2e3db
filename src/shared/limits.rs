//! Limits that all workers share: sessions, sessions of one address, new sessions of one address, unfinished heads.

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

/// Locks for addresses: enough that two workers seldom meet.
const SHARDS: usize = 64;

/// An address that has nothing open or unfinished and no tokens missing is forgotten; looked for when a shard has grown to this.
const SHARD_SWEEP: usize = 1024;

/// Of so many places among the sessions one is kept for requests of [`Priority::High`].
const RESERVE: usize = 20;

/// So many places for handshakes one address may fill in any case, so that who is over its limit gets to hear it.
const UNFINISHED_MIN: usize = 64;

/// Bits of an IPv6 address that say whose it is. The rest is the owner's to choose: counted singly, one client would be as
/// many as it likes.
const V6_PREFIX: u32 = 64;

/// The shared ceilings. Every admission is a permit that gives its place back when it is dropped.
#[derive(Debug)]
pub struct Limiter {
    /// The newest ones, for everybody: what is open was counted under older ones too.
    limits: ArcSwap<Limits>,
    sessions: Slots,
    handshakes: Slots,
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<IpAddr, ClientQuota>>>,
}

#[derive(Debug)]
struct ClientQuota {
    open: usize,
    unfinished: usize,
    tokens: f64,
    filled: Instant,
}

/// A place among the unfinished handshakes and heads; nobody's until it is said whose.
#[derive(Debug)]
pub struct HandshakePermit {
    limiter: Arc<Limiter>,
    address: Option<IpAddr>,
}

/// A place among the sessions.
#[derive(Debug)]
pub struct SessionPermit {
    limiter: Arc<Limiter>,
    address: Option<IpAddr>,
}

impl Limiter {
    /// Ceilings as configured.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: ArcSwap::from_pointee(limits.clone()),
            sessions: Slots::default(),
            handshakes: Slots::default(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Other limits from now on. What is open over a lower one stays open.
    pub fn change(&self, limits: &Limits) {
        self.limits.store(Arc::new(limits.clone()));
    }

    /// Sessions now.
    pub fn sessions(&self) -> usize {
        self.sessions.taken()
    }

    /// Connections that were accepted and did not finish their first head yet.
    pub fn pending_handshakes(&self) -> usize {
        self.handshakes.taken()
    }

    /// A place for one more handshake, if there is one.
    pub fn handshake(self: &Arc<Self>) -> Option<HandshakePermit> {
        let most = self.limits.load().handshakes.unwrap_or(usize::MAX);
        self.handshakes.take(most).then(|| HandshakePermit { limiter: self.clone(), address: None })
    }

    /// A place for one more session of `address`, or the refusal that it gets. The last places are kept for those who
    /// come first.
    pub fn session(
        self: &Arc<Self>,
        address: IpAddr,
        priority: Priority,
        now: Instant,
    ) -> Result<SessionPermit, Refusal> {
        let address = counted_as(address);
        let limits = self.limits.load();
        let max = limits.sessions.unwrap_or(usize::MAX);
        let open_to = if priority == Priority::High { max } else { max - max / RESERVE };
        if !self.sessions.take(open_to) {
            return Err(Refusal::Overloaded);
        }
        let mut permit = SessionPermit { limiter: self.clone(), address: None };
        // counted also while no limit asks for it: one that comes later has to know who is there
        self.enter(address, now, &limits)?;
        permit.address = Some(address);
        Ok(permit)
    }

    fn shard(&self, address: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, ClientQuota>> {
        let shard = usize::try_from(self.hasher.hash_one(address) % SHARDS as u64).unwrap_or(0);
        // counters can't be left half-changed by a panic
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an address.
    fn quota<'s>(
        shard: &'s mut HashMap<IpAddr, ClientQuota>,
        address: IpAddr,
        now: Instant,
        limits: &Limits,
    ) -> &'s mut ClientQuota {
        if shard.len() >= SHARD_SWEEP && !shard.contains_key(&address) {
            shard.retain(|_, quota| !quota.is_idle() || !is_rested(quota, limits.new_per_ip, now));
        }
        // without a rate nobody is short of anything, should one come later
        let full = limits.new_per_ip.map_or(f64::INFINITY, |rate| f64::from(rate.count));
        shard.entry(address).or_insert(ClientQuota { open: 0, unfinished: 0, tokens: full, filled: now })
    }

    fn enter(&self, address: IpAddr, now: Instant, limits: &Limits) -> Result<(), Refusal> {
        let mut shard = self.shard(address);
        let quota = Self::quota(&mut shard, address, now, limits);
        if quota.open >= limits.sessions_per_ip.unwrap_or(usize::MAX) {
            return Err(Refusal::TooMany);
        }
        if let Some(rate) = limits.new_per_ip {
            quota.tokens = (quota.tokens + refill(rate, quota.filled, now)).min(f64::from(rate.count));
            quota.filled = now;
            if quota.tokens < 1.0 {
                return Err(Refusal::TooMany);
            }
            quota.tokens -= 1.0;
        }
        quota.open += 1;
        Ok(())
    }

    /// Something of this address is over.
    fn leave(&self, address: IpAddr, what: impl FnOnce(&mut ClientQuota) -> &mut usize) {
        let mut shard = self.shard(address);
        if let Some(quota) = shard.get_mut(&address) {
            let count = what(quota);
            *count = count.saturating_sub(1);
            if quota.is_idle() && self.limits.load().new_per_ip.is_none() {
                shard.remove(&address);
            }
        }
    }
}

impl ClientQuota {
    const fn is_idle(&self) -> bool {
        self.open == 0 && self.unfinished == 0
    }
}

/// The address that stands for all of one owner.
pub(crate) fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - V6_PREFIX))).into()
        }
        v4 => v4,
    }
}

fn is_rested(quota: &ClientQuota, new_per_ip: Option<Rate>, now: Instant) -> bool {
    new_per_ip.is_none_or(|rate| quota.tokens + refill(rate, quota.filled, now) >= f64::from(rate.count))
}

fn refill(rate: Rate, since: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64() * f64::from(rate.count) / rate.per.as_secs_f64()
}

impl HandshakePermit {
    /// Says whose place it is. Who has as many unfinished as it may have sessions gets no more: saying nothing in all of
    /// them would keep everybody else out.
    pub fn belongs_to(&mut self, address: IpAddr, now: Instant) -> Result<(), Refusal> {
        let limiter = &self.limiter;
        let address = counted_as(address);
        let limits = limiter.limits.load();
        let share = limits.sessions_per_ip.map_or(usize::MAX, |sessions| sessions.max(UNFINISHED_MIN));
        let mut shard = limiter.shard(address);
        let quota = Limiter::quota(&mut shard, address, now, &limits);
        if quota.unfinished >= share {
            return Err(Refusal::TooMany);
        }
        quota.unfinished += 1;
        self.address = Some(address);
        Ok(())
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.limiter.handshakes.give_back();
        if let Some(address) = self.address {
            self.limiter.leave(address, |quota| &mut quota.unfinished);
        }
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        self.limiter.sessions.give_back();
        if let Some(address) = self.address {
            self.limiter.leave(address, |quota| &mut quota.open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_owner_are_counted_together() {
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
