//! A description of the machine, which is printed beside the figures.

use std::fs;

/// Number and name of the processors, and version of the kernel.
pub fn about() -> String {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let names = processors.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = names.clone().next().map_or("an unknown processor", |(_, name)| name.trim());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} x {name}, Linux {}", names.count(), kernel.trim())
}

/// The load average of the last minute: the mean number of runnable tasks.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("unknown").to_owned()
}
