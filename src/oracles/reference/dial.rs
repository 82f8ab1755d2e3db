//! The reference for dialling: the node that connection parameters lead to, by P1 to P8 and then P9.

use crate::oracles::reference::address::{bits, is_denied, is_loopback, prefix};
use crate::oracles::reference::params::read;
use crate::proto::admission::AdmissionRules;
use crate::proto::red5::params::Host;
use crate::proto::red5::rules::ParamRules;
use std::net::{IpAddr, SocketAddr};

/// The address that is dialled for connection parameters by P1 to P9, if any. `learned` are the nodes that the stream manager
/// named. `None` for a name, since names are resolved elsewhere.
pub fn dials(
    suffix: &str,
    query: &str,
    params: &ParamRules,
    rules: &AdmissionRules,
    learned: &[IpAddr],
) -> Option<SocketAddr> {
    let Ok((Host::Address(address), _)) = read(suffix, query, params) else {
        return None;
    };
    // only a single address in the list lifts a denial, and only that of loopback and of the gateway's own addresses
    let single = rules.networks.iter().any(|network| prefix(network) == bits(address));
    let lifted = single && (is_loopback(address) || !is_denied(address));
    if (is_denied(address) || rules.own.contains(&address)) && !lifted {
        return None;
    }
    let listed = rules.networks.iter().any(|network| {
        let prefix = prefix(network);
        network.addr().is_ipv4() == address.is_ipv4() && bits(address).starts_with(&prefix)
    });
    let known = learned.contains(&address);
    let admitted = match (rules.learned, rules.strict) {
        (true, true) => listed && known,
        (true, false) => listed || known,
        (false, _) => listed,
    };
    admitted.then(|| SocketAddr::new(address, rules.port))
}
