//! What the machine gives this process: cores, open files, IPv6.

use crate::config::{Gateway, Workers};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs;
use std::io;

/// What this machine has of IPv6.
#[derive(Debug)]
pub enum Ipv6 {
    /// It can be listened on, and an interface has an address.
    Usable,
    /// It can be listened on, but no interface has an address, as with `net.ipv6.conf.all.disable_ipv6`.
    WithoutAddress,
    /// The kernel has none, or a filter of system calls forbids it: what it says.
    Missing(io::Error),
}

/// Asks the kernel for IPv6: for a socket, which is closed at once, and for the addresses of all interfaces.
pub fn ipv6() -> Ipv6 {
    if let Err(error) = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)) {
        return match error.raw_os_error() {
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EACCES | libc::EPERM) => {
                Ipv6::Missing(error)
            }
            // too many open files, for example: nothing about IPv6
            _ => Ipv6::Usable,
        };
    }
    match fs::read_to_string("/proc/net/if_inet6") {
        Ok(addresses) if addresses.trim().is_empty() => Ipv6::WithoutAddress,
        _ => Ipv6::Usable,
    }
}

/// The lowest port that every user may listen on (ip(7)); 1024 if the kernel does not tell.
pub fn first_unprivileged_port() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// Numbers of the cores in the affinity mask of this process; core 0 alone if the kernel does not tell.
pub fn allowed_cores() -> Vec<usize> {
    let cores: Vec<_> = sched_getaffinity(None)
        .map(|set| (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
        .unwrap_or_default();
    if cores.is_empty() { vec![0] } else { cores }
}

/// The core of each worker, `None` if `gateway.pin` is off. Workers share `cores` in turn if there are more workers than cores.
pub fn assign_cores(gateway: &Gateway, cores: &[usize]) -> Vec<Option<usize>> {
    let count = match gateway.workers {
        Workers::Cores => cores.len(),
        Workers::Count(count) => count,
    };
    (0..count).map(|worker| gateway.pin.then(|| cores[worker % cores.len()])).collect()
}

/// Raises the limit of open files to the maximum that this process may set. Logs a warning if that is too low for `sessions`,
/// which is `limits.sessions`.
pub fn raise_file_limit(sessions: Option<usize>) {
    let limit = getrlimit(Resource::Nofile);
    // the default is low because of select(2), which takes no descriptor above 1023; nothing here uses it
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::debug!("can't raise the limit of open files ({error})");
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // two for each session (client and node), and some for everything else
    let wanted = sessions.map_or(0, |sessions| 2 * sessions as u64 + 100);
    if most < wanted {
        tracing::warn!(
            "at most {most} files may be open, but limits.sessions needs up to {wanted}: raise LimitNOFILE= or `ulimit -n`, or lower limits.sessions"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_the_allowed_cores_in_turn() {
        let config = |workers, pin| Gateway {
            listen: Vec::new(),
            workers,
            pin,
            driver: crate::config::Driver::Auto,
            proxy_protocol: None,
            trusted_proxies: Vec::new(),
            drain: std::time::Duration::from_secs(1),
            drain_close_code: 1001,
        };
        assert_eq!(assign_cores(&config(Workers::Cores, true), &[2, 5]), [Some(2), Some(5)]);
        assert_eq!(assign_cores(&config(Workers::Count(3), true), &[2, 5]), [Some(2), Some(5), Some(2)]);
        assert_eq!(assign_cores(&config(Workers::Count(1), false), &[2, 5]), [None]);
    }

    #[test]
    fn at_least_one_core_is_allowed() {
        assert!(!allowed_cores().is_empty());
    }
}
