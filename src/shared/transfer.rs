//! The state that a process exports to its successor, one record a line: learned nodes, which clients were just sent to, and
//! WHIP sessions, whose clients come back hours later. Answers are left out, because they live for seconds.
//!
//! How lines reach the successor is not known here. A successor skips lines that its version does not understand.

use crate::proto::millis::millis;
use crate::proto::red5::whip::{AffinityKey, Handle};
use crate::shared::gateway::Gateway;
use crate::shared::whip_sessions::WhipSession;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// The longest line that is exported, in bytes. No record comes near it.
const LINE_MAX: usize = 32 << 10;

/// One line as JSON. Both versions of the gateway in a hand-over read it, so names and meaning stay as they are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord<'l> {
    Learned {
        node: IpAddr,
        millis_left: u64,
    },
    Whip {
        node: IpAddr,
        /// With the mark that stands before it in a `Location`.
        handle: String,
        #[serde(borrow)]
        at_node: std::borrow::Cow<'l, str>,
        key: std::borrow::Cow<'l, str>,
    },
}

/// Exports the learned nodes and the WHIP sessions, one line each. Lines may hold secrets of clients.
pub fn export(gateway: &Gateway) -> Vec<String> {
    let learned = gateway.nodes.learned();
    let learned =
        learned.iter().map(|(node, left)| StateRecord::Learned { node: *node, millis_left: millis(*left) });
    let sessions = gateway.whip_sessions.all();
    let sessions = sessions.iter().map(|session| StateRecord::Whip {
        node: session.node,
        handle: session.handle.to_string(),
        at_node: session.at_node.as_str().into(),
        key: session.key.text().into(),
    });
    let lines = learned.chain(sessions).filter_map(|record| serde_json::to_string(&record).ok());
    lines.filter(|line| line.len() <= LINE_MAX).collect()
}

/// Imports one line of a predecessor. A line that this version does not understand has no effect.
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
        Err(_) => tracing::debug!("unknown record of the predecessor skipped"),
    }
}
