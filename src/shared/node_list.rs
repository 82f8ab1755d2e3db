//! What is known of each node, put together of what was learned, what failed and what was counted: for the admin API.

use crate::metrics::nodes::{NodeMetrics, OTHER_NODES};
use crate::shared::gateway::Gateway;
use crate::shared::node_faults::LastFault;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most nodes in a list. Those that were dialled or failed come before those that were only named.
pub(crate) const LISTED_MAX: usize = 1000;

/// What is known of one node, or of all that have no row of their own.
#[derive(Debug, Default)]
pub(crate) struct NodeFacts {
    /// What was counted; `None` if it was never dialled, or is counted with others.
    pub(crate) metrics: Option<Arc<NodeMetrics>>,
    /// How long it is still avoided because it failed.
    pub(crate) quarantined: Option<Duration>,
    /// How long it may still be dialled because the stream manager named it.
    pub(crate) learned: Option<Duration>,
    /// The last bad thing that was seen of it, for some minutes.
    pub(crate) fault: Option<LastFault>,
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct NodeList {
    /// By address.
    pub(crate) nodes: BTreeMap<IpAddr, NodeFacts>,
    /// What was counted of nodes that are too many to be counted alone.
    pub(crate) other: Option<Arc<NodeMetrics>>,
    /// Nodes that are known and not in the list.
    pub(crate) left_out: usize,
}

impl NodeList {
    /// The nodes that this gateway knows.
    pub(crate) fn of(gateway: &Gateway) -> Self {
        let mut list = Self { nodes: BTreeMap::new(), other: None, left_out: 0 };
        let quarantined = gateway.nodes.quarantined();
        for row in gateway.node_metrics.rows(&quarantined, Instant::now()) {
            match row.node.parse::<IpAddr>() {
                Ok(node) => list.nodes.entry(node).or_default().metrics = Some(row.metrics),
                Err(_) => {
                    debug_assert_eq!(row.node, OTHER_NODES);
                    list.other = Some(row.metrics);
                }
            }
        }
        let faults = gateway.node_faults.last_faults();
        let mut last = HashMap::<IpAddr, LastFault>::with_capacity(faults.len());
        for fault in faults {
            let newest = last.entry(fault.node.ip()).or_insert(fault);
            if fault.at > newest.at {
                *newest = fault;
            }
        }
        for (node, fault) in last {
            list.with(node, |facts| facts.fault = Some(fault));
        }
        for node in quarantined {
            let left = gateway.nodes.quarantined_for(node);
            list.with(node, |facts| facts.quarantined = left);
        }
        for (node, left) in gateway.nodes.learned() {
            list.with(node, |facts| facts.learned = Some(left));
        }
        list
    }

    /// Adds to what is known of a node, if the list has it or has room for it.
    fn with(&mut self, node: IpAddr, add: impl FnOnce(&mut NodeFacts)) {
        if self.nodes.len() < LISTED_MAX || self.nodes.contains_key(&node) {
            add(self.nodes.entry(node).or_default());
        } else {
            self.left_out += 1;
        }
    }
}
