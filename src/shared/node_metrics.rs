//! What is counted of each node, for `/metrics`: in a bounded number of labels.
//!
//! At most 256 nodes have a label of their own, the busiest of late. All others are counted together, as the node
//! `other`. No counter ever goes down: a node that gets a label begins at zero and leaves behind what was counted before; a
//! node that loses its label takes its series with it, and `other` gets its counts.

use crate::metrics::nodes::{NodeMetrics, NodeRow, OTHER_NODES};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Most nodes with a label of their own.
const LABELS_MAX: usize = 256;

/// Most nodes without a label whose dials are remembered, to find the busiest.
const CANDIDATES_MAX: usize = 4096;

/// Most nodes that lost their label while they had sessions. While there are so many, no further node loses its label.
const RETIRED_MAX: usize = 256;

/// How often the nodes are ranked anew, at most: with each page that is asked for.
const REVIEW_INTERVAL: Duration = Duration::from_secs(10);

/// A node that was not dialled for so long loses its label, once it has no session.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// The numbers of all nodes, for all workers.
#[derive(Debug)]
pub struct NodeTable {
    /// The nodes that have a label. Dials read it; only a review, and the first dial of a node, change it.
    labelled: RwLock<HashMap<IpAddr, Labelled>>,
    /// What is counted of nodes without a label.
    other: Arc<NodeMetrics>,
    review: Mutex<Review>,
}

/// A node that has a label.
#[derive(Debug)]
struct Labelled {
    metrics: Arc<NodeMetrics>,
    rank: Rank,
}

/// How busy a node was of late: its dials, where those of each earlier review count half.
#[derive(Debug)]
struct Rank {
    recent: u64,
    dials_at_review: u64,
    dialled: Instant,
}

/// What a review needs beside the nodes that have a label.
#[derive(Debug)]
struct Review {
    last: Instant,
    /// Dials of nodes without a label.
    candidates: HashMap<IpAddr, u64>,
    /// The numbers of nodes that lost their label and may still be written to.
    retired: Vec<Arc<NodeMetrics>>,
}

/// A session at a node, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct NodeSession(Arc<NodeMetrics>);

impl NodeSession {
    /// Counts a session at the node of these numbers.
    pub(crate) fn begin(metrics: Arc<NodeMetrics>) -> Self {
        metrics.count_session(1);
        Self(metrics)
    }
}

impl Drop for NodeSession {
    fn drop(&mut self) {
        self.0.count_session(-1);
    }
}

impl Default for NodeTable {
    fn default() -> Self {
        let review = Review { last: Instant::now(), candidates: HashMap::new(), retired: Vec::new() };
        Self { labelled: RwLock::default(), other: Arc::default(), review: Mutex::new(review) }
    }
}

impl NodeTable {
    /// Where the next dial of `node` is counted, and its session. The caller drops it when they are over.
    pub(crate) fn of(&self, node: IpAddr) -> Arc<NodeMetrics> {
        let labelled = self.labelled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(labelled) = labelled.get(&node) {
            return Arc::clone(&labelled.metrics);
        }
        let full = labelled.len() >= LABELS_MAX;
        drop(labelled);
        if !full {
            let mut labelled = self.labelled.write().unwrap_or_else(PoisonError::into_inner);
            if labelled.len() < LABELS_MAX || labelled.contains_key(&node) {
                return Arc::clone(&labelled.entry(node).or_insert_with(|| Labelled::new(0)).metrics);
            }
        }
        let candidates = &mut self.review().candidates;
        if candidates.len() < CANDIDATES_MAX || candidates.contains_key(&node) {
            *candidates.entry(node).or_default() += 1;
        }
        Arc::clone(&self.other)
    }

    /// Counts a session at `node` until the result is dropped.
    pub(crate) fn session(&self, node: IpAddr) -> NodeSession {
        NodeSession::begin(self.of(node))
    }

    fn review(&self) -> MutexGuard<'_, Review> {
        self.review.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of the page, in the order of their addresses, `other` last. `quarantined` are the nodes in quarantine. Ranks
    /// the nodes anew, if that is due at `now`.
    pub fn rows(&self, quarantined: &[IpAddr], now: Instant) -> Vec<NodeRow> {
        let mut review = self.review();
        if now.saturating_duration_since(review.last) >= REVIEW_INTERVAL {
            review.last = now;
            self.rank(&mut review, now);
        }
        let labelled = self.labelled.read().unwrap_or_else(PoisonError::into_inner);
        let mut nodes: Vec<_> = labelled.iter().map(|(node, labelled)| (*node, &labelled.metrics)).collect();
        nodes.sort_unstable_by_key(|(node, _)| *node);
        let row = |(node, metrics): (IpAddr, &Arc<NodeMetrics>)| NodeRow {
            node: node.to_string(),
            quarantined: u64::from(quarantined.contains(&node)),
            metrics: Arc::clone(metrics),
        };
        let mut rows: Vec<_> = nodes.into_iter().map(row).collect();
        let others = quarantined.iter().filter(|node| !labelled.contains_key(node)).count();
        let sum = NodeMetrics::default();
        sum.absorb(&self.other);
        review.retired.iter().for_each(|metrics| sum.absorb(metrics));
        rows.push(NodeRow {
            node: OTHER_NODES.to_owned(),
            quarantined: others as u64,
            metrics: Arc::new(sum),
        });
        rows
    }

