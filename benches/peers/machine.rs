//! What ran the bench, for whoever reads the figures.

use std::fs;

/// Processor, number of them, and kernel.
pub fn about() -> String {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let names = processors.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = names.clone().next().map_or("an unknown processor", |(_, name)| name.trim());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} x {name}, Linux {}", names.count(), kernel.trim())
}

/// Tasks that wanted to run, over the last minute.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("unknown").to_owned()
}
