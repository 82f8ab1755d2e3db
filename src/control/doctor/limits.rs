//! What the gateway may use of the machine, against what its configuration asks for: open files, locked memory, memory, CPUs.

use crate::config::{Config, Workers};
use crate::control::doctor::finding::Finding;
use crate::control::doctor::process::{self, Limit, Process, bytes};
use crate::control::start::host;
use crate::worker::descriptors_for;
use std::path::Path;

/// Memory of one idle session in the process: the upper figure of docs/performance.md, "Sizing".
const SESSION: u64 = 10 << 10;
/// Memory of its two sockets in the kernel: the sizes of the objects (TCP, sock_inode_cache, filp, dentry) in /proc/slabinfo of
/// Linux 6.18 on x86-64.
const SOCKETS: u64 = 2 * (2368 + 832 + 192 + 192);
/// Memory of one ring on kernels that count it as locked: 4096 entries to submit (64 bytes) and 8192 to complete (16 bytes).
const RING: u64 = 4096 * 64 + 8192 * 16;

/// How many workers a configuration starts on the cores and under the CPU quota of this machine.
pub(crate) fn workers(config: &Config, cores: usize, quota: Option<usize>) -> usize {
    match config.gateway.workers {
        Workers::Cores => quota.unwrap_or(cores),
        Workers::Count(count) => count,
    }
}

/// Judges the limit of open files of a process, from the text of its `/proc/PID/limits`.
pub(crate) fn open_files(limits: Option<&str>, of: &str, config: &Config, workers: usize) -> Finding {
    let check = "open files";
    let Some(limit) = limits.and_then(|limits| process::hard_limit(limits, "Max open files")) else {
        return Finding::warning(check, "the limit can't be read", "mount /proc where tidegate runs");
    };
    let Some(sessions) = config.limits.sessions else {
        let found =
            format!("{} for {of}, and limits.sessions is \"off\"", text(limit, |most| most.to_string()));
        return match limit {
            Limit::Unlimited => Finding::ok(check, found),
            Limit::To(_) => {
                Finding::ok(check, format!("{found}: clients wait in the kernel's queue when all are open"))
            }
        };
    };
    let clients = (sessions as u64).saturating_add(config.limits.handshakes.unwrap_or(0) as u64);
    let needed = descriptors_for(clients, workers as u64);
    let found = format!(
        "{} for {of}; limits.sessions = {sessions} and limits.handshakes need {needed}, two for each client",
        text(limit, |most| format!("at most {most}"))
    );
    if limit.allows(needed) {
        return Finding::ok(check, found);
    }
    let remedy = format!(
        "set LimitNOFILE={needed} in the unit (systemctl edit tidegate), or `ulimit -Hn {needed}` before the start, or lower \
         limits.sessions"
    );
    Finding::problem(check, found, remedy)
}

/// What the kernel does about the memory of rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rings {
    /// A ring could not be had for want of locked memory.
    pub(crate) are_refused: bool,
    /// They count against the limit of locked memory.
    pub(crate) are_counted: bool,
}

/// Judges the limit of locked memory, which counts only for rings on old kernels.
pub(crate) fn locked_memory(limits: Option<&str>, rings: Rings, workers: usize) -> Finding {
    let check = "locked memory";
    let limit = limits.and_then(|limits| process::hard_limit(limits, "Max locked memory"));
    let shown = limit
        .map_or_else(|| "unknown".to_owned(), |limit| text(limit, |most| format!("at most {}", bytes(most))));
    let needed = RING * workers as u64;
    let remedy = "set LimitMEMLOCK=infinity in the unit (systemctl edit tidegate), or `ulimit -l unlimited` before the start";
    if rings.are_refused {
        return Finding::warning(check, format!("{shown}: too little for the ring of one worker"), remedy);
    }
    match limit {
        Some(limit) if rings.are_counted && !limit.allows(needed) => {
            let found =
                format!("{shown}; the rings of {workers} workers need {} on this kernel", bytes(needed));
            Finding::warning(check, found, remedy)
        }
        _ if rings.are_counted => Finding::ok(check, shown),
        _ => Finding::ok(check, format!("{shown}; this kernel does not count rings")),
    }
}

fn text(limit: Limit, to: impl Fn(u64) -> String) -> String {
    match limit {
        Limit::Unlimited => "no limit".to_owned(),
        Limit::To(most) => to(most),
    }
}

