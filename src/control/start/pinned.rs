//! Cores to which other gateways of this machine have bound their workers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// How the threads of workers are called, before their number.
const WORKER_THREAD: &str = "tidegate-";

/// The cores to which a worker of another gateway is bound, each with the id of a process that has one there. `relatives` are
/// processes that serve together with this one: its predecessors. Processes that this user may not see are left out, as the
/// unit's `ProtectProc=` hides those of other users.
pub fn by_others(relatives: &[u32]) -> BTreeMap<usize, u32> {
    let own = std::process::id();
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = ids.filter(|pid| *pid != own && !relatives.contains(pid));
    others.flat_map(|pid| cores_of(pid).into_iter().map(move |core| (core, pid))).collect()
}

/// The cores to which workers of a process are bound; none if it is no gateway, or its workers may move.
fn cores_of(pid: u32) -> Vec<usize> {
    let folder = Path::new("/proc").join(pid.to_string());
    // most processes are told apart by this one file
    let is_gateway = fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.starts_with("tidegate"));
    if !is_gateway {
        return Vec::new();
    }
    let threads = fs::read_dir(folder.join("task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| bound_core(&fs::read_to_string(thread.path().join("status")).ok()?)).collect()
}

/// The core of a worker's thread with this `status` (proc_pid_status(5)), if it is bound to one.
fn bound_core(status: &str) -> Option<usize> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let number = field("Name:")?.strip_prefix(WORKER_THREAD)?;
    number.parse::<usize>().ok()?;
    field("Cpus_allowed_list:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_threads_of_workers_that_are_bound_to_one_core_count() {
        let status =
            |name: &str, cores: &str| format!("Name:\t{name}\nPid:\t1\nCpus_allowed_list:\t{cores}\n");
        assert_eq!(bound_core(&status("tidegate-1", "5")), Some(5));
        for (name, cores) in [
            ("tidegate-1", "0-3"),
            ("tidegate-1", "0,2"),
            ("tidegate-control", "5"),
            ("nginx", "5"),
            ("tidegate", "5"),
        ] {
            assert_eq!(bound_core(&status(name, cores)), None, "{name} {cores}");
        }
        assert_eq!(bound_core(""), None);
    }

    #[test]
    fn this_process_is_not_another_one() {
        assert!(!by_others(&[]).values().any(|pid| *pid == std::process::id()));
    }
}
