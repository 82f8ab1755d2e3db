//! Learned and failed nodes: which ones the stream manager named, and which ones a dial could not reach.
//!
//! A learned node may be dialled for `answers.learned_ttl`, but no longer than a stream manager that named it is a configured one.
//! A node that failed is avoided for
//! `origins.quarantine`, and every answer that names it and is older than the failure is dropped.

use crate::config;
use crate::proto::millis::{Millis, millis};
use crate::shared::clock::Clock;
use crate::shared::silences::Silences;
use arc_swap::ArcSwap;
use moka::Expiry;
use moka::ops::compute::Op;
use moka::sync::Cache;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Most nodes that are remembered as learned, and as failed: a faulty stream manager must not fill the memory.
const NODES_MAX: u64 = 65_536;

/// The shortest time for which a failure is remembered. Answers to list questions live for a second whatever is
/// configured, and a failure has to outlive every answer that names the node.
const FAILURE_MEMORY_MIN: Duration = Duration::from_secs(2);

/// The learned and failed nodes, for all workers and control.
pub struct Nodes {
    clock: Clock,
    /// The nodes that were named.
    learned: Cache<IpAddr, Learned>,
    /// The stream managers that are configured now.
    managers: ArcSwap<Vec<ManagerId>>,
    /// When each failed node failed last.
    failed: Cache<IpAddr, Millis>,
    last_failure: AtomicU64,
    silences: Silences,
    times: Arc<Times>,
}

/// How long nodes are remembered, in milliseconds, as configured now. What was stored earlier keeps its time.
#[derive(Debug, Default)]
struct Times {
    learned: AtomicU64,
    failed: AtomicU64,
    /// How long a node that failed is avoided; 0 means that it is not avoided.
    quarantine: AtomicU64,
}

impl Times {
    fn change(&self, config: &config::Answers, quarantine: Option<Duration>) {
        let quarantine = quarantine.unwrap_or_default();
        let longest = config.broadcast_ttl.max(config.subscribe_ttl).max(config.missing_ttl);
        let failed = (longest * 2).max(FAILURE_MEMORY_MIN).max(quarantine);
        self.learned.store(millis(config.learned_ttl), Relaxed);
        self.failed.store(millis(failed), Relaxed);
        self.quarantine.store(millis(quarantine), Relaxed);
    }
}

/// Which stream manager named a node: equal for equal addresses of stream managers, in this process only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManagerId(u64);

impl ManagerId {
    /// The id of the stream manager at this address.
    pub fn of(url: &config::ManagerUrl) -> Self {
        let mut hasher = DefaultHasher::new();
        url.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// That a stream manager named a node.
#[derive(Debug, Clone, Copy)]
struct Naming {
    manager: ManagerId,
    /// Until when that admits the node.
    until: Millis,
}

/// The last naming of a node by each stream manager that is configured, or was when the node was named last.
type Learned = Arc<[Naming]>;

/// Expires a learned node when it may no longer be dialled.
struct UntilThen(Clock);

impl UntilThen {
    fn time(&self, learned: &Learned) -> Option<Duration> {
        learned.iter().map(|naming| self.0.until(naming.until)).max()
    }
}

impl Expiry<IpAddr, Learned> for UntilThen {
    fn expire_after_create(&self, _: &IpAddr, learned: &Learned, _: Instant) -> Option<Duration> {
        self.time(learned)
    }

    fn expire_after_update(
        &self,
        _: &IpAddr,
        learned: &Learned,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.time(learned)
    }
}

/// Expires a failure some time after the last one of the same node.
struct SinceFailure(Arc<Times>);

impl SinceFailure {
    fn time(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.0.failed.load(Relaxed)))
    }
}

impl Expiry<IpAddr, Millis> for SinceFailure {
    fn expire_after_create(&self, _: &IpAddr, _: &Millis, _: Instant) -> Option<Duration> {
        self.time()
    }

    fn expire_after_update(
        &self,
        _: &IpAddr,
        _: &Millis,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.time()
    }
}

impl Nodes {
    /// No node is known yet. `quarantine` is how long a node that failed is avoided; `None` means that it is not.
    pub(crate) fn new(clock: Clock, config: &config::Answers, quarantine: Option<Duration>) -> Self {
        let times = Arc::<Times>::default();
        times.change(config, quarantine);
        let learned = Cache::builder().max_capacity(NODES_MAX).expire_after(UntilThen(clock)).build();
        let failed =
            Cache::builder().max_capacity(NODES_MAX).expire_after(SinceFailure(times.clone())).build();
        Self {
            clock,
            learned,
            managers: ArcSwap::default(),
            failed,
            last_failure: AtomicU64::new(0),
            silences: Silences::new(clock),
            times,
        }
    }

    /// Takes over the times of a newer configuration; what is remembered keeps its old ones.
    pub(crate) fn change(&self, config: &config::Answers, quarantine: Option<Duration>) {
        self.times.change(config, quarantine);
    }