    /// Takes labels from nodes that were not dialled for long, and from the least busy ones where others are busier.
    fn rank(&self, review: &mut Review, now: Instant) {
        let mut labelled = self.labelled.write().unwrap_or_else(PoisonError::into_inner);
        labelled.values_mut().for_each(|labelled| labelled.review(now));
        // retired numbers that no session or dial holds can't change any more
        let ended = |metrics: &mut Arc<NodeMetrics>| Arc::strong_count(metrics) == 1;
        review.retired.extract_if(.., ended).for_each(|metrics| self.other.absorb(&metrics));

        let is_over = |labelled: &Labelled| labelled.is_idle(now) && labelled.metrics.sessions() == 0;
        let over: Vec<_> =
            labelled.iter().filter(|(_, labelled)| is_over(labelled)).map(|(node, _)| *node).collect();
        for node in over {
            self.retire(review, labelled.remove(&node));
        }
        let mut candidates: Vec<_> = review.candidates.iter().map(|(node, dials)| (*dials, *node)).collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        for (dials, node) in candidates {
            // it got a label when there was room, and its numbers stay
            if labelled.contains_key(&node) {
                review.candidates.remove(&node);
                continue;
            }
            let least = labelled.iter().min_by_key(|(_, labelled)| labelled.rank.recent);
            let least = least.map(|(node, labelled)| (*node, labelled.rank.recent));
            match least {
                // twice as busy, so that nodes that are equally busy don't take the label from each other in turn
                Some((least, recent)) if labelled.len() >= LABELS_MAX => {
                    if dials <= recent.saturating_mul(2) || review.retired.len() >= RETIRED_MAX {
                        break;
                    }
                    self.retire(review, labelled.remove(&least));
                }
                _ => {}
            }
            labelled.insert(node, Labelled::new(dials));
            review.candidates.remove(&node);
        }
        review.candidates.retain(|_, dials| {
            *dials /= 2;
            *dials > 0
        });
    }

    /// Moves the numbers of a node that lost its label to `other`: at once, or when nothing writes to them any more.
    fn retire(&self, review: &mut Review, lost: Option<Labelled>) {
        let Some(Labelled { metrics, .. }) = lost else { return };
        if Arc::strong_count(&metrics) == 1 {
            self.other.absorb(&metrics);
        } else {
            review.retired.push(metrics);
        }
    }
}

impl Labelled {
    /// A node that gets a label now, as busy as `recent` dials.
    fn new(recent: u64) -> Self {
        let rank = Rank { recent, dials_at_review: 0, dialled: Instant::now() };
        Self { metrics: Arc::default(), rank }
    }

    fn review(&mut self, now: Instant) {
        let dials = self.metrics.dials();
        let new = dials - self.rank.dials_at_review;
        if new > 0 {
            self.rank.dialled = now;
        }
        self.rank.recent = self.rank.recent / 2 + new;
        self.rank.dials_at_review = dials;
    }

    fn is_idle(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.rank.dialled) >= FORGET_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::DialOutcome;

    fn node(n: u16) -> IpAddr {
        let [high, low] = n.to_be_bytes();
        IpAddr::from([10, 0, high, low])
    }

    fn dial(table: &NodeTable, n: u16, times: usize) {
        for _ in 0..times {
            table.of(node(n)).count_dial(DialOutcome::Connected, Some(Duration::from_millis(1)));
        }
    }

    fn dials(rows: &[NodeRow], name: &str) -> Option<u64> {
        rows.iter().find(|row| row.node == name).map(|row| row.metrics.dials())
    }

    fn all(rows: &[NodeRow]) -> u64 {
        rows.iter().map(|row| row.metrics.dials()).sum()
    }

    #[test]
    fn the_busiest_nodes_have_a_label_and_nothing_is_counted_twice_or_lost() {
        let (table, start) = (NodeTable::default(), Instant::now());
        (0..300).for_each(|n| dial(&table, n, 1));
        let rows = table.rows(&[node(0), node(299), node(298)], start);
        assert_eq!((rows.len(), all(&rows)), (LABELS_MAX + 1, 300));
        assert_eq!((dials(&rows, "10.0.0.7"), dials(&rows, OTHER_NODES)), (Some(1), Some(44)));
        let quarantined: Vec<_> = [0, LABELS_MAX].iter().map(|at| rows[*at].quarantined).collect();
        assert_eq!(quarantined, [1, 2]);

        dial(&table, 299, 5);
        let rows = table.rows(&[], start + REVIEW_INTERVAL);
        assert_eq!((rows.len(), all(&rows)), (LABELS_MAX + 1, 305));
        let name = node(299).to_string();
        assert_eq!(dials(&rows, &name), Some(0), "it begins at zero");
        assert_eq!(dials(&rows, OTHER_NODES), Some(50), "and its node before it is counted here");
        dial(&table, 299, 2);
        let rows = table.rows(&[], start + REVIEW_INTERVAL);
        assert_eq!((dials(&rows, &name), all(&rows)), (Some(2), 307));
    }

