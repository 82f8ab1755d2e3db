//! What the process uses of the machine now, for `/metrics`.

use crate::metrics::page::Process;
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Reads memory, open files and CPU time of this process from `/proc`; a value that can't be read is zero. `started` is
/// when the process started.
pub fn process_stats(started: SystemTime) -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let started = started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    Process {
        resident_bytes: resident.unwrap_or(0) * 1024,
        // one of them is the folder that is being read
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1) as u64),
        files_max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        started_seconds: started,
        cpu_seconds: cpu_seconds(),
    }
}

/// User and system time of all threads, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    // fields 14 and 15 of the line (proc_pid_stat(5)), counted behind the name, which may hold blanks
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_uses_memory_and_files() {
        let process = process_stats(SystemTime::now());
        assert!(process.resident_bytes > 100_000 && process.open_files > 2 && process.files_max > 10);
    }
}
