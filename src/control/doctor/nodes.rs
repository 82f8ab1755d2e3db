//! The nodes that the configuration names, each dialled once.

use crate::config::Config;
use crate::control::doctor::finding::Finding;
use crate::control::doctor::timeout::{TIMEOUT, time_is_up};
use crate::control::stream_manager::dns;
use crate::proto::admission::{AdmissionRules, admit_configured};
use futures_util::future::{join, join_all};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Nodes that are dialled at most, of addresses and of names each: more of them would tell nothing new.
const NODES_MAX: usize = 64;

/// A node of the configuration: the key that names it, its address, and what a dial of it gave.
#[derive(Debug)]
pub(crate) struct Dialled {
    key: &'static str,
    /// As the configuration writes it.
    name: String,
    address: Option<SocketAddr>,
    /// The gateway never dials this address, whatever names it.
    is_denied: bool,
    /// How long the connect took; `None` in the error if the time was up.
    result: Result<Duration, Option<io::Error>>,
}

/// Dials the nodes that the configuration names: single addresses in `origins.networks`, and `origins.names`.
pub(crate) async fn dial_all(config: &Config) -> Vec<Dialled> {
    let port = config.origins.port;
    let rules = rules(config);
    let single =
        config.origins.networks.iter().filter(|network| network.prefix_len() == network.max_prefix_len());
    let addresses: BTreeSet<IpAddr> = single.map(|network| network.addr()).take(NODES_MAX).collect();
    let by_address = join_all(addresses.into_iter().map(|address| async move {
        let address = SocketAddr::new(address, port);
        Dialled {
            key: "origins.networks",
            name: address.to_string(),
            address: Some(address),
            is_denied: false,
            result: connect(address).await,
        }
    }));
    let by_name = join_all(config.origins.names.iter().take(NODES_MAX).map(|name| dial_name(name, &rules)));
    let (mut nodes, named) = join(by_address, by_name).await;
    nodes.extend(named);
    nodes
}

/// What the gateway may dial, by the configuration and by the addresses of this machine.
fn rules(config: &Config) -> AdmissionRules {
    let origins = &config.origins;
    let mut own = dns::own_addresses(config);
    own.retain(|address| !address.is_unspecified());
    AdmissionRules {
        networks: origins.networks.clone(),
        learned: origins.learned,
        strict: origins.strict,
        own,
        port: origins.port,
    }
}

/// Dials the first address of a name, unless the gateway never does.
async fn dial_name(name: &str, rules: &AdmissionRules) -> Dialled {
    let port = rules.port;
    let dialled = |address, result| Dialled {
        key: "origins.names",
        name: name.to_owned(),
        address,
        is_denied: false,
        result,
    };
    let resolved = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((name, port))).await;
    match resolved.map(|found| found.map(|mut addresses| addresses.next())) {
        Ok(Ok(Some(address))) if admit_configured(rules, address.ip()).is_err() => {
            Dialled { is_denied: true, ..dialled(Some(address), Err(None)) }
        }
        Ok(Ok(Some(address))) => dialled(Some(address), connect(address).await),
        Ok(Ok(None)) | Err(_) => dialled(None, Err(None)),
        Ok(Err(error)) => dialled(None, Err(Some(error))),
    }
}

async fn connect(address: SocketAddr) -> Result<Duration, Option<io::Error>> {
    let began = Instant::now();
    match tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map(|_| began.elapsed()).map_err(Some),
        Err(_) => Err(None),
    }
}

/// Judges the nodes: one that can't be reached is a warning, because the others serve; none that can is a problem.
pub(crate) fn judge(nodes: &[Dialled]) -> Vec<Finding> {
    let mut dialled = nodes.iter().filter(|node| !node.is_denied);
    let none = dialled.all(|node| node.result.is_err());
    nodes.iter().map(|node| judge_node(node, none)).collect()
}

fn judge_node(node: &Dialled, none: bool) -> Finding {
    let (check, Dialled { key, name, address, result, .. }) = ("node", node);
    let shown = match address {
        Some(address) if address.to_string() != *name => format!("{name} at {address} ({key})"),
        _ => format!("{name} ({key})"),
    };
    if node.is_denied {
        let remedy = "correct the name, or list that single address in origins.networks too";
        return Finding::warning(check, format!("{shown} is an address that is never dialled"), remedy);
    }
    let error = match result {
        Ok(time) => {
            return Finding::ok(check, format!("{shown} accepts connections ({} ms)", time.as_millis()));
        }
        Err(error) => error.as_ref().map_or_else(time_is_up, ToString::to_string),
    };
    let remedy = match address {
        Some(address) => format!(
            "look whether the node runs, whether origins.port = {} is its port, and at firewalls on the way: `nc -vz {} {}`",
            address.port(),
            address.ip(),
            address.port()
        ),
        None => format!("look at `getent hosts {name}`, or correct {key}"),
    };
    let found = format!("{shown} can't be reached: {error}");
    if none { Finding::problem(check, found, remedy) } else { Finding::warning(check, found, remedy) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    #[test]
    fn one_dead_node_is_a_warning_and_none_alive_a_problem() {
        let node = |result| Dialled {
            key: "origins.names",
            name: "n1".to_owned(),
            address: "10.0.0.1:5080".parse().ok(),
            is_denied: false,
            result,
        };
        let levels = |nodes: &[Dialled]| judge(nodes).iter().map(|finding| finding.level).collect::<Vec<_>>();
        assert_eq!(levels(&[node(Ok(Duration::ZERO)), node(Err(None))]), [Level::Ok, Level::Warning]);
        assert_eq!(levels(&[node(Err(None))]), [Level::Problem]);
        assert_eq!(levels(&[]), []);
        let finding = judge_node(&node(Err(None)), false);
        assert_eq!(
            finding.found,
            "n1 at 10.0.0.1:5080 (origins.names) can't be reached: no answer within 3 s"
        );
    }
}
