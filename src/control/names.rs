//! Names and addresses that need the resolver or the machine: configured node names, and what is never dialled because
//! it is ourselves or the stream manager. Workers never resolve.

use crate::config::Config;
use crate::worker::gateway::Gateway;
use crate::worker::revision::Names;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// How often configured names are resolved anew.
const REFRESH: Duration = Duration::from_secs(30);

/// What the resolver and the machine said of a configuration.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Our own addresses and the stream manager's.
    pub own: Vec<IpAddr>,
    /// Configured node names with their addresses.
    pub names: Names,
    /// Names that do not resolve now.
    pub lost: Vec<Lost>,
}

/// A name that does not resolve now.
#[derive(Debug)]
pub(super) struct Lost {
    /// The key that names it.
    pub key: &'static str,
    pub name: String,
    pub error: io::Error,
}

impl Lost {
    /// Whether a configuration has the same name under the same key.
    pub(super) fn is_named_by(&self, config: &Config) -> bool {
        match self.key {
            MANAGER => config.stream_manager.url.host == self.name,
            _ => config.origins.names.contains(&self.name),
        }
    }
}

const MANAGER: &str = "stream_manager.url";
const NODES: &str = "origins.names";

impl Resolved {
    /// Names that were resolved earlier and do not now keep the addresses that they had.
    pub(super) fn with_former(mut self, own: &[IpAddr], names: &Names) -> Self {
        for lost in &self.lost {
            if lost.key == MANAGER {
                // among them is the stream manager's; one that is refused too many is better than one too few
                self.own.extend_from_slice(own);
            } else if let Some(addresses) = names.get(&lost.name) {
                self.names.insert(lost.name.clone(), addresses.clone());
            }
        }
        self.own.sort_unstable();
        self.own.dedup();
        self
    }
}

/// Resolves everything that a configuration names. It may take as long as the resolver takes.
pub(super) fn resolve(config: &Config) -> Resolved {
    let mut resolved = Resolved { own: own_addresses(config), ..Resolved::default() };
    let manager = &config.stream_manager.url;
    match (manager.host.as_str(), manager.port).to_socket_addrs() {
        Ok(addresses) => resolved.own.extend(addresses.map(|address| address.ip())),
        Err(error) => resolved.lost.push(Lost { key: MANAGER, name: manager.host.clone(), error }),
    }
    resolved.own.retain(|address| !address.is_unspecified());
    resolved.own.sort_unstable();
    resolved.own.dedup();
    for name in &config.origins.names {
        match (name.as_str(), config.origins.port).to_socket_addrs() {
            Ok(found) => {
                resolved.names.insert(name.clone(), found.map(|address| address.ip()).collect());
            }
            Err(error) => resolved.lost.push(Lost { key: NODES, name: name.clone(), error }),
        }
    }
    resolved
}

/// Addresses that are listened on, and all others of this machine.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let mut own: Vec<IpAddr> = config.gateway.listen.iter().map(|address| address.ip()).collect();
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => own.extend(interfaces.into_iter().map(|interface| interface.ip())),
        Err(error) => tracing::warn!(%error, "the addresses of this machine can't be listed"),
    }
    own
}

/// Resolves the names of the newest revision anew from time to time; one that fails keeps what it had.
pub(super) async fn keep_fresh(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let revision = gateway.newest();
        let origins = &revision.config.origins;
        if origins.names.is_empty() {
            continue;
        }
        let mut fresh = Names::clone(&revision.names.load());
        for name in &origins.names {
            match tokio::net::lookup_host((name.as_str(), origins.port)).await {
                Ok(found) => {
                    fresh.insert(name.clone(), found.map(|address| address.ip()).collect());
                }
                Err(error) => tracing::warn!(name, %error, "a configured node name does not resolve"),
            }
        }
        revision.names.store(Arc::new(fresh));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(key: &'static str, name: &str) -> Lost {
        Lost { key, name: name.to_owned(), error: io::Error::other("no resolver") }
    }

    #[test]
    fn what_does_not_resolve_now_keeps_what_it_had() {
        let address = |n| IpAddr::from([10, 0, 0, n]);
        let former = Names::from([("a".to_owned(), vec![address(1)]), ("gone".to_owned(), vec![address(2)])]);
        let own = [address(8), address(9)];
        let fresh = |lost| Resolved { own: vec![address(8)], names: Names::new(), lost };
        let kept = fresh(vec![lost(NODES, "a"), lost(NODES, "b")]).with_former(&own, &former);
        assert_eq!(
            (kept.own, kept.names),
            (vec![address(8)], Names::from([("a".to_owned(), vec![address(1)])]))
        );
        let kept = fresh(vec![lost(MANAGER, "manager")]).with_former(&own, &former);
        assert_eq!(kept.own, own, "the stream manager is not dialled although nobody can say where it is");
    }

    #[test]
    fn a_name_is_known_under_its_own_key() {
        let text = "stream_manager.url = \"http://manager.example\"\norigins.names = [\"node.example\"]\n\
                    tls.certificates = [{ chain = \"c\", key = \"k\" }]";
        let config = crate::config::read(text).expect("a good configuration");
        assert!(lost(MANAGER, "manager.example").is_named_by(&config));
        assert!(lost(NODES, "node.example").is_named_by(&config));
        assert!(!lost(NODES, "manager.example").is_named_by(&config), "as a node it is new");
    }
}