    /// Takes over the stream managers of a newer configuration. Nodes that only others named are forgotten, also those that their
    /// last answers name from now on.
    pub fn change_managers(&self, managers: Vec<ManagerId>) {
        let managers = Arc::new(managers);
        let former = self.managers.swap(Arc::clone(&managers));
        if former.iter().any(|manager| !managers.contains(manager)) {
            // they count no more, whether or not they are removed: see `Nodes::counts`
            self.learned.iter().filter(|(_, learned)| !self.counts(learned)).for_each(|(node, _)| {
                self.learned.invalidate(&*node);
            });
        }
    }

    /// The configured stream managers that named a node, each with the time for which that admits it.
    fn namings(&self, learned: &Learned) -> Vec<(ManagerId, Duration)> {
        let (managers, now) = (self.managers.load(), self.clock.now());
        let counting =
            learned.iter().filter(|naming| naming.until > now && managers.contains(&naming.manager));
        counting.map(|naming| (naming.manager, self.clock.until(naming.until))).collect()
    }

    /// Learns a node that every configured stream manager named: it may be dialled for `answers.learned_ttl` from now on.
    pub fn learn(&self, node: IpAddr) {
        self.learn_for(node, Duration::MAX, None);
    }

    /// Learns a node that this stream manager named, if it is still a configured one.
    pub fn learn_from(&self, node: IpAddr, manager: ManagerId) {
        self.learn_for(node, Duration::MAX, Some(manager));
    }

    /// Learns a node that `manager` named, or if that is not known each of them, for `left` and at most `answers.learned_ttl`.
    /// Never shortens the time that a node has left.
    pub fn learn_for(&self, node: IpAddr, left: Duration, manager: Option<ManagerId>) {
        let managers = self.managers.load();
        let left = millis(left).min(self.times.learned.load(Relaxed));
        let until = self.clock.now().saturating_add(left);
        let named = |configured: &ManagerId| manager.is_none_or(|manager| manager == *configured);
        if !managers.iter().any(named) {
            return;
        }
        self.learned.entry(node).and_compute_with(|before| {
            let before = before.map(|entry| entry.into_value()).unwrap_or_default();
            let naming = |manager: &ManagerId| {
                let known =
                    before.iter().find(|naming| naming.manager == *manager).map(|naming| naming.until);
                let until = known.max(named(manager).then_some(until))?;
                Some(Naming { manager: *manager, until })
            };
            let learned: Learned = managers.iter().filter_map(naming).collect();
            Op::Put(learned)
        });
    }

    /// All learned nodes, each with the stream managers that named it and the time for which that admits it.
    pub fn learned(&self) -> Vec<(IpAddr, Vec<(ManagerId, Duration)>)> {
        let all = self.learned.iter().map(|(node, learned)| (*node, self.namings(&learned)));
        all.filter(|(_, namings)| !namings.is_empty()).collect()
    }

    /// Whether a configured stream manager named this node within `answers.learned_ttl`.
    pub fn is_learned(&self, node: IpAddr) -> bool {
        self.learned.get(&node).is_some_and(|learned| self.counts(&learned))
    }

    /// Whether a configured stream manager is among those that named a node, in time.
    fn counts(&self, learned: &Learned) -> bool {
        let (managers, now) = (self.managers.load(), self.clock.now());
        learned.iter().any(|naming| naming.until > now && managers.contains(&naming.manager))
    }

    /// Notes that a node failed just now.
    pub fn mark_failed(&self, node: IpAddr) {
        let now = self.clock.now();
        self.failed.insert(node, now);
        self.last_failure.fetch_max(now, Relaxed);
    }

    /// Notes that a node answered a request, well or not.
    pub(crate) fn mark_answered(&self, node: IpAddr) {
        self.silences.on_answer(node);
    }

    /// Notes that a node took a request that `client` sent at `asked` and did not answer. It counts as failed only when several
    /// different clients saw that, and none got an answer from it meanwhile.
    pub(crate) fn mark_silent(&self, node: IpAddr, client: IpAddr, asked: Instant) {
        if self.silences.on_silence(node, client, asked) {
            self.mark_failed(node);
        }
    }

    /// Whether one of `nodes` failed at or after `then`. Costs one atomic load while no node has failed since.
    pub(crate) fn any_failed_since(&self, nodes: &[IpAddr], then: Millis) -> bool {
        let failed = |node| self.failed.get(node).is_some_and(|failed| failed >= then);
        self.last_failure.load(Relaxed) >= then && nodes.iter().any(failed)
    }

    /// Whether a node failed within `origins.quarantine`, so that a search avoids it.
    pub fn is_quarantined(&self, node: IpAddr) -> bool {
        self.quarantined_for(node).is_some()
    }

