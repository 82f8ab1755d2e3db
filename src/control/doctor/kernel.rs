//! The kernel's version, and io_uring: whether workers get a ring, or why not, and what it can do.

use crate::config::Driver;
use crate::control::doctor::finding::Finding;
use crate::control::doctor::limits::Rings;
use crate::control::doctor::process::{self, Process};
use crate::worker::{RingFeatures, probe_ring};

/// CAP_SYS_ADMIN (capabilities(7)): with it `kernel.io_uring_disabled = 1` forbids nothing.
const SYS_ADMIN: u32 = 21;

/// What decides whether there is a ring.
#[derive(Debug)]
pub(crate) struct KernelFacts {
    /// `/proc/sys/kernel/osrelease`.
    release: String,
    /// `/proc/sys/kernel/io_uring_disabled`; absent before Linux 6.6.
    disabled: Option<u64>,
    /// This process may use io_uring although an unprivileged one may not.
    is_privileged: bool,
    /// A filter of system calls is active here.
    is_filtered: bool,
    /// What a ring can do, or the error number of the system call that failed.
    ring: Result<RingFeatures, Option<i32>>,
}

impl KernelFacts {
    pub(crate) fn read() -> Self {
        let status = Process::of(None).read("status").unwrap_or_default();
        let release = process::read("/proc/sys/kernel/osrelease".as_ref()).unwrap_or_default();
        Self {
            release: release.trim().to_owned(),
            disabled: process::read_number("/proc/sys/kernel/io_uring_disabled"),
            is_privileged: process::has_capability(&status, SYS_ADMIN),
            is_filtered: process::status_field(&status, "Seccomp").is_some_and(|mode| mode != "0"),
            ring: probe_ring().map_err(|error| error.raw_os_error()),
        }
    }

