//! Names and addresses that need the resolver or the machine: configured node names, and what is never dialled because
//! it is ourselves or the stream manager. Workers never resolve.

use crate::config::Config;
use crate::worker::gateway::Gateway;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// How often configured names are resolved anew.
const REFRESH: Duration = Duration::from_secs(30);

/// Our own addresses and the stream manager's.
pub(super) fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let mut own: Vec<IpAddr> = config.gateway.listen.iter().map(|address| address.ip()).collect();
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => own.extend(interfaces.into_iter().map(|interface| interface.ip())),
        Err(error) => tracing::warn!(%error, "the addresses of this machine can't be listed"),
    }
    let manager = &config.stream_manager.url;
    match (manager.host.as_str(), manager.port).to_socket_addrs() {
        Ok(addresses) => own.extend(addresses.map(|address| address.ip())),
        Err(error) => {
            tracing::warn!(host = manager.host, %error, "the stream manager's name does not resolve now")
        }
    }
    own.retain(|address| !address.is_unspecified());
    own.sort_unstable();
    own.dedup();
    own
}

/// Resolves the configured names before anybody is served.
pub(super) fn resolve_now(gateway: &Gateway) {
    let port = gateway.config.origins.port;
    let resolve = |name: &String| {
        let found = (name.as_str(), port).to_socket_addrs();
        note(name, found.map(|addresses| addresses.map(|address| address.ip()).collect()))
    };
    gateway.names.store(Arc::new(gateway.config.origins.names.iter().filter_map(resolve).collect()));
}

/// Resolves them anew from time to time; a name that fails keeps what it had.
pub(super) async fn keep_fresh(gateway: Arc<Gateway>) {
    let names = &gateway.config.origins.names;
    while !names.is_empty() {
        tokio::time::sleep(REFRESH).await;
        let mut fresh: HashMap<String, Vec<IpAddr>> = HashMap::clone(&gateway.names.load());
        for name in names {
            let found = tokio::net::lookup_host((name.as_str(), gateway.config.origins.port)).await;
            fresh.extend(note(name, found.map(|addresses| addresses.map(|address| address.ip()).collect())));
        }
        gateway.names.store(Arc::new(fresh));
    }
}

fn note(name: &str, found: std::io::Result<Vec<IpAddr>>) -> Option<(String, Vec<IpAddr>)> {
    found
        .map(|addresses| (name.to_owned(), addresses))
        .inspect_err(|error| tracing::warn!(name, %error, "a configured node name does not resolve"))
        .ok()
}
