//! Nodes that took a request and did not answer it.
//!
//! One such request says little: a client may have sent one that its node thinks about for long, or that makes the node
//! break off. If it counted against the node, one client could put a healthy node away for all others. A node counts as
//! silent when several clients got no answer from it, and no client got one meanwhile.

use crate::proto::millis::{Millis, millis};
use crate::shared::client_address::counted_as;
use crate::shared::clock::Clock;
use moka::sync::Cache;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most nodes that are remembered.
const NODES_MAX: u64 = 65_536;

/// So many different clients without an answer make a node a silent one. Two may be one client with two addresses.
const WITNESSES_MIN: usize = 3;

/// A client that got no answer counts for so long. Longer than the longest wait for an answer by default (30 s).
const WITNESS_TIME: Duration = Duration::from_secs(60);

/// What is known of the answers of all nodes.
pub(crate) struct Silences {
    clock: Clock,
    nodes: Cache<IpAddr, Arc<Node>>,
}

#[derive(Default)]
struct Node {
    /// When it answered last; 0 for never.
    answered: AtomicU64,
    witnesses: Mutex<Vec<Witness>>,
}

/// A client that got no answer.
struct Witness {
    /// Its address, as limits count it.
    client: IpAddr,
    /// When it asked.
    asked: Millis,
}

impl Silences {
    /// No node is known yet.
    pub(crate) fn new(clock: Clock) -> Self {
        let nodes = Cache::builder().max_capacity(NODES_MAX).time_to_idle(WITNESS_TIME).build();
        Self { clock, nodes }
    }

    fn node(&self, node: IpAddr) -> Arc<Node> {
        self.nodes.get(&node).unwrap_or_else(|| self.nodes.get_with(node, Arc::default))
    }

    /// The node answered a request. Whether the answer was a good one does not matter.
    pub(crate) fn on_answer(&self, node: IpAddr) {
        self.node(node).answered.fetch_max(self.clock.now(), Relaxed);
    }

    /// The node did not answer what `client` asked at `asked`. True if the node counts as silent.
    pub(crate) fn on_silence(&self, node: IpAddr, client: IpAddr, asked: Instant) -> bool {
        let (node, client, now) = (self.node(node), counted_as(client), self.clock.now());
        let asked = now.saturating_sub(millis(asked.elapsed()));
        let answered = node.answered.load(Relaxed);
        // every change of the list leaves it valid
        let mut witnesses = node.witnesses.lock().unwrap_or_else(PoisonError::into_inner);
        // an answer to another request means that the node is slow with this one, and not silent
        let counts = |asked: Millis| asked > answered && now - asked < millis(WITNESS_TIME);
        witnesses.retain(|witness| witness.client != client && counts(witness.asked));
        if !counts(asked) {
            return false;
        }
        // those that are there are enough, or there is room
        witnesses.truncate(WITNESSES_MIN - 1);
        witnesses.push(Witness { client, asked });
        witnesses.len() == WITNESSES_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn client(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    /// A moment after the last answer: equal milliseconds count as "answered meanwhile".
    fn later() -> Instant {
        std::thread::sleep(Duration::from_millis(3));
        Instant::now()
    }

    #[test]
    fn one_client_never_makes_a_node_silent_and_three_do() {
        let silences = Silences::new(Clock::start());
        let asked = later();
        assert!((0..9).all(|_| !silences.on_silence(NODE, client(1), asked)));
        assert!(!silences.on_silence(NODE, client(2), asked));
        assert!(!silences.on_silence(NODE, client(1), asked), "two clients are not three");
        assert!(silences.on_silence(NODE, client(3), asked));
        assert!(silences.on_silence(NODE, client(1), asked), "it stays silent until it answers");
        let other = [10, 0, 0, 2].into();
        assert!(!silences.on_silence(other, client(4), asked), "each node for itself");
    }

    #[test]
    fn addresses_of_one_owner_are_one_client() {
        let silences = Silences::new(Clock::start());
        let asked = later();
        for n in 1..9u16 {
            let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n);
            assert!(!silences.on_silence(NODE, address.into(), asked));
        }
    }

    #[test]
    fn an_answer_to_any_client_ends_the_suspicion() {
        let silences = Silences::new(Clock::start());
        let before = later();
        assert!(!silences.on_silence(NODE, client(1), before));
        assert!(!silences.on_silence(NODE, client(2), before));
        silences.on_answer(NODE);
        assert!(!silences.on_silence(NODE, client(3), before), "it answered another request meanwhile");
        let after = later();
        assert!(!silences.on_silence(NODE, client(3), after));
        assert!(!silences.on_silence(NODE, client(4), after), "the first two count no more");
        assert!(silences.on_silence(NODE, client(5), after));
    }
}
