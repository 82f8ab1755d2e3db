//! What the machine gives this process: cores, open files, IPv6.

use crate::config::{Gateway, Workers};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::thread;

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

/// CPUs that the quota of this process's cgroup is worth (cgroups(7)), rounded down and at least 1; `None` if it is no less than
/// `cores`, the number of cores in the affinity mask. The quotas of all cgroups above count too.
pub fn cpu_quota(cores: usize) -> Option<usize> {
    // the standard library takes the lesser of the mask and the quota
    let parallelism = thread::available_parallelism().ok()?.get();
    (parallelism < cores).then_some(parallelism)
}

/// The workers of a start: how many there are, and on which cores.
#[derive(Debug, PartialEq, Eq)]
pub struct WorkerCores {
    /// The core of each worker, `None` for one that is not pinned.
    pub cores: Vec<Option<usize>>,
    /// Why the number or the pinning is another one than the affinity mask alone would give; for the log.
    pub reason: Option<String>,
}

/// Decides how many workers there are and which are pinned. `cores` are the cores in the affinity mask, `quota` is what
/// [`cpu_quota`] found, `is_pin_written` is whether the file has `gateway.pin`, `taken` are the cores to which another gateway
/// has bound workers, with its process id.
///
/// Workers for which there is no core of their own are not pinned, so that the kernel can move them to idle cores. If the file
/// has `gateway.pin`, they are pinned all the same, to free cores first.
///
/// With a quota no worker is pinned, and fewer workers than cores are pinned only if the file has that key. Otherwise the first
/// cores would be crowded while others are idle, because every program that pins in this way begins with the same core: each
/// gateway of a machine that is divided by quotas, and a second gateway of any machine.
pub fn assign_cores(
    gateway: &Gateway,
    is_pin_written: bool,
    cores: &[usize],
    quota: Option<usize>,
    taken: &BTreeMap<usize, u32>,
) -> WorkerCores {
    let (taken_cores, free): (Vec<usize>, Vec<usize>) =
        cores.iter().partition(|core| taken.contains_key(core));
    let count = match gateway.workers {
        Workers::Cores => quota.unwrap_or(cores.len()),
        Workers::Count(count) => count,
    };
    let covers_all = count >= cores.len();
    // the one that this gateway would share
    let shared = taken_cores.first().filter(|_| count > free.len());
    let is_pinned = gateway.pin && quota.is_none() && (is_pin_written || covers_all && shared.is_none());
    let in_turn = if taken_cores.is_empty() { cores.to_vec() } else { [free, taken_cores.clone()].concat() };
    let cores_of_workers =
        (0..count).map(|worker| is_pinned.then(|| in_turn[worker % in_turn.len()])).collect();

    let because = match (quota, shared) {
        (Some(quota), _) => Some(format!("the CPU quota of the cgroup is {quota} of {} cores", cores.len())),
        (None, Some(core)) => Some(format!(
            "another gateway (process {}) is pinned to core {core}; CPUAffinity= gives each its own cores",
            taken[core]
        )),
        (None, None) => (!covers_all).then(|| format!("the process may run on {} cores", cores.len())),
    };
    let reason = because.filter(|_| gateway.pin).map(|because| {
        let pinned = match is_pinned {
            true => "pinned as gateway.pin says; another gateway with these keys would use the same cores",
            false => "not pinned",
        };
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} worker{plural}, {pinned}: {because}")
    });
    WorkerCores { cores: cores_of_workers, reason }
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

    const TEXT: &str = "stream_manager.url = \"http://10.0.0.2\"\n\
                        tls.certificates = [{ chain = \"c\", key = \"k\" }]\n";

    /// The cores of the workers with these keys.
    fn assigned(keys: &str, cores: &[usize], quota: Option<usize>) -> WorkerCores {
        let text = format!("{keys}\n{TEXT}");
        let config = crate::config::read(&text).expect("a good configuration");
        let is_pin_written = crate::config::writes(&text, "gateway.pin");
        assign_cores(&config.gateway, is_pin_written, cores, quota, &BTreeMap::new())
    }

    #[test]
    fn a_gateway_is_not_pinned_to_the_cores_of_another_one() {
        let assigned = |keys: &str, taken: &[usize]| {
            let text = format!("{keys}\n{TEXT}");
            let config = crate::config::read(&text).expect("a good configuration");
            let is_pin_written = crate::config::writes(&text, "gateway.pin");
            let taken = taken.iter().map(|core| (*core, 4711)).collect();
            assign_cores(&config.gateway, is_pin_written, &[0, 1, 2, 3], None, &taken)
        };
        let both = assigned("", &[0, 1, 2, 3]);
        assert_eq!(both.cores, [None; 4]);
        assert!(
            both.reason.is_some_and(|reason| reason.contains("process 4711") && reason.contains("core 0"))
        );
        assert_eq!(assigned("", &[3]).cores, [None; 4]);
        assert_eq!(
            assigned("", &[7]).cores,
            [Some(0), Some(1), Some(2), Some(3)],
            "a core of other gateways only"
        );
        let two = assigned("gateway.workers = 2\ngateway.pin = true", &[0, 2]);
        assert_eq!(two.cores, [Some(1), Some(3)], "free cores first");
        let three = assigned("gateway.workers = 3\ngateway.pin = true", &[0, 2]);
        assert_eq!(three.cores, [Some(1), Some(3), Some(0)], "as the file says");
        assert!(three.reason.is_some_and(|reason| reason.contains("pinned as gateway.pin says")));
    }

    #[test]
    fn workers_that_cover_all_cores_are_pinned_in_turn() {
        let cores = |keys| assigned(keys, &[2, 5], None);
        assert_eq!(cores("").cores, [Some(2), Some(5)]);
        assert_eq!(cores("gateway.workers = 3").cores, [Some(2), Some(5), Some(2)]);
        assert_eq!(cores("gateway.pin = false").cores, [None, None]);
        assert_eq!(cores("").reason, None);
    }

    #[test]
    fn fewer_workers_than_cores_are_pinned_only_if_the_file_says_so() {
        let cores: Vec<_> = (0..64).collect();
        let two = assigned("gateway.workers = 2", &cores, None);
        assert_eq!(two.cores, [None, None], "a second gateway would be pinned to the same cores");
        assert_eq!(two.reason.as_deref(), Some("2 workers, not pinned: the process may run on 64 cores"));
        let written = assigned("gateway.workers = 2\ngateway.pin = true", &cores, None);
        assert_eq!(written.cores, [Some(0), Some(1)]);
        assert!(written.reason.is_some_and(|reason| reason.contains("the same cores")));
        assert_eq!(assigned("gateway.workers = 2\ngateway.pin = false", &cores, None).reason, None);
    }

    #[test]
    fn a_cpu_quota_is_the_number_of_workers_and_no_reason_to_pin() {
        let cores: Vec<_> = (0..64).collect();
        let two = assigned("", &cores, Some(2));
        assert_eq!(two.cores, [None, None]);
        assert_eq!(
            two.reason.as_deref(),
            Some("2 workers, not pinned: the CPU quota of the cgroup is 2 of 64 cores")
        );
        assert_eq!(
            assigned("gateway.workers = 64", &cores, Some(2)).cores,
            [None; 64],
            "a number that is written stays"
        );
        assert_eq!(
            assigned("gateway.pin = true", &cores, Some(2)).cores,
            [None, None],
            "the quota is for any core"
        );
    }

    #[test]
    fn at_least_one_core_is_allowed() {
        assert!(!allowed_cores().is_empty());
    }
}
