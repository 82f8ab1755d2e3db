//! The state that a process exports to its successor, one record a line: learned nodes, which clients were just sent to, and
//! WHIP sessions, whose clients come back hours later. Answers are left out, because they live for seconds.
//!
//! How lines reach the successor is not known here. A successor skips lines that its version does not understand.

use crate::proto::millis::millis;
use crate::proto::red5::whip::{AffinityKey, Handle};
use crate::shared::gateway::Gateway;
use crate::shared::session_id::SessionId;
use crate::shared::whip_sessions::{Identity, WhipSession};
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// The longest line that is exported, in bytes. No record comes near it.
const LINE_MAX: usize = 32 << 10;

/// The client of a WHIP session of a predecessor that did not say which it was: all of them count as one address.
const CLIENT_UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// One line as JSON. Both versions of the gateway in a hand-over read it, so names and meaning stay as they are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord<'l> {
    Learned {
        node: IpAddr,
        millis_left: u64,
        /// The stream manager that named it. A node of another one is not learned. Older versions do not say it.
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        manager: Option<std::borrow::Cow<'l, str>>,
    },
    Whip {
        node: IpAddr,
        /// With the mark that stands before it in a `Location`.
        handle: String,
        #[serde(borrow)]
        at_node: std::borrow::Cow<'l, str>,
        key: std::borrow::Cow<'l, str>,
        /// The address of the client that created it. Older versions neither write nor read it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<IpAddr>,
        /// Its id, by which lists and logs name it, and its age. Older versions neither write nor read them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        #[serde(default)]
        age_millis: u64,
    },
}

/// Exports the learned nodes and the WHIP sessions, one line each. Lines may hold secrets of clients.
pub fn export(gateway: &Gateway) -> Vec<String> {
    let learned = gateway.nodes.learned();
    let manager = manager(gateway);
    let learned = learned.iter().map(|(node, left)| StateRecord::Learned {
        node: *node,
        millis_left: millis(*left),
        manager: Some(manager.as_str().into()),
    });
    let sessions = gateway.whip_sessions.all();
    let sessions = sessions.iter().map(|session| StateRecord::Whip {
        node: session.node,
        handle: session.handle.to_string(),
        at_node: session.at_node.as_str().into(),
        key: session.key.text().into(),
        client: Some(session.client),
        id: Some(session.id.to_string()),
        age_millis: millis(session.created.elapsed()),
    });
    let lines = learned.chain(sessions).filter_map(|record| serde_json::to_string(&record).ok());
    lines.filter(|line| line.len() <= LINE_MAX).collect()
}

/// The configured stream manager, as records name it.
fn manager(gateway: &Gateway) -> String {
    gateway.newest().config.stream_manager.url.to_string()
}

/// Imports one line of a predecessor. A line that this version does not understand has no effect.
pub fn import(gateway: &Gateway, line: &str) {
    match serde_json::from_str(line) {
        Ok(StateRecord::Learned { node, millis_left, manager: its })
            if its.as_deref().is_none_or(|its| its == manager(gateway)) =>
        {
            gateway.nodes.learn_for(node, Duration::from_millis(millis_left));
        }
        Ok(StateRecord::Whip { node, handle, at_node, key, client, id, age_millis }) => {
            // the mark stands behind the name of a stream
            let ("s", Some(handle)) = Handle::split(&format!("s{handle}")) else { return };
            let (at_node, key) = (at_node.into_owned(), AffinityKey::from_text(&key));
            let client = client.unwrap_or(CLIENT_UNKNOWN);
            if gateway.whip_sessions.by_handle(handle, &key).is_some() {
                return;
            }
            let id = id.and_then(|id| id.parse().ok()).unwrap_or_else(|| id_of(handle));
            let counted = gateway.node_metrics.session(node);
            let identity = Identity { node, at_node, handle, key, client, counted };
            let port = gateway.newest().config.origins.port;
            let session = WhipSession::restored(id, Duration::from_millis(age_millis), identity, port);
            gateway.whip_sessions.remember(Arc::new(session));
        }
        Ok(StateRecord::Learned { .. }) => {
            tracing::debug!("a node that another stream manager named is not taken over");
        }
        Err(_) => tracing::debug!("unknown record of the predecessor skipped"),
    }
}

/// An id for a session whose predecessor has given it none: the same each time. It does not give the handle away.
fn id_of(handle: Handle) -> SessionId {
    let mut hasher = DefaultHasher::new();
    handle.hash(&mut hasher);
    SessionId(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of version 0.1.0.
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum FirstRecord {
        Learned { node: IpAddr, millis_left: u64 },
        Whip { node: IpAddr, handle: String, at_node: String, key: String },
    }

    #[test]
    fn the_first_version_reads_all_records() {
        let node = IpAddr::from([10, 0, 0, 5]);
        let learned =
            StateRecord::Learned { node, millis_left: 7, manager: Some("http://10.0.0.2:80".into()) };
        let whip = StateRecord::Whip {
            node,
            handle: "~00".to_owned(),
            at_node: "/live/whip/resource/s".into(),
            key: "whip/live/s\n".into(),
            client: Some(node),
            id: Some("00000000000000ff".to_owned()),
            age_millis: 5,
        };
        let read = |record| serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        let FirstRecord::Learned { node: its_node, millis_left } = read(learned) else { panic!("Learned") };
        assert_eq!((its_node, millis_left), (node, 7));
        let FirstRecord::Whip { node: its_node, handle, at_node, key } = read(whip) else { panic!("Whip") };
        assert_eq!((its_node, handle.as_str(), at_node.as_str()), (node, "~00", "/live/whip/resource/s"));
        assert_eq!(key, "whip/live/s\n");
    }

    #[test]
    fn records_of_the_first_and_of_a_later_version_are_read() {
        for line in [
            r#"{"learned":{"node":"10.0.0.5","millis_left":7}}"#,
            r#"{"learned":{"node":"10.0.0.5","millis_left":7,"later":[1]}}"#,
            r#"{"whip":{"node":"10.0.0.5","handle":"~00","at_node":"/s","key":"whip/live/s\n"}}"#,
            r#"{"whip":{"node":"10.0.0.5","handle":"~00","at_node":"/s","key":"k","client":"::1","later":{}}}"#,
        ] {
            let record: Result<StateRecord<'_>, _> = serde_json::from_str(line);
            assert!(record.is_ok(), "{line}: {record:?}");
        }
        let unknown: Result<StateRecord<'_>, _> = serde_json::from_str(r#"{"later":{}}"#);
        assert!(unknown.is_err());
    }
}