    #[test]
    fn equally_busy_nodes_do_not_take_labels_from_each_other() {
        let (table, start) = (NodeTable::default(), Instant::now());
        let names = |rows: &[NodeRow]| rows.iter().map(|row| row.node.clone()).collect::<Vec<_>>();
        (0..512).for_each(|n| dial(&table, n, 1));
        let before = names(&table.rows(&[], start));
        for review in 1..20 {
            (0..512).for_each(|n| dial(&table, n, 1));
            assert_eq!(names(&table.rows(&[], start + REVIEW_INTERVAL * review)), before);
        }
    }

    #[test]
    fn sessions_of_a_node_that_lost_its_label_are_counted_until_they_end() {
        let (table, start) = (NodeTable::default(), Instant::now());
        (0..256).for_each(|n| dial(&table, n, 20 * usize::from(n != 3)));
        let session = NodeSession::begin(table.of(node(3)));
        dial(&table, 999, 30);
        let sessions = |rows: Vec<NodeRow>| -> Vec<(String, i64)> {
            let busy = rows.iter().filter(|row| row.metrics.sessions() != 0);
            busy.map(|row| (row.node.clone(), row.metrics.sessions())).collect()
        };
        assert_eq!(sessions(table.rows(&[], start)), [("10.0.0.3".to_owned(), 1)]);
        assert_eq!(sessions(table.rows(&[], start + REVIEW_INTERVAL)), [(OTHER_NODES.to_owned(), 1)]);
        drop(session);
        assert_eq!(sessions(table.rows(&[], start + REVIEW_INTERVAL * 2)), []);
        assert!(table.review().retired.is_empty());
    }

    #[test]
    fn a_node_that_was_not_dialled_for_long_leaves_the_page_but_for_its_counts() {
        let (table, start) = (NodeTable::default(), Instant::now());
        dial(&table, 1, 3);
        let _session = NodeSession::begin(table.of(node(2)));
        table.rows(&[], start + REVIEW_INTERVAL);
        let rows = table.rows(&[], start + REVIEW_INTERVAL + FORGET_AFTER);
        let names: Vec<_> = rows.iter().map(|row| row.node.as_str()).collect();
        assert_eq!(names, ["10.0.0.2", OTHER_NODES], "the node with a session stays");
        assert_eq!(dials(&rows, OTHER_NODES), Some(3));
    }

    #[test]
    fn a_candidate_that_got_a_label_meanwhile_keeps_its_counts() {
        let (table, start) = (NodeTable::default(), Instant::now());
        (0..256).for_each(|n| dial(&table, n, 1));
        dial(&table, 999, 2);
        // makes room, and the candidate takes it at its next dial
        let idle = node(7);
        table.labelled.write().expect("a map").remove(&idle).expect("a label");
        dial(&table, 999, 3);
        let rows = table.rows(&[], start + REVIEW_INTERVAL);
        assert_eq!((dials(&rows, &node(999).to_string()), dials(&rows, OTHER_NODES)), (Some(3), Some(2)));
    }

    #[test]
    fn dials_of_any_number_of_nodes_take_bounded_memory() {
        let table = NodeTable::default();
        (0..u16::MAX).for_each(|n| dial(&table, n, 1));
        assert_eq!(table.review().candidates.len(), CANDIDATES_MAX);
        assert_eq!(all(&table.rows(&[], Instant::now())), u64::from(u16::MAX));
    }

    #[test]
    fn counts_stay_complete_while_nodes_change_labels_under_traffic() {
        const THREADS: u16 = 4;
        const DIALS: u16 = 20_000;
        let (table, start) = (NodeTable::default(), Instant::now());
        let ended = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let (table, ended) = (&table, &ended);
                scope.spawn(move || {
                    for n in 0..DIALS {
                        // other nodes are busy in each stretch
                        let node = node(n / 2000 * 100 + n % 300);
                        let _session = table.session(node);
                        table.of(node).count_dial(DialOutcome::Connected, None);
                    }
                    ended.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                });
            }
            let (mut before, mut review) = ((0, 0), 0);
            while ended.load(std::sync::atomic::Ordering::SeqCst) < usize::from(THREADS) {
                review += 1;
                let rows = table.rows(&[], start + REVIEW_INTERVAL * review);
                let now = (all(&rows), dials(&rows, OTHER_NODES).expect("a row"));
                assert!(now.0 >= before.0 && now.1 >= before.1, "{now:?} after {before:?}");
                before = now;
            }
        });
        let rows = table.rows(&[], start);
        assert_eq!(all(&rows), u64::from(THREADS) * u64::from(DIALS));
        assert_eq!(rows.iter().map(|row| row.metrics.sessions()).sum::<i64>(), 0);
        assert!(rows.len() <= LABELS_MAX + 1);
    }
}
