//! What the machine gives this process: cores and open files.

use crate::config::{Gateway, Workers};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

/// Numbers of the cores in our affinity mask; core 0 alone if the kernel does not say.
pub fn allowed_cores() -> Vec<usize> {
    let cores: Vec<_> = sched_getaffinity(None)
        .map(|set| (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
        .unwrap_or_default();
    if cores.is_empty() { vec![0] } else { cores }
}

/// The core of each worker; `None` where workers are not pinned. With more workers than cores they take turns.
pub fn assign_cores(gateway: &Gateway, cores: &[usize]) -> Vec<Option<usize>> {
    let count = match gateway.workers {
        Workers::Cores => cores.len(),
        Workers::Count(count) => count,
    };
    (0..count).map(|worker| gateway.pin.then(|| cores[worker % cores.len()])).collect()
}

/// Raises the limit of open files as far as we may, and says so if it is too low for that many sessions.
pub fn raise_file_limit(sessions: Option<usize>) {
    let limit = getrlimit(Resource::Nofile);
    // programs without our manners keep the low one because of select(2); nothing here uses it
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::debug!("the limit of open files stays ({error})");
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // two for each session, and some of our own
    let wanted = sessions.map_or(0, |sessions| 2 * sessions as u64 + 100);
    if most < wanted {
        tracing::warn!(
            "{most} files may be open, but limits.sessions may need {wanted}: raise LimitNOFILE= or `ulimit -n`, or lower it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_take_turns_on_the_cores_that_are_allowed() {
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