/// What there is of memory, in bytes.
#[derive(Debug, Default)]
pub(crate) struct MemoryFacts {
    /// Of the machine.
    total: Option<u64>,
    /// The least `memory.max` of the process's cgroup and those above; `None` without one.
    cgroup: Option<u64>,
}

impl MemoryFacts {
    pub(crate) fn read(process: &Process) -> Self {
        let total = process::read("/proc/meminfo".as_ref()).and_then(|text| mem_total(&text));
        let group = process.read("cgroup").and_then(|text| cgroup_path(&text).map(str::to_owned));
        let cgroup = group.and_then(|group| least_maximum(Path::new("/sys/fs/cgroup"), &group));
        Self { total, cgroup }
    }
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn mem_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// The path of the cgroup (version 2) in the text of `/proc/PID/cgroup`.
fn cgroup_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// The least number in the files `memory.max` of a cgroup and all above it; `root` is where cgroup2 is mounted.
fn least_maximum(root: &Path, group: &str) -> Option<u64> {
    let group = root.join(group);
    let folders = group.ancestors().take_while(|folder| folder.starts_with(root));
    let read = |folder: &Path| process::read(&folder.join("memory.max"))?.trim().parse::<u64>().ok();
    folders.filter_map(read).min()
}

/// Judges memory for so many idle sessions as `limits.sessions` lets in.
pub(crate) fn memory(facts: &MemoryFacts, sessions: Option<usize>) -> Finding {
    let check = "memory";
    let (least, of) = match (facts.cgroup, facts.total) {
        (Some(cgroup), Some(total)) if cgroup < total => (cgroup, "memory.max of the cgroup"),
        (Some(cgroup), None) => (cgroup, "memory.max of the cgroup"),
        (_, Some(total)) => (total, "this machine"),
        (None, None) => return Finding::warning(check, "can't be read", "mount /proc where tidegate runs"),
    };
    let room = least / (SESSION + SOCKETS);
    let Some(sessions) = sessions else {
        let found =
            format!("{} ({of}), room for {room} idle sessions, and limits.sessions is \"off\"", bytes(least));
        return Finding::warning(check, found, format!("set limits.sessions = {}", round_down(room)));
    };
    let needed = (sessions as u64).saturating_mul(SESSION + SOCKETS);
    let found =
        format!("{} ({of}); limits.sessions = {sessions} need {} when idle", bytes(least), bytes(needed));
    if needed <= least {
        return Finding::ok(check, found);
    }
    let remedy = match of {
        "this machine" => format!("add memory, or set limits.sessions = {}", round_down(room)),
        _ => format!(
            "raise MemoryMax= of the unit or the container's limit, or set limits.sessions = {}",
            round_down(room)
        ),
    };
    Finding::warning(check, found, remedy)
}

/// A number of sessions with one or two digits that mean something, and at least 1.
fn round_down(number: u64) -> u64 {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    (number / unit * unit).max(1)
}

/// The cores that this process may use and the CPUs that its cgroup's quota is worth, if that is less.
pub(crate) fn cpus() -> (usize, Option<usize>) {
    let cores = host::allowed_cores().len();
    (cores, host::cpu_quota(cores))
}

/// Judges the number of workers against the CPUs.
pub(crate) fn cpu(cores: usize, quota: Option<usize>, workers: usize) -> Finding {
    let check = "CPUs";
    let (usable, found) = match quota {
        Some(quota) => (quota, format!("{cores} cores, of which the quota of the cgroup gives {quota}")),
        None => (cores, format!("{cores} core{}", if cores == 1 { "" } else { "s" })),
    };
    let found = format!("{found}; {workers} worker{}", if workers == 1 { "" } else { "s" });
    match workers {
        more if more > usable => Finding::warning(
            check,
            found,
            "set gateway.workers = \"cores\": more workers than CPUs only take them from each other",
        ),
        _ => Finding::ok(check, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    fn config(keys: &str) -> Config {
        let text = format!(
            "{keys}\nstream_manager.url = \"http://10.0.0.2\"\ntls.certificates = [{{ chain = \"c\", key = \"k\" }}]\n"
        );
        crate::config::read(&text).expect("a good configuration")
    }

    fn limits(files: &str) -> String {
        format!("Max open files            1024                 {files}               files\n")
    }

    #[test]
    fn the_limit_of_open_files_is_compared_with_sessions_and_handshakes() {
        let judge = |files: &str, keys: &str| open_files(Some(&limits(files)), "it", &config(keys), 2);
        // two for each of 1100 clients, 48 for the process, and a sixteenth
        let least = descriptors_for(1100, 2);
        assert_eq!(least, 2398);
        let keys = "limits.sessions = 1000\nlimits.handshakes = 100";
        assert_eq!(judge("2398", keys).level, Level::Ok);
        let low = judge("2397", keys);
        assert_eq!(low.level, Level::Problem);
        assert!(low.found.contains("at most 2397 for it"), "{low:?}");
        assert!(low.remedy.is_some_and(|remedy| remedy.contains("LimitNOFILE=2398")));
        assert_eq!(judge("unlimited", "").level, Level::Ok);
        assert_eq!(judge("20000", "").level, Level::Problem, "the defaults need more");
        assert_eq!(judge("20000", "limits.sessions = \"off\"").level, Level::Ok);
        assert_eq!(open_files(None, "it", &config(""), 2).level, Level::Warning);
    }

    #[test]
    fn locked_memory_matters_where_the_kernel_counts_rings() {
        let limits = "Max locked memory         65536                65536                bytes\n";
        let judge =
            |are_refused, are_counted| locked_memory(Some(limits), Rings { are_refused, are_counted }, 4);
        assert_eq!(judge(false, false).level, Level::Ok);
        let counted = judge(false, true);
        assert_eq!(counted.found, "at most 64 KiB; the rings of 4 workers need 1.5 MiB on this kernel");
        assert!(counted.remedy.is_some_and(|remedy| remedy.contains("LimitMEMLOCK=infinity")));
        assert_eq!(judge(true, true).level, Level::Warning);
        let enough = limits.replace("65536 ", "8388608 ");
        let rings = Rings { are_refused: false, are_counted: true };
        assert_eq!(locked_memory(Some(&enough), rings, 4).level, Level::Ok);
    }

    #[test]
    fn memory_is_the_least_of_the_machine_and_the_cgroups() {
        assert_eq!(mem_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(
            cgroup_path("1:name=systemd:/x\n0::/system.slice/tidegate.service\n"),
            Some("system.slice/tidegate.service")
        );
        let root = std::env::temp_dir().join(format!("tidegate-cgroup-{}", std::process::id()));
        let inner = root.join("a/b");
        std::fs::create_dir_all(&inner).expect("a folder");
        for (file, text) in [("a/memory.max", "2000000\n"), ("a/b/memory.max", "max\n")] {
            std::fs::write(root.join(file), text).expect("written");
        }
        assert_eq!(least_maximum(&root, "a/b"), Some(2_000_000));
        assert_eq!(least_maximum(&root, ""), None);
        std::fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn too_little_memory_for_limits_sessions_is_a_warning_with_a_number_that_fits() {
        let machine = MemoryFacts { total: Some(2 << 30), cgroup: None };
        assert_eq!(memory(&machine, Some(100_000)).level, Level::Ok);
        let group = MemoryFacts { total: Some(2 << 30), cgroup: Some(512 << 20) };
        let low = memory(&group, Some(100_000));
        assert_eq!(low.level, Level::Warning);
        assert!(low.found.starts_with("512 MiB (memory.max of the cgroup)"), "{low:?}");
        assert!(low.remedy.is_some_and(|remedy| remedy.ends_with("limits.sessions = 30000")));
        assert_eq!(memory(&group, Some(30_000)).level, Level::Ok, "the remedy helps");
        assert_eq!(memory(&machine, None).level, Level::Warning);
        assert_eq!(memory(&MemoryFacts::default(), None).level, Level::Warning);
        assert_eq!([round_down(30_855), round_down(99), round_down(0)], [30_000, 99, 1]);
    }

    #[test]
    fn more_workers_than_cpus_are_a_warning() {
        assert_eq!(workers(&config(""), 4, None), 4);
        assert_eq!(workers(&config(""), 4, Some(2)), 2);
        assert_eq!(workers(&config("gateway.workers = 8"), 4, Some(2)), 8);
        assert_eq!(cpu(4, None, 4).level, Level::Ok);
        assert_eq!(cpu(4, None, 1).level, Level::Ok);
        let crowded = cpu(4, Some(2), 4);
        assert_eq!(
            (crowded.level, crowded.found.as_str()),
            (Level::Warning, "4 cores, of which the quota of the cgroup gives 2; 4 workers")
        );
    }

    #[test]
    fn this_machine_has_memory_and_cpus() {
        let facts = MemoryFacts::read(&Process::of(None));
        assert!(facts.total.is_some_and(|total| total > 1 << 20));
        assert!(cpus().0 > 0);
    }
}