    /// How long a node that failed is still avoided; `None` if it is not.
    pub fn quarantined_for(&self, node: IpAddr) -> Option<Duration> {
        let over = self.failed.get(&node)?.saturating_add(self.times.quarantine.load(Relaxed));
        Some(Duration::from_millis(over.saturating_sub(self.clock.now()))).filter(|left| !left.is_zero())
    }

    /// All nodes that are in quarantine now.
    pub fn quarantined(&self) -> Vec<IpAddr> {
        let all = self.failed.iter().map(|(node, _)| *node);
        all.filter(|node| self.is_quarantined(*node)).collect()
    }

    /// Whether some learned node is not in quarantine. If there is none, asking for another node would not help.
    pub fn knows_healthy(&self) -> bool {
        self.learned.iter().any(|(node, learned)| self.counts(&learned) && !self.is_quarantined(*node))
    }

    /// How many nodes are remembered as learned, approximately.
    pub fn count(&self) -> u64 {
        self.learned.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_from_a_predecessor_is_believed_no_longer_than_the_predecessor_believed_it() {
        let text = "answers.learned_ttl = \"10m\"\nstream_manager.url = \"http://10.0.0.2\"\n\
                    tls.certificates = [{ chain = \"c\", key = \"k\" }]\n";
        let config = config::read(text).expect("a good configuration");
        let known = Nodes::new(Clock::start(), &config.answers, None);
        let nodes: [IpAddr; 3] = [1, 2, 3].map(|n| [10, 0, 0, n].into());
        let manager = ManagerId(1);
        known.change_managers(vec![manager]);
        known.learn_for(nodes[0], Duration::from_millis(20), None);
        known.learn_for(nodes[1], Duration::from_secs(86_400), Some(manager));
        known.learn(nodes[2]);
        known.learn_for(nodes[2], Duration::from_millis(20), Some(manager));
        let deadline = Instant::now() + Duration::from_secs(10);
        while known.is_learned(nodes[0]) {
            assert!(Instant::now() < deadline, "the node is forgotten when its time is over");
            std::thread::yield_now();
        }
        assert!(known.is_learned(nodes[1]) && known.is_learned(nodes[2]));
        let mut left = known.learned();
        left.sort();
        assert_eq!(left.iter().map(|(node, _)| *node).collect::<Vec<_>>(), nodes[1..]);
        assert!(left.iter().all(|(_, by)| by[0].0 == manager && by[0].1 <= Duration::from_secs(600)));
    }

    #[test]
    fn nodes_that_only_removed_stream_managers_named_are_forgotten() {
        let text =
            "stream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{ chain = \"c\", key = \"k\" }]\n";
        let config = config::read(text).expect("a good configuration");
        let known = Nodes::new(Clock::start(), &config.answers, None);
        let [a, b, c] = [1, 2, 3].map(ManagerId);
        let [by_a, by_b, by_both]: [IpAddr; 3] = [1, 2, 3].map(|n| [10, 0, 0, n].into());
        let all = || [by_a, by_b, by_both].map(|node| known.is_learned(node));
        known.change_managers(vec![a, b]);
        for (node, manager) in [(by_a, a), (by_b, b), (by_both, a), (by_both, b)] {
            known.learn_from(node, manager);
        }
        // one more, in another order
        known.change_managers(vec![c, b, a]);
        assert_eq!(all(), [true; 3]);
        known.change_managers(vec![b, c]);
        known.learn_from(by_a, a);
        assert_eq!(all(), [false, true, true], "the last answer of one that is gone teaches nothing");
        let named = known.learned().into_iter().find(|(node, _)| *node == by_both).map(|(_, by)| by);
        assert_eq!(named.map(|by| by.iter().map(|(manager, _)| *manager).collect::<Vec<_>>()), Some(vec![b]));
        known.change_managers(vec![c]);
        assert!(known.learned().is_empty() && !known.knows_healthy());
        known.learn_from(by_b, c);
        known.learn_from(by_b, b);
        assert!(known.is_learned(by_b) && known.knows_healthy(), "what the new one said stays");
    }

    #[test]
    fn each_stream_manager_admits_a_node_for_its_own_time() {
        let text =
            "stream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{ chain = \"c\", key = \"k\" }]\n";
        let config = config::read(text).expect("a good configuration");
        let known = Nodes::new(Clock::start(), &config.answers, None);
        let ([a, b], node): (_, IpAddr) = ([1, 2].map(ManagerId), [10, 0, 0, 1].into());
        known.change_managers(vec![a, b]);
        known.learn_for(node, Duration::from_millis(1), Some(a));
        known.learn_for(node, Duration::from_secs(60), Some(b));
        std::thread::sleep(Duration::from_millis(5));
        assert!(known.is_learned(node));
        known.change_managers(vec![a]);
        assert!(!known.is_learned(node), "the longer time was that of the other one");
    }
}
