//! CPU time and memory of a process, from the kernel, and the cores on which a thread may run.

use super::Result;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process};
use rustix::thread::CpuSet;
use std::fs;
use std::time::Duration;

/// CPU time that all threads of a process have used so far, from the scheduler's statistics (`schedstat`).
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let account = fs::read_to_string(task?.path().join("schedstat"))?;
        let spent = account.split(' ').next().unwrap_or_default();
        nanos += spent.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// The ids of a process and of all its descendants: some gateways work in child processes.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(pid) = family.get(at) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children: Vec<u32> = tasks
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|children| children.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
            .collect();
        family.extend(children);
        at += 1;
    }
    family
}

/// Kills processes that this process started.
pub fn end(pids: &[u32]) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        // fails when the process has ended already, which is no fault
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub rss: f64,
    pub pss: f64,
}

/// Memory of a process that is resident now.
pub fn memory(pid: u32) -> Result<Memory> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| -> Result<f64> {
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .ok_or("a field is missing in smaps_rollup")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Memory { rss: field("Rss:")?, pss: field("Pss:")? })
}

/// Pins this thread, and the threads and processes that it starts afterwards, to one core.
pub fn pin(core: usize) -> Result<()> {
    stay_on(&[core])
}

/// As [`pin`], but to several cores.
pub fn stay_on(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    rustix::thread::sched_setaffinity(None, &set).map_err(|why| {
        format!("can't pin to cores {cores:?}: {why}; choose others with --gateway-core and --load-core")
    })?;
    Ok(())
}

/// Raises the soft limit of file descriptors to the hard limit.
pub fn raise_descriptors() -> Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    Ok(rustix::process::setrlimit(Resource::Nofile, raised)?)
}
