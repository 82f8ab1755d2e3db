//! How many questions to the stream manager are under way: in all, and of each client address.

use crate::proto::red5::route::Priority;
use crate::proto::refusal::Refusal;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most questions under way at once; each may hold a connection to the stream manager. Clients choose the stream names, so
/// without this bound a slow stream manager would get as many connections as there are clients.
pub(crate) const QUESTIONS_MAX: usize = 1024;

/// How many of them are kept for publishers: a publisher that gets no answer takes the stream from all its players.
const PUBLISHER_RESERVE: usize = QUESTIONS_MAX / 8;

/// How many of them the clients of one address may have under way. A question counts for the client that asked it first; it
/// costs nothing to wait for the question of another client.
const QUESTIONS_PER_IP: usize = QUESTIONS_MAX / 16;

/// The questions under way.
#[derive(Debug, Default)]
pub(crate) struct Shares(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Without the addresses that have none.
    by_address: HashMap<IpAddr, usize>,
}

/// A question under way; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct QuestionPermit {
    shares: Arc<Shares>,
    address: IpAddr,
}

impl Shares {
    /// Counts one more question of `address`, as limits count it. `shared` is whether an address has only its share of all
    /// questions.
    ///
    /// Fails with [`Refusal::TooMany`] over this share, and with [`Refusal::Overloaded`] when too many questions of all
    /// addresses are under way for a question of this priority.
    pub(crate) fn begin(
        self: &Arc<Self>,
        address: IpAddr,
        priority: Priority,
        shared: bool,
    ) -> Result<QuestionPermit, Refusal> {
        let usable =
            if priority == Priority::High { QUESTIONS_MAX } else { QUESTIONS_MAX - PUBLISHER_RESERVE };
        let mut counts = self.counts();
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        if shared && of_address >= QUESTIONS_PER_IP {
            return Err(Refusal::TooMany);
        }
        if counts.all >= usable {
            return Err(Refusal::Overloaded);
        }
        counts.all += 1;
        counts.by_address.insert(address, of_address + 1);
        Ok(QuestionPermit { shares: self.clone(), address })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // nothing panics between two changes that belong together
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for QuestionPermit {
    fn drop(&mut self) {
        let mut counts = self.shares.counts();
        counts.all -= 1;
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: usize) -> IpAddr {
        [192, 0, 2, u8::try_from(n).expect("a small number")].into()
    }

    #[test]
    fn an_address_has_a_share_and_publishers_have_a_reserve() {
        let shares = Arc::new(Shares::default());
        let begin = |of, priority| shares.begin(address(of), priority, true);
        let mut permits = Vec::new();
        for of in 0..14 {
            for _ in 0..QUESTIONS_PER_IP {
                permits.push(begin(of, Priority::Normal).expect("within the share"));
            }
            assert_eq!(begin(of, Priority::High).err(), Some(Refusal::TooMany), "for publishers too");
        }
        assert_eq!(begin(14, Priority::Normal).err(), Some(Refusal::Overloaded), "the rest is reserved");
        for n in 0..PUBLISHER_RESERVE {
            permits.push(begin(20 + n % 8, Priority::High).expect("a reserve for publishers"));
        }
        assert_eq!(begin(14, Priority::High).err(), Some(Refusal::Overloaded));
        permits.clear();
        assert!(shares.counts().by_address.is_empty() && shares.counts().all == 0);
    }

    #[test]
    fn without_shares_only_the_total_counts() {
        let shares = Arc::new(Shares::default());
        let permits = std::iter::from_fn(|| shares.begin(address(1), Priority::High, false).ok());
        assert_eq!(permits.collect::<Vec<_>>().len(), QUESTIONS_MAX);
    }
}