    /// What this kernel does about the memory of rings: before Linux 5.12 it counts as locked.
    pub(crate) fn rings(&self) -> Rings {
        Rings {
            are_refused: matches!(self.ring, Err(Some(libc::ENOMEM))),
            are_counted: version(&self.release).is_some_and(|version| version < (5, 12)),
        }
    }
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Judges the version of the kernel and its ring for a gateway with this `gateway.driver`.
pub(crate) fn judge(facts: &KernelFacts, driver: Driver) -> Vec<Finding> {
    vec![judge_version(&facts.release), judge_ring(facts, driver)]
}

fn judge_version(release: &str) -> Finding {
    let found = format!("Linux {release}");
    match version(release) {
        Some(version) if version < (6, 1) => Finding::warning(
            "kernel",
            found,
            "use Linux 6.1 or later: before it the ring has no DEFER_TASKRUN, and each wake costs more",
        ),
        _ => Finding::ok("kernel", found),
    }
}

fn judge_ring(facts: &KernelFacts, driver: Driver) -> Finding {
    let check = "io_uring";
    if driver == Driver::Epoll {
        let found = match &facts.ring {
            Ok(features) => format!("not used, because gateway.driver is \"epoll\"; {}", describe(features)),
            Err(_) => "not available, and not used: gateway.driver is \"epoll\"".to_owned(),
        };
        return Finding::ok(check, found);
    }
    let without = |found: String, remedy: String| match driver {
        Driver::IoUring => {
            Finding::problem(check, format!("{found}: with this gateway.driver there is no start"), remedy)
        }
        _ => Finding::warning(check, format!("{found}: workers use epoll instead"), remedy),
    };
    match &facts.ring {
        Ok(features) if !features.missing.is_empty() => without(
            format!("this kernel lacks {}", features.missing.join(", ")),
            "use Linux 6.1 or later, or set gateway.driver = \"epoll\"".to_owned(),
        ),
        Ok(features) if facts.disabled == Some(1) && facts.is_privileged => Finding::warning(
            check,
            format!("available to root only (kernel.io_uring_disabled = 1); {}", describe(features)),
            "let the service use it too: sysctl -w kernel.io_uring_group=\"$(id -g tidegate)\", or sysctl -w \
             kernel.io_uring_disabled=0",
        ),
        Ok(features) => Finding::ok(check, format!("available; {}", describe(features))),
        Err(errno) => {
            let (found, remedy) = refusal(*errno, facts);
            without(found, remedy)
        }
    }
}

/// Why there is no ring, and what to do about it.
fn refusal(errno: Option<i32>, facts: &KernelFacts) -> (String, String) {
    let sysctl = "sysctl -w kernel.io_uring_disabled=0, and the same line in a file of /etc/sysctl.d";
    let filter = "let the filter of system calls allow io_uring_setup, io_uring_enter and io_uring_register \
                  (SystemCallFilter= of a unit, --security-opt seccomp= of a container)";
    let (found, remedy) = match (errno, facts.disabled) {
        (_, Some(2)) => ("switched off (kernel.io_uring_disabled = 2)".to_owned(), sysctl),
        (_, Some(1)) if !facts.is_privileged => {
            let found = "for privileged processes only (kernel.io_uring_disabled = 1)".to_owned();
            (
                found,
                "sysctl -w kernel.io_uring_group=\"$(id -g tidegate)\", or sysctl -w kernel.io_uring_disabled=0",
            )
        }
        (Some(libc::ENOMEM), _) => (
            "the limit of locked memory is too small for a ring".to_owned(),
            "raise LimitMEMLOCK= of the unit, or `ulimit -l`",
        ),
        (Some(libc::EMFILE | libc::ENFILE), _) => (
            "no file descriptor is left for a ring".to_owned(),
            "raise LimitNOFILE= of the unit, or `ulimit -n`",
        ),
        (Some(libc::ENOSYS), _) if !facts.is_filtered => {
            ("this kernel has none (ENOSYS)".to_owned(), "use Linux 6.1 or later, with CONFIG_IO_URING")
        }
        (Some(libc::EPERM | libc::EACCES | libc::ENOSYS), _) => {
            let name = match errno {
                Some(libc::ENOSYS) => "ENOSYS",
                Some(libc::EACCES) => "EACCES",
                _ => "EPERM",
            };
            (format!("a filter of system calls (seccomp) or a security module forbids it ({name})"), filter)
        }
        (Some(errno), _) => (
            format!("{}", std::io::Error::from_raw_os_error(errno)),
            "set gateway.driver = \"epoll\" to do without it",
        ),
        (None, _) => ("it does not answer".to_owned(), "set gateway.driver = \"epoll\" to do without it"),
    };
    (found, remedy.to_owned())
}

/// The features of a ring in words.
fn describe(features: &RingFeatures) -> String {
    let all = [
        ("DEFER_TASKRUN", features.deferred),
        ("multishot poll", features.multishot_poll),
        ("multishot receive", features.multishot_receive),
        ("buffer rings", features.buffer_rings),
    ];
    let names = |has: bool| {
        all.iter().filter(|(_, is)| *is == has).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    match (names(true), names(false)) {
        (has, lacks) if lacks.is_empty() => format!("has {has}"),
        (has, lacks) if has.is_empty() => format!("lacks {lacks}"),
        (has, lacks) => format!("has {has}; lacks {lacks}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    fn features() -> RingFeatures {
        RingFeatures {
            missing: Vec::new(),
            deferred: true,
            multishot_poll: true,
            buffer_rings: true,
            multishot_receive: true,
        }
    }

    fn facts(ring: Result<RingFeatures, Option<i32>>, disabled: Option<u64>) -> KernelFacts {
        KernelFacts {
            release: "6.6.1-amd64".to_owned(),
            disabled,
            is_privileged: false,
            is_filtered: false,
            ring,
        }
    }

    #[track_caller]
    fn assert_ring(facts: &KernelFacts, driver: Driver, level: Level, found: &str, remedy: &str) {
        let finding = judge_ring(facts, driver);
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(found), "{finding:?}");
        assert!(finding.remedy.unwrap_or_default().contains(remedy), "expected {remedy}");
    }

    #[test]
    fn old_kernels_are_named_and_odd_releases_are_no_finding() {
        for (release, level) in [
            ("6.1.0-18-amd64", Level::Ok),
            ("5.15.0", Level::Warning),
            ("6.18.44-fc", Level::Ok),
            ("odd", Level::Ok),
        ] {
            assert_eq!(judge_version(release).level, level, "{release}");
        }
    }

    #[test]
    fn a_ring_that_can_be_had_shows_its_features() {
        assert_ring(
            &facts(Ok(features()), Some(0)),
            Driver::Auto,
            Level::Ok,
            "multishot receive, buffer rings",
            "",
        );
        let old =
            RingFeatures { deferred: false, multishot_receive: false, buffer_rings: false, ..features() };
        let found = "has multishot poll; lacks DEFER_TASKRUN, multishot receive, buffer rings";
        assert_ring(&facts(Ok(old), None), Driver::Auto, Level::Ok, found, "");
        let none = RingFeatures { missing: vec!["READ"], ..features() };
        assert_ring(&facts(Ok(none), None), Driver::IoUring, Level::Problem, "lacks READ", "epoll");
    }

    #[test]
    fn a_switched_off_ring_names_the_sysctl_and_matters_by_the_driver() {
        let off = facts(Err(Some(libc::EPERM)), Some(2));
        let remedy = "sysctl -w kernel.io_uring_disabled=0";
        assert_ring(&off, Driver::Auto, Level::Warning, "io_uring_disabled = 2): workers use epoll", remedy);
        assert_ring(&off, Driver::IoUring, Level::Problem, "there is no start", remedy);
        assert_ring(&off, Driver::Epoll, Level::Ok, "not used", "");
    }

    #[test]
    fn a_ring_for_privileged_processes_needs_the_group_of_the_service() {
        let refused = facts(Err(Some(libc::EPERM)), Some(1));
        assert_ring(
            &refused,
            Driver::Auto,
            Level::Warning,
            "privileged processes only",
            "kernel.io_uring_group",
        );
        let root = KernelFacts { is_privileged: true, ..facts(Ok(features()), Some(1)) };
        assert_ring(&root, Driver::Auto, Level::Warning, "root only", "kernel.io_uring_group");
    }

    #[test]
    fn each_error_has_its_cause_and_remedy() {
        for (errno, filtered, found, remedy) in [
            (libc::EPERM, false, "seccomp", "SystemCallFilter="),
            (libc::ENOSYS, true, "(ENOSYS)", "SystemCallFilter="),
            (libc::ENOSYS, false, "this kernel has none", "CONFIG_IO_URING"),
            (libc::ENOMEM, false, "locked memory", "LimitMEMLOCK="),
            (libc::EMFILE, false, "no file descriptor", "LimitNOFILE="),
            (libc::EINVAL, false, "Invalid argument", "gateway.driver = \"epoll\""),
        ] {
            let facts = KernelFacts { is_filtered: filtered, ..facts(Err(Some(errno)), Some(0)) };
            assert_ring(&facts, Driver::Auto, Level::Warning, found, remedy);
        }
    }

    #[test]
    fn this_machine_has_a_kernel() {
        let findings = judge(&KernelFacts::read(), Driver::Auto);
        assert!(findings[0].found.starts_with("Linux ") && version(&findings[0].found[6..]).is_some());
    }
}
