//! Connections that make room for others: which connections of a worker are idle, and how any thread tells a worker that one
//! of its connections has lost its slot.
//!
//! The thread that needs room takes the slot at once. The worker of the connection that lost it only has to close it, and
//! does so when it has read the message: one wake for all messages that have come meanwhile.

use crate::shared::session_id::SessionId;
use futures_channel::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A connection that has lost its slot and has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// It had not completed its first request head.
    Handshake(SessionId),
    /// It waited for its next request.
    Idle(SessionId),
}

/// One worker as all threads see it when they need room.
#[derive(Debug)]
pub struct Evictions {
    /// Only its own worker locks it, but for a thread that needs room.
    idle: Mutex<IdleQueue>,
    worker: mpsc::UnboundedSender<Eviction>,
}

impl Evictions {
    /// A worker without connections, and the receiver from which it takes its evictions.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<Eviction>) {
        let (worker, receiver) = mpsc::unbounded();
        (Self { idle: Mutex::default(), worker }, receiver)
    }

    /// Tells the worker. After the end of the worker nothing happens: it has no connections.
    pub(crate) fn tell(&self, eviction: Eviction) {
        let _ = self.worker.unbounded_send(eviction);
    }

    /// Notes that a connection waits for its next request since `now`. Calls come in the order of their times.
    pub(crate) fn enter_idle(&self, id: SessionId, now: Instant) -> IdleEntry {
        self.idle().push(id, now)
    }

    /// Notes that a connection waits no more. False if it has lost its slot: then it must not go on.
    pub(crate) fn leave_idle(&self, entry: IdleEntry) -> bool {
        self.idle().remove(entry).is_some()
    }

    /// Since when the connection waits that waits longest.
    pub(crate) fn longest_idle(&self) -> Option<Instant> {
        self.idle().first().map(|(_, since)| since)
    }

    /// Takes the slot of the connection that waits longest, and tells the worker; false if none waits.
    pub(crate) fn evict_longest_idle(&self) -> bool {
        let evicted = {
            let mut idle = self.idle();
            idle.first().and_then(|(entry, _)| idle.remove(entry))
        };
        evicted.inspect(|id| self.tell(Eviction::Idle(*id))).is_some()
    }

    fn idle(&self) -> MutexGuard<'_, IdleQueue> {
        // nothing below panics between two changes that belong together
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry of an [`IdleQueue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdleEntry {
    index: u32,
    /// How often the index had been used before.
    generation: u32,
}

/// The idle connections of one worker, the longest idle first. A list with links in both directions inside a vector: every
/// request on a kept connection enters and leaves it once, so both take constant time and no memory.
#[derive(Debug)]
struct IdleQueue {
    links: Vec<Link>,
    /// The first unused link; unused ones are a list too.
    unused: u32,
    first: u32,
    last: u32,
}

#[derive(Debug)]
struct Link {
    previous: u32,
    next: u32,
    generation: u32,
    id: SessionId,
    since: Instant,
}

/// No link.
const NONE: u32 = u32::MAX;

impl Default for IdleQueue {
    fn default() -> Self {
        Self { links: Vec::new(), unused: NONE, first: NONE, last: NONE }
    }
}

impl IdleQueue {
    fn push(&mut self, id: SessionId, since: Instant) -> IdleEntry {
        let index = if self.unused == NONE {
            // a worker has fewer connections than 2^32: each has a descriptor
            let index = u32::try_from(self.links.len()).unwrap_or(NONE);
            self.links.push(Link { previous: self.last, next: NONE, generation: 0, id, since });
            index
        } else {
            let index = self.unused;
            let link = &mut self.links[index as usize];
            self.unused = link.next;
            *link = Link { previous: self.last, next: NONE, generation: link.generation, id, since };
            index
        };
        match self.links.get_mut(self.last as usize) {
            Some(last) => last.next = index,
            None => self.first = index,
        }
        self.last = index;
        IdleEntry { index, generation: self.links[index as usize].generation }
    }

    /// The connection of this entry, which is taken out; `None` if it was taken out before.
    fn remove(&mut self, entry: IdleEntry) -> Option<SessionId> {
        let link = self.links.get_mut(entry.index as usize)?;
        if link.generation != entry.generation {
            return None;
        }
        let (previous, next, id) = (link.previous, link.next, link.id);
        link.generation = link.generation.wrapping_add(1);
        link.next = self.unused;
        self.unused = entry.index;
        match self.links.get_mut(previous as usize) {
            Some(link) => link.next = next,
            None => self.first = next,
        }
        match self.links.get_mut(next as usize) {
            Some(link) => link.previous = previous,
            None => self.last = previous,
        }
        Some(id)
    }

    fn first(&self) -> Option<(IdleEntry, Instant)> {
        let link = self.links.get(self.first as usize)?;
        Some((IdleEntry { index: self.first, generation: link.generation }, link.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// The queue against a plain one, with entries that come and go in any order.
    #[test]
    fn the_longest_idle_is_always_first() {
        let (mut queue, mut plain) = (IdleQueue::default(), VecDeque::new());
        let (mut random, now) = (7_u64, Instant::now());
        for n in 0..20_000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d) | 1;
            let dice = usize::try_from(random >> 40).expect("24 bits");
            if plain.is_empty() || dice.is_multiple_of(2) && plain.len() < 100 {
                plain.push_back((queue.push(SessionId(n), now), SessionId(n)));
            } else {
                let (entry, id) = plain.remove(dice / 2 % plain.len()).expect("an entry");
                assert_eq!(queue.remove(entry), Some(id));
                assert_eq!(queue.remove(entry), None, "it was taken out before");
            }
            assert_eq!(queue.first().map(|(entry, _)| entry), plain.front().map(|(entry, _)| *entry));
        }
        assert!(queue.links.len() <= 100, "links are used again");
    }

    #[test]
    fn a_connection_that_lost_its_slot_is_told_to_the_worker_and_to_itself() {
        let (worker, mut evicted) = Evictions::channel();
        let now = Instant::now();
        assert!(!worker.evict_longest_idle(), "none waits");
        let [first, second] = [1, 2].map(|id| worker.enter_idle(SessionId(id), now));
        assert!(worker.evict_longest_idle());
        assert_eq!(evicted.try_recv().ok(), Some(Eviction::Idle(SessionId(1))));
        assert!(!worker.leave_idle(first) && worker.leave_idle(second));
        assert_eq!(worker.longest_idle(), None);
    }
}
