//! Names and addresses that need the resolver or the machine: configured node names, and what is never dialled because
//! it is ourselves or the stream manager. Workers never resolve.

use crate::config::Config;
use crate::shared::gateway::Gateway;
use crate::shared::revision::{Names, Revision};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// How often configured names are resolved anew.
const REFRESH: Duration = Duration::from_secs(30);

/// What the resolver and the machine said of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Our self_addresses addresses and the stream manager's.
    pub self_addresses: Vec<IpAddr>,
    /// Configured node names with their addresses.
    pub names: Names,
    /// Names that do not resolve now.
    pub lost: Vec<Unresolved>,
}

/// A name that does not resolve now.
#[derive(Debug)]
pub(crate) struct Unresolved {
    /// The key that names it.
    pub key: &'static str,
    pub name: String,
    pub error: io::Error,
}

impl Unresolved {
    /// Whether a configuration has the same name under the same key.
    fn is_named_by(&self, config: &Config) -> bool {
        match self.key {
            MANAGER => config.stream_manager.url.host == self.name,
            _ => config.origins.names.contains(&self.name),
        }
    }
}

const MANAGER: &str = "stream_manager.url";
const NODES: &str = "origins.names";

impl Resolved {
    /// What may be served after a configuration whose names resolved to that: one that does not resolve now keeps the
    /// addresses that it had. The error is those that are new and do not resolve.
    pub(crate) fn after(
        mut self,
        former: &Config,
        self_addresses: &[IpAddr],
        names: &Names,
    ) -> Result<Self, Vec<Unresolved>> {
        if !self.lost.iter().all(|lost| lost.is_named_by(former)) {
            self.lost.retain(|lost| !lost.is_named_by(former));
            return Err(self.lost);
        }
        for lost in &self.lost {
            if lost.key == MANAGER {
                // among them is the stream manager's; one that is refused too many is better than one too few
                self.self_addresses.extend_from_slice(self_addresses);
            } else if let Some(addresses) = names.get(&lost.name) {
                self.names.insert(lost.name.clone(), addresses.clone());
            }
        }
        self.self_addresses.sort_unstable();
        self.self_addresses.dedup();
        Ok(self)
    }
}

/// Resolves everything that a configuration names. It may take as long as the resolver takes.
pub(crate) fn resolve(config: &Config) -> Resolved {
    let mut resolved = Resolved { self_addresses: own_addresses(config), ..Resolved::default() };
    let manager = &config.stream_manager.url;
    match (manager.host.as_str(), manager.port).to_socket_addrs() {
        Ok(addresses) => resolved.self_addresses.extend(addresses.map(|address| address.ip())),
        Err(error) => resolved.lost.push(Unresolved { key: MANAGER, name: manager.host.clone(), error }),
    }
    resolved.self_addresses.retain(|address| !address.is_unspecified());
    resolved.self_addresses.sort_unstable();
    resolved.self_addresses.dedup();
    for name in &config.origins.names {
        match (name.as_str(), config.origins.port).to_socket_addrs() {
            Ok(found) => {
                resolved.names.insert(name.clone(), found.map(|address| address.ip()).collect());
            }
            Err(error) => resolved.lost.push(Unresolved { key: NODES, name: name.clone(), error }),
        }
    }
    resolved
}

/// Addresses that are listened on, and all others of this machine.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let mut self_addresses: Vec<IpAddr> = config.gateway.listen.iter().map(|address| address.ip()).collect();
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => self_addresses.extend(interfaces.into_iter().map(|interface| interface.ip())),
        Err(error) => tracing::warn!(%error, "the addresses of this machine can't be listed"),
    }
    self_addresses
}

/// Resolves the names of the newest revision anew from time to time, and looks which addresses are ours now; what fails
/// keeps what it had.
pub(crate) async fn keep_fresh(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let revision = gateway.newest();
        follow_own(&revision).await;
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

/// A stream manager behind a name moves, and so may this machine: the addresses that they have now are not dialled either.
async fn follow_own(revision: &Revision) {
    let manager = &revision.config.stream_manager.url;
    let mut self_addresses = own_addresses(&revision.config);
    match tokio::net::lookup_host((manager.host.as_str(), manager.port)).await {
        Ok(found) => self_addresses.extend(found.map(|address| address.ip())),
        Err(error) => {
            tracing::warn!(name = manager.host, %error, "the stream manager's name does not resolve");
            self_addresses.extend_from_slice(&revision.extra_denied.load());
        }
    }
    self_addresses.retain(|address| !address.is_unspecified() && !revision.admission().own.contains(address));
    self_addresses.sort_unstable();
    self_addresses.dedup();
    revision.extra_denied.store(Arc::new(self_addresses));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(key: &'static str, name: &str) -> Unresolved {
        Unresolved { key, name: name.to_owned(), error: io::Error::other("no resolver") }
    }

    /// A configuration with these names.
    fn config(manager: &str, nodes: &[&str]) -> Config {
        let text = format!(
            "stream_manager.url = \"http://{manager}\"\norigins.names = {nodes:?}\n\
             tls.certificates = [{{ chain = \"c\", key = \"k\" }}]"
        );
        crate::config::read(&text).expect("a good configuration")
    }

    const fn address(n: u8) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, n))
    }

    #[test]
    fn what_does_not_resolve_any_more_keeps_what_it_had() {
        let former = config("manager.example", &["a", "gone", "b"]);
        let names = Names::from([("a".to_owned(), vec![address(1)]), ("gone".to_owned(), vec![address(2)])]);
        let self_addresses = [address(8), address(9)];
        let after = |lost| {
            let fresh = Resolved { self_addresses: vec![address(8)], names: Names::new(), lost };
            fresh.after(&former, &self_addresses, &names).expect("all of it is known")
        };
        let kept = after(vec![lost(NODES, "a"), lost(NODES, "b")]);
        let expected = Names::from([("a".to_owned(), vec![address(1)])]);
        assert_eq!((kept.self_addresses, kept.names, kept.lost.len()), (vec![address(8)], expected, 2));
        let kept = after(vec![lost(MANAGER, "manager.example")]);
        assert_eq!(
            kept.self_addresses, self_addresses,
            "the stream manager is not dialled although nobody can say where it is"
        );
    }

    #[test]
    fn what_is_new_and_does_not_resolve_is_refused() {
        let former = config("manager.example", &["node.example"]);
        let all = vec![
            lost(MANAGER, "other.example"),
            lost(NODES, "node.example"),
            lost(NODES, "new.example"),
            // known, but not as a node
            lost(NODES, "manager.example"),
        ];
        let fresh = Resolved { lost: all, ..Resolved::default() };
        let refused = fresh.after(&former, &[], &Names::new()).expect_err("three are new");
        let refused: Vec<_> = refused.iter().map(|lost| lost.name.as_str()).collect();
        assert_eq!(refused, ["other.example", "new.example", "manager.example"]);
    }
}
