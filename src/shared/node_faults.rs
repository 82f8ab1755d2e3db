//! Nodes that fail, told in few lines: one when a node begins to fail, one a minute while it goes on, one when it serves again,
//! and one for all sessions that ended because their node's connection did. Without this a node that dies with ten thousand
//! sessions would be ten thousand lines.
//!
//! Every thread notes what it sees; any thread writes what is due. While no node fails, a served request costs one atomic load.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two warnings about the same node, of each kind.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Sessions that end within this time are told in one line.
const SUM_TIME: Duration = Duration::from_secs(1);

/// A node of which nothing bad was seen for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Most nodes that are told apart; all others share one row.
const NODES_MAX: usize = 256;

/// What was seen of failing nodes.
#[derive(Debug, Default)]
pub(crate) struct NodeFaults {
    state: Mutex<State>,
    /// Whether some node fails now.
    any_failing: AtomicBool,
}

#[derive(Debug, Default)]
struct State(HashMap<Option<SocketAddr>, Row>);

/// The last bad thing that was seen of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastFault {
    /// The node, with the port of the dial or the session.
    pub(crate) node: SocketAddr,
    /// What it was, in words.
    pub(crate) text: &'static str,
    /// When it was.
    pub(crate) at: Instant,
    /// Whether the node has served no request since.
    pub(crate) is_failing: bool,
}

/// What was seen of one node.
#[derive(Debug, Default)]
struct Row {
    /// Since its first failure after the last request that it served.
    failing: Option<Failing>,
    /// When a warning about requests was written last.
    warned: Option<Instant>,
    /// Sessions that it ended and no line has told of.
    ended: Option<Ended>,
    /// When a line told of ended sessions last.
    told: Option<Instant>,
    /// When it failed or ended a session last.
    seen: Option<Instant>,
    /// What it was then.
    last: &'static str,
}

/// Requests that a node did not take.
#[derive(Debug, Clone, Copy)]
struct Failing {
    since: Instant,
    /// All of them.
    failed: u64,
    /// Those that no line has told of.
    untold: u64,
    fault: &'static str,
    /// Whether a line has told that it fails.
    announced: bool,
}

/// Sessions that ended because their node's connection did.
#[derive(Debug, Clone, Copy)]
struct Ended {
    since: Instant,
    sessions: u64,
    how: &'static str,
}

