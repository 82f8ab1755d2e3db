//! The process whose limits count: the running gateway if there is one that this user may look at, else the doctor itself.

use std::fs;
use std::path::{Path, PathBuf};

/// Files of one process below `/proc`.
#[derive(Debug)]
pub(crate) struct Process {
    folder: PathBuf,
    /// The process id of the running gateway; `None` for the doctor itself.
    pub(crate) gateway: Option<u32>,
}

impl Process {
    /// The running gateway with this process id, if its files can be read; otherwise the doctor itself.
    pub(crate) fn of(gateway: Option<u32>) -> Self {
        let own = Self { folder: "/proc/self".into(), gateway: None };
        let Some(pid) = gateway else { return own };
        let running = Self { folder: format!("/proc/{pid}").into(), gateway };
        if running.read("limits").is_some() { running } else { own }
    }

    /// The text of a file of its folder, such as `limits`.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        read(&self.folder.join(name))
    }

    /// Its environment, as NAME=VALUE; `None` where this user may not read it.
    pub(crate) fn environment(&self) -> Option<Vec<String>> {
        let bytes = fs::read(self.folder.join("environ")).ok()?;
        let texts = bytes.split(|byte| *byte == 0).filter(|text| !text.is_empty());
        Some(texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect())
    }

    /// Of which process a limit is, in words.
    pub(crate) fn name(&self) -> String {
        match self.gateway {
            Some(pid) => format!("the running gateway (process {pid})"),
            None => "a process started from here".to_owned(),
        }
    }
}

/// The text of a file, `None` if it can't be read.
pub(crate) fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The number in a file that holds nothing else, as those below `/proc/sys` do.
pub(crate) fn read_number(path: &str) -> Option<u64> {
    read(Path::new(path))?.trim().parse().ok()
}

/// One limit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Unlimited,
    To(u64),
}

impl Limit {
    /// Whether the limit lets a process have `amount`.
    pub(crate) fn allows(self, amount: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::To(most) => amount <= most,
        }
    }
}

/// The hard limit `name` in the text of `/proc/PID/limits` (proc_pid_limits(5)).
pub(crate) fn hard_limit(limits: &str, name: &str) -> Option<Limit> {
    let values = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match values.split_whitespace().nth(1)? {
        "unlimited" => Some(Limit::Unlimited),
        number => number.parse().ok().map(Limit::To),
    }
}

/// A field of `/proc/PID/status`, such as `CapEff`.
pub(crate) fn status_field<'s>(status: &'s str, name: &str) -> Option<&'s str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Whether a process has this capability, by its number (capabilities(7)).
pub(crate) fn has_capability(status: &str, number: u32) -> bool {
    let mask = status_field(status, "CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    mask.is_some_and(|mask| mask & (1 << number) != 0)
}

/// Bytes in the largest unit of which there is at least one, with one decimal below ten.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut rest = count;
    let mut tenths = 0;
    while rest >= 1024 && unit + 1 < UNITS.len() {
        tenths = rest % 1024 * 10 / 1024;
        rest /= 1024;
        unit += 1;
    }
    if rest < 10 && tenths > 0 {
        format!("{rest}.{tenths} {}", UNITS[unit])
    } else {
        format!("{rest} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max open files            1024                 524288               files     
Max locked memory         8388608              unlimited            bytes     
";

    #[test]
    fn hard_limits_are_read_from_the_table_of_the_kernel() {
        assert_eq!(hard_limit(LIMITS, "Max open files"), Some(Limit::To(524_288)));
        assert_eq!(hard_limit(LIMITS, "Max locked memory"), Some(Limit::Unlimited));
        assert_eq!(hard_limit(LIMITS, "Max pending signals"), None);
        let own = Process::of(None).read("limits").expect("every process has limits");
        assert!(hard_limit(&own, "Max open files").is_some(), "{own}");
        assert!(Limit::To(3).allows(3) && !Limit::To(3).allows(4) && Limit::Unlimited.allows(u64::MAX));
    }

    #[test]
    fn capabilities_are_bits_of_the_effective_set() {
        let status = "Name:\ttidegate\nSeccomp:\t2\nCapEff:\t0000000000000400\n";
        assert!(has_capability(status, 10) && !has_capability(status, 21));
        assert_eq!(status_field(status, "Seccomp"), Some("2"));
        assert!(!has_capability("", 10));
    }

    #[test]
    fn a_process_that_can_not_be_read_is_replaced_by_the_doctor_itself() {
        assert_eq!(Process::of(Some(u32::MAX)).gateway, None);
        let own = std::process::id();
        assert_eq!(Process::of(Some(own)).gateway, Some(own));
    }

    #[test]
    fn bytes_are_rounded_down_to_a_readable_unit() {
        assert_eq!(bytes(1000), "1000 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(17 << 30), "17 GiB");
    }
}
