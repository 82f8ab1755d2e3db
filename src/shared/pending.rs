//! Pending handshakes by the address of their client, and which of them makes room first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// What decides which address makes room: the greatest rank is the address with most pending handshakes, and of several with
/// equally many the one whose oldest is the oldest.
pub(crate) type Rank = (usize, Reverse<u64>, IpAddr);

/// Pending handshakes of some addresses. `H` is what is known of each.
#[derive(Debug)]
pub(crate) struct Pending<H> {
    /// Those of each address, by their numbers: a lower number is older.
    by_address: HashMap<IpAddr, BTreeMap<u64, H>>,
    /// The rank of each address.
    ranks: BTreeSet<Rank>,
}

impl<H> Default for Pending<H> {
    fn default() -> Self {
        Self { by_address: HashMap::new(), ranks: BTreeSet::new() }
    }
}

fn rank<H>(address: IpAddr, pending: &BTreeMap<u64, H>) -> Option<Rank> {
    Some((pending.len(), Reverse(*pending.first_key_value()?.0), address))
}

impl<H> Pending<H> {
    /// How many handshakes of an address are pending.
    pub(crate) fn count(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, BTreeMap::len)
    }

    /// Whether this handshake is there.
    pub(crate) fn has(&self, address: IpAddr, number: u64) -> bool {
        self.by_address.get(&address).is_some_and(|pending| pending.contains_key(&number))
    }

    /// Adds a handshake; false when the address has `max` already.
    pub(crate) fn enter(&mut self, address: IpAddr, number: u64, handshake: H, max: usize) -> bool {
        if self.count(address) >= max {
            return false;
        }
        let pending = self.by_address.entry(address).or_default();
        if let Some(old) = rank(address, pending) {
            self.ranks.remove(&old);
        }
        pending.insert(number, handshake);
        self.ranks.extend(rank(address, pending));
        true
    }

    /// Takes out a handshake; `None` if it was taken out before.
    pub(crate) fn leave(&mut self, address: IpAddr, number: u64) -> Option<H> {
        let pending = self.by_address.get_mut(&address)?;
        let old = rank(address, pending);
        let handshake = pending.remove(&number)?;
        if let Some(old) = old {
            self.ranks.remove(&old);
        }
        match rank(address, pending) {
            Some(new) => drop(self.ranks.insert(new)),
            None => drop(self.by_address.remove(&address)),
        }
        Some(handshake)
    }

    /// The rank of the address that makes room first; `None` without a pending handshake.
    pub(crate) fn greatest(&self) -> Option<Rank> {
        self.ranks.last().copied()
    }

    /// Takes out the handshake that makes room first.
    pub(crate) fn evict(&mut self) -> Option<H> {
        let (_, Reverse(oldest), address) = self.greatest()?;
        self.leave(address, oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    #[test]
    fn the_oldest_of_the_address_with_most_makes_room() {
        let mut pending = Pending::default();
        for (number, of) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 2), (6, 3)] {
            assert!(pending.enter(address(of), number, number, 3));
        }
        assert!(!pending.enter(address(2), 7, 7, 3), "the address has its share");
        // address 2 has three, then two as address 3, but the older ones
        assert_eq!([(); 6].map(|()| pending.evict()), [2, 3, 4, 1, 5, 6].map(Some));
        assert_eq!(pending.evict(), None);
        assert!(pending.by_address.is_empty() && pending.ranks.is_empty());
    }

    #[test]
    fn a_handshake_that_ended_makes_no_room() {
        let mut pending = Pending::default();
        for number in 1..=3 {
            assert!(pending.enter(address(1), number, number, usize::MAX));
        }
        assert_eq!(pending.leave(address(1), 1), Some(1));
        assert_eq!(pending.leave(address(1), 1), None);
        assert_eq!(pending.evict(), Some(2));
        assert!(!pending.has(address(1), 2) && pending.has(address(1), 3));
        assert_eq!(pending.leave(address(1), 2), None, "it lost its slot");
        assert_eq!(pending.leave(address(1), 3), Some(3));
        assert_eq!(pending.greatest(), None);
    }
}