/// A node in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node(Option<SocketAddr>);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(node) => write!(f, "node {node}"),
            None => f.write_str("one of many other nodes"),
        }
    }
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// A node began to fail. `failed`: how many requests, this one included.
    Fails { node: Node, fault: &'static str, failed: u64 },
    /// It still fails; so many more requests since the last line.
    StillFails { node: Node, fault: &'static str, failed: u64, seconds: u64 },
    /// It served a request again, after so many failed ones.
    Serves { node: Node, failed: u64, seconds: u64 },
    /// It ended so many sessions.
    Ended { node: Node, how: &'static str, sessions: u64 },
}

impl Line {
    fn write(&self) {
        match *self {
            Self::Fails { node, fault, failed } => {
                tracing::warn!(failed, "{node} does not take requests: {fault}");
            }
            Self::StillFails { node, fault, failed, seconds } => {
                tracing::warn!(failed, seconds, "{node} still does not take requests: {fault}");
            }
            Self::Serves { node, failed, seconds } => {
                tracing::info!(failed, seconds, "{node} takes requests again");
            }
            Self::Ended { node, how, sessions } => {
                let plural = if sessions == 1 { "" } else { "s" };
                tracing::warn!(sessions, "{node} ended {sessions} session{plural}: {how}");
            }
        }
    }
}

/// How the connection of a node ended, by the error of its socket; without one it was closed.
pub(crate) fn ending(error: Option<&io::Error>) -> &'static str {
    match error.map(io::Error::kind) {
        None => "its connection was closed without a Close",
        Some(io::ErrorKind::ConnectionReset) => "connection reset",
        Some(io::ErrorKind::TimedOut) => "connection timed out, the node or the way to it is gone",
        Some(_) => "its connection broke",
    }
}

impl NodeFaults {
    fn state(&self) -> MutexGuard<'_, State> {
        // every change leaves a table that is valid
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a node did not take a request, and why. Writes a line if it began to fail.
    pub(crate) fn failed(&self, node: SocketAddr, fault: &'static str) {
        let line = self.state().failed(node, fault, Instant::now());
        self.any_failing.store(true, Relaxed);
        line.inspect(Line::write);
    }

    /// Notes that a node served a request. Writes a line if it had failed.
    pub(crate) fn served(&self, node: SocketAddr) {
        if self.any_failing.load(Relaxed) {
            let mut state = self.state();
            let line = state.served(node, Instant::now());
            self.any_failing.store(state.any_failing(), Relaxed);
            drop(state);
            line.inspect(Line::write);
        }
    }

    /// Notes that the connection of a session's node ended, and how: see [`ending`].
    pub(crate) fn ended(&self, node: SocketAddr, how: &'static str) {
        self.state().ended(node, how, Instant::now());
    }

    /// The last fault of each node of which something bad was seen in the last minutes; those that share a row are left out.
    pub(crate) fn last_faults(&self) -> Vec<LastFault> {
        let state = self.state();
        let last = |(node, row): (&Option<SocketAddr>, &Row)| {
            Some(LastFault {
                node: (*node)?,
                text: row.last,
                at: row.seen?,
                is_failing: row.failing.is_some(),
            })
        };
        state.0.iter().filter_map(last).collect()
    }

    /// Writes the lines that are due: called again and again.
    pub(crate) fn write_due(&self) {
        let mut state = self.state();
        let lines = state.due(Instant::now());
        self.any_failing.store(state.any_failing(), Relaxed);
        drop(state);
        lines.iter().for_each(Line::write);
    }
}

impl State {
    fn row(&mut self, node: SocketAddr, what: &'static str, now: Instant) -> (Node, &mut Row) {
        let key = Some(node).filter(|_| self.0.len() < NODES_MAX || self.0.contains_key(&Some(node)));
        let row = self.0.entry(key).or_default();
        row.seen = Some(now);
        row.last = what;
        (Node(key), row)
    }

    fn any_failing(&self) -> bool {
        self.0.values().any(|row| row.failing.is_some())
    }

    fn failed(&mut self, node: SocketAddr, fault: &'static str, now: Instant) -> Option<Line> {
        let (node, row) = self.row(node, fault, now);
        let new = Failing { since: now, failed: 0, untold: 0, fault, announced: false };
        let failing = row.failing.get_or_insert(new);
        failing.failed += 1;
        failing.untold += 1;
        failing.fault = fault;
        row.warning(node, now)
    }

    fn served(&mut self, node: SocketAddr, now: Instant) -> Option<Line> {
        let key = Some(node);
        let Failing { since, failed, announced, .. } = self.0.get_mut(&key)?.failing.take()?;
        // a node that fails now and then has one line a minute, not two for each time
        announced.then(|| Line::Serves { node: Node(key), failed, seconds: (now - since).as_secs() })
    }

    fn ended(&mut self, node: SocketAddr, how: &'static str, now: Instant) {
        let (_, row) = self.row(node, how, now);
        let ended = row.ended.get_or_insert(Ended { since: now, sessions: 0, how });
        ended.sessions += 1;
    }

    fn due(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        self.0.retain(|key, row| {
            let node = Node(*key);
            lines.extend(row.warning(node, now));
            lines.extend(row.ending(node, now));
            row.seen.is_some_and(|seen| now.duration_since(seen) < FORGET_AFTER)
        });
        lines
    }
}

impl Row {
    /// A line about requests that no line has told of, if it is time for one.
    fn warning(&mut self, node: Node, now: Instant) -> Option<Line> {
        let failing = self.failing.as_mut().filter(|failing| failing.untold > 0)?;
        if self.warned.is_some_and(|warned| now.duration_since(warned) < LINE_INTERVAL) {
            return None;
        }
        self.warned = Some(now);
        let (fault, failed) = (failing.fault, std::mem::take(&mut failing.untold));
        if std::mem::replace(&mut failing.announced, true) {
            let seconds = now.duration_since(failing.since).as_secs();
            return Some(Line::StillFails { node, fault, failed, seconds });
        }
        Some(Line::Fails { node, fault, failed })
    }

    /// A line about sessions that ended, if they have been summed for long enough.
    fn ending(&mut self, node: Node, now: Instant) -> Option<Line> {
        let Ended { since, sessions, how } = self.ended?;
        let told = self.told.is_some_and(|told| now.duration_since(told) < LINE_INTERVAL);
        if told || now.duration_since(since) < SUM_TIME {
            return None;
        }
        self.told = Some(now);
        self.ended = None;
        Some(Line::Ended { node, how, sessions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "refused";

    fn node(n: u16) -> SocketAddr {
        ([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]], 5080).into()
    }

    fn named(n: u16) -> Node {
        Node(Some(node(n)))
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_node_that_fails_is_a_line_at_its_begin_one_a_minute_and_one_at_its_end() {
        let (mut state, start) = (State::default(), Instant::now());
        let begin = state.failed(node(1), REFUSED, start);
        assert_eq!(begin, Some(Line::Fails { node: named(1), fault: REFUSED, failed: 1 }));
        for millis in (10..59_000).step_by(10) {
            assert_eq!(state.failed(node(1), "late", at(start, millis)), None);
        }
        assert_eq!(state.due(at(start, 59_999)), []);
        let still = Line::StillFails { node: named(1), fault: "late", failed: 5_899, seconds: 60 };
        assert_eq!(state.due(at(start, 60_000)), [still]);
        assert_eq!(state.due(at(start, 200_000)), [], "nothing failed since");
        let serves = Line::Serves { node: named(1), failed: 5_900, seconds: 201 };
        assert_eq!(state.served(node(1), at(start, 201_000)), Some(serves));
        assert_eq!(state.served(node(1), at(start, 201_001)), None);
        assert_eq!(state.served(node(2), at(start, 201_001)), None, "it has not failed");
        assert!(!state.any_failing());
    }

    #[test]
    fn a_node_that_fails_now_and_then_has_one_warning_a_minute() {
        let (mut state, start) = (State::default(), Instant::now());
        let mut lines = 0;
        for second in 0..600 {
            let now = at(start, second * 1000);
            lines += usize::from(state.failed(node(1), REFUSED, now).is_some());
            lines += usize::from(state.served(node(1), now).is_some());
            lines += state.due(now).len();
        }
        assert_eq!(lines, 2 * 10, "it fails, it serves: once a minute");
    }

    #[test]
    fn the_last_fault_of_a_node_is_kept_for_the_page() {
        let faults = NodeFaults::default();
        faults.failed(node(1), REFUSED);
        faults.ended(node(2), "reset");
        let mut last = faults.last_faults();
        last.sort_by_key(|fault| fault.node);
        let seen: Vec<_> = last.iter().map(|fault| (fault.node, fault.text, fault.is_failing)).collect();
        assert_eq!(seen, [(node(1), REFUSED, true), (node(2), "reset", false)]);
        faults.served(node(1));
        assert!(faults.last_faults().iter().all(|fault| !fault.is_failing), "it serves again");
    }

    #[test]
    fn sessions_that_a_node_ends_are_one_line() {
        let (mut state, start) = (State::default(), Instant::now());
        for n in 0..10_000 {
            state.ended(node(1), "reset", at(start, n / 20));
            assert_eq!(state.due(at(start, n / 20)), []);
        }
        let ended = |sessions| vec![Line::Ended { node: named(1), how: "reset", sessions }];
        assert_eq!(state.due(at(start, 1000)), ended(10_000));
        // a node that ends a session each second
        for second in 2..61 {
            state.ended(node(1), "reset", at(start, second * 1000));
            assert_eq!(state.due(at(start, second * 1000)), [], "in second {second}");
        }
        assert_eq!(state.due(at(start, 61_000)), ended(59));
    }

    #[test]
    fn nodes_are_bounded_and_forgotten() {
        let (mut state, start) = (State::default(), Instant::now());
        for n in 0..2_000 {
            let line = state.failed(node(n), REFUSED, start);
            assert_eq!(line.is_some(), usize::from(n) <= NODES_MAX, "node {n}");
        }
        assert_eq!(state.0.len(), NODES_MAX + 1);
        let _ = state.due(at(start, 700_000));
        assert!(state.0.is_empty() && !state.any_failing());
    }
}
