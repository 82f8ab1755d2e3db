//! Names that need the resolver, and addresses of this machine: the configured node names, and the addresses that are never
//! dialled because they are the gateway's own or those of stream managers. Workers never resolve names.

use crate::config::Config;
use crate::shared::gateway::Gateway;
use crate::shared::revision::{Names, Revision};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

// the keys whose names are resolved
const MANAGER_KEY: &str = "stream_manager.url";
const MANAGERS_KEY: &str = "stream_manager.urls";
pub(crate) const NODES_KEY: &str = "origins.names";

/// Time between two resolutions of the configured names.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

/// The addresses that belong to the names of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Addresses of this machine and of the stream managers, sorted: they are never dialled as nodes.
    pub self_addresses: Vec<IpAddr>,
    /// Configured node names with their addresses.
    pub names: Names,
    /// Names that do not resolve now.
    pub unresolved: Vec<Unresolved>,
}

/// A name that does not resolve now.
#[derive(Debug)]
pub(crate) struct Unresolved {
    /// The configuration key that has this name.
    pub key: &'static str,
    pub name: String,
    /// What the resolver reported.
    pub error: io::Error,
}

impl Unresolved {
    /// Whether a configuration has the same name under the same key.
    fn is_in(&self, config: &Config) -> bool {
        match self.key {
            // whichever of the two keys had it before
            MANAGER_KEY | MANAGERS_KEY => {
                config.stream_manager.managers().iter().any(|manager| manager.host == self.name)
            }
            _ => config.origins.names.contains(&self.name),
        }
    }

    /// The key, with the number of the entry where it is a list: entries may have lines of their own.
    pub(crate) fn path(&self, config: &Config) -> String {
        let index = match self.key {
            MANAGERS_KEY => config.stream_manager.urls.iter().position(|url| url.host == self.name),
            NODES_KEY => config.origins.names.iter().position(|name| *name == self.name),
            _ => None,
        };
        index.map_or_else(|| self.key.to_owned(), |index| format!("{}.{index}", self.key))
    }
}

impl Resolved {
    /// Completes the addresses for a reload. A name that does not resolve now, but was served before, keeps its former
    /// addresses: `former` is the configuration that was served, `self_addresses` and `names` are its addresses. Fails with
    /// the names that are new and do not resolve.
    pub(crate) fn keep_former(
        mut self,
        former: &Config,
        self_addresses: &[IpAddr],
        names: &Names,
    ) -> Result<Self, Vec<Unresolved>> {
        if !self.unresolved.iter().all(|name| name.is_in(former)) {
            self.unresolved.retain(|name| !name.is_in(former));
            return Err(self.unresolved);
        }
        for unresolved in &self.unresolved {
            if matches!(unresolved.key, MANAGER_KEY | MANAGERS_KEY) {
                // those of stream managers are among them; one denied address too many is better than one too few
                self.self_addresses.extend_from_slice(self_addresses);
            } else if let Some(addresses) = names.get(&unresolved.name) {
                self.names.insert(unresolved.name.clone(), addresses.clone());
            }
        }
        self.self_addresses.sort_unstable();
        self.self_addresses.dedup();
        Ok(self)
    }
}

/// Resolves all names of a configuration, and lists this machine's addresses. Blocks for as long as the resolver takes; names
/// that do not resolve are in `unresolved`.
pub(crate) fn resolve(config: &Config) -> Resolved {
    let mut resolved = Resolved { self_addresses: own_addresses(config), ..Resolved::default() };
    let key = if config.stream_manager.url.is_some() { MANAGER_KEY } else { MANAGERS_KEY };
    for manager in config.stream_manager.managers() {
        match (manager.host.as_str(), manager.port).to_socket_addrs() {
            Ok(addresses) => resolved.self_addresses.extend(addresses.map(|address| address.ip())),
            Err(error) => {
                resolved.unresolved.push(Unresolved { key, name: manager.host.clone(), error });
            }
        }
    }
    resolved.self_addresses.retain(|address| !address.is_unspecified());
    resolved.self_addresses.sort_unstable();
    resolved.self_addresses.dedup();
    for name in &config.origins.names {
        match (name.as_str(), config.origins.port).to_socket_addrs() {
            Ok(found) => {
                resolved.names.insert(name.clone(), found.map(|address| address.ip()).collect());
            }
            Err(error) => resolved.unresolved.push(Unresolved { key: NODES_KEY, name: name.clone(), error }),
        }
    }
    resolved
}

