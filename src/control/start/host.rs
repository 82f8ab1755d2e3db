//! What the machine gives this process: cores and open files.

use crate::config::{Gateway, Workers};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

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
            health_path: None,
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
