//! What one gateway tells the one that takes its place, a line each: nodes that clients were just sent to, and WHIP
//! sessions, whose clients come back hours later. Answers are not worth it: they live for seconds.
//!
//! It knows nothing of how lines travel. A line that a version does not understand is passed over.

use crate::proto::millis::millis;
use crate::proto::red5::whip::{AffinityKey, Handle};
use crate::shared::gateway::Gateway;
use crate::shared::whip_sessions::WhipSession;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Longer ones don't travel; no target of a node is near it.
const LINE_MAX: usize = 32 << 10;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord<'l> {
    Learned {
        node: IpAddr,
        millis_left: u64,
    },
    Whip {
        node: IpAddr,
        /// With its mark.
        handle: String,
        #[serde(borrow)]
        at_node: std::borrow::Cow<'l, str>,
        key: std::borrow::Cow<'l, str>,
    },
}

/// Everything that is worth telling. It may hold secrets of clients.
pub fn export(gateway: &Gateway) -> Vec<String> {
    let learned = gateway.nodes.learned();
    let learned =
        learned.iter().map(|(node, left)| StateRecord::Learned { node: *node, millis_left: millis(*left) });
    let made = gateway.whip_sessions.all();
    let made = made.iter().map(|made| StateRecord::Whip {
        node: made.node,
        handle: made.handle.to_string(),
        at_node: made.at_node.as_str().into(),
        key: made.key.text().into(),
    });
    let lines = learned.chain(made).filter_map(|line| serde_json::to_string(&line).ok());
    lines.filter(|line| line.len() <= LINE_MAX).collect()
}

/// Takes one line over.
pub fn import(gateway: &Gateway, line: &str) {
    match serde_json::from_str(line) {
        Ok(StateRecord::Learned { node, millis_left }) => {
            gateway.nodes.learn_for(node, Duration::from_millis(millis_left));
        }
        Ok(StateRecord::Whip { node, handle, at_node, key }) => {
            // the mark stands behind the name of a stream
            let ("s", Some(handle)) = Handle::split(&format!("s{handle}")) else { return };
            let (at_node, key) = (at_node.into_owned(), AffinityKey::from_text(&key));
            gateway.whip_sessions.remember(WhipSession { node, at_node, handle, key });
        }
        Err(_) => tracing::debug!("the process before remembers what this version does not know"),
    }
}