/// The addresses of `gateway.listen`, and those of all interfaces of this machine.
pub(crate) fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = config.gateway.listen.iter().map(|address| address.ip()).collect();
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => addresses.extend(interfaces.into_iter().map(|interface| interface.ip())),
        Err(error) => tracing::warn!(%error, "the addresses of this machine can't be listed"),
    }
    addresses
}

/// Resolves the names of the newest revision again, every [`RESOLVE_INTERVAL`], and updates which addresses are never dialled.
/// A name that does not resolve keeps its addresses. Runs until the process ends.
pub(crate) async fn re_resolve(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(RESOLVE_INTERVAL).await;
        let revision = gateway.newest();
        update_denied(&revision).await;
        let origins = &revision.config.origins;
        if origins.names.is_empty() {
            continue;
        }
        let mut names = Names::clone(&revision.names.load());
        for name in &origins.names {
            match tokio::net::lookup_host((name.as_str(), origins.port)).await {
                Ok(found) => {
                    names.insert(name.clone(), found.map(|address| address.ip()).collect());
                }
                Err(error) => {
                    tracing::warn!(name, %error, "a name in origins.names does not resolve; it keeps its addresses");
                }
            }
        }
        revision.names.store(Arc::new(names));
    }
}

/// Updates the denied addresses of a revision: stream managers and this machine may have got other addresses since the
/// revision was made, and those must not be dialled either.
async fn update_denied(revision: &Revision) {
    let mut denied = own_addresses(&revision.config);
    for manager in revision.config.stream_manager.managers() {
        match tokio::net::lookup_host((manager.host.as_str(), manager.port)).await {
            Ok(found) => denied.extend(found.map(|address| address.ip())),
            Err(error) => {
                let name = &manager.host;
                tracing::warn!(name, %error, "a stream manager's name does not resolve; its former addresses stay denied");
                denied.extend_from_slice(&revision.extra_denied.load());
            }
        }
    }
    denied.retain(|address| !address.is_unspecified() && !revision.admission().own.contains(address));
    denied.sort_unstable();
    denied.dedup();
    revision.extra_denied.store(Arc::new(denied));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unresolved(key: &'static str, name: &str) -> Unresolved {
        Unresolved { key, name: name.to_owned(), error: io::Error::other("no resolver") }
    }

    /// A configuration with these names.
    fn config(manager: &str, nodes: &[&str]) -> Config {
        let text = format!(
            "stream_manager.url = \"http://{manager}\"\norigins.names = {nodes:?}\n\
             tls.certificates = [{{ chain = \"c\", key = \"k\" }}]"
        );
        crate::config::read(&text).expect("a valid configuration")
    }

    const fn address(n: u8) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, n))
    }

    #[test]
    fn a_name_that_no_longer_resolves_keeps_its_addresses() {
        let former = config("manager.example", &["a", "gone", "b"]);
        let names = Names::from([("a".to_owned(), vec![address(1)]), ("gone".to_owned(), vec![address(2)])]);
        let self_addresses = [address(8), address(9)];
        let after = |unresolved| {
            let fresh = Resolved { self_addresses: vec![address(8)], names: Names::new(), unresolved };
            fresh.keep_former(&former, &self_addresses, &names).expect("all names were served before")
        };
        let kept = after(vec![unresolved(NODES_KEY, "a"), unresolved(NODES_KEY, "b")]);
        let expected = Names::from([("a".to_owned(), vec![address(1)])]);
        assert_eq!((kept.self_addresses, kept.names, kept.unresolved.len()), (vec![address(8)], expected, 2));
        let kept = after(vec![unresolved(MANAGER_KEY, "manager.example")]);
        assert_eq!(
            kept.self_addresses, self_addresses,
            "the former addresses of a stream manager that does not resolve stay denied"
        );
    }

    #[test]
    fn a_new_name_that_does_not_resolve_is_refused() {
        let former = config("manager.example", &["node.example"]);
        let all = vec![
            unresolved(MANAGER_KEY, "other.example"),
            unresolved(NODES_KEY, "node.example"),
            unresolved(NODES_KEY, "new.example"),
            // known, but not as a node
            unresolved(NODES_KEY, "manager.example"),
        ];
        let fresh = Resolved { unresolved: all, ..Resolved::default() };
        let refused = fresh.keep_former(&former, &[], &Names::new()).expect_err("three are new");
        let refused: Vec<_> = refused.iter().map(|name| name.name.as_str()).collect();
        assert_eq!(refused, ["other.example", "new.example", "manager.example"]);
    }
}
