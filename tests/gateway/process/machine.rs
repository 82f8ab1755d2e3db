//! What a machine gives: one without IPv6, and one whose CPU time is limited by a cgroup.

use crate::harness::netns_link::NetnsLinks;
use crate::harness::{
    ClientBuilder, Config, Gateway, HttpPeer, Request, TestBed, Workspace, eventually, skipped, takeover,
};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The kernel gives this thread, and the processes that it starts, no IPv6 socket any more. The error is that of a kernel that
/// was started with `ipv6.disable=1`.
fn refuse_ipv6() {
    let arch = std::env::consts::ARCH.try_into().expect("a filter for this CPU");
    let family =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::AF_INET6 as u64).unwrap();
    let rules = [(libc::SYS_socket, vec![SeccompRule::new(vec![family]).unwrap()])].into_iter().collect();
    let refused = SeccompAction::Errno(libc::EAFNOSUPPORT as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).expect("a filter");
    let error = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect_err("the filter works");
    assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
}

/// A gateway with the default addresses serves a client over IPv4, and its log has a warning with `words`.
fn assert_serves_ipv4(words: &str) {
    let bed = TestBed::with(|config, _| config.unset("gateway.listen"));
    let mut client = ClientBuilder::to((Ipv4Addr::LOCALHOST, 443).into()).connect_tls();
    client.send_request(&Request::get("/nowhere"));
    client.read_response().assert_refusal(404, "no_such_route");
    eventually("the warning", || {
        let log = bed.gateway.stderr();
        log.contains("gateway.listen: expected") && log.contains(words) && log.contains("only IPv4 is served")
    });
}

#[test]
fn the_default_addresses_serve_ipv4_on_a_kernel_without_ipv6_and_the_log_says_so() {
    // in a namespace port 443 is free
    let Some(links) = NetnsLinks::create("a kernel without IPv6") else { return };
    links.gateway.inside(|| {
        refuse_ipv6();
        assert_serves_ipv4("this kernel has no IPv6");
    });
}

#[test]
fn where_ipv6_is_switched_off_the_default_addresses_serve_ipv4_and_the_log_says_so() {
    let Some(links) = NetnsLinks::create("IPv6 that is switched off") else { return };
    let done = links.gateway.inside(|| {
        if fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").is_err() {
            return false;
        }
        assert_serves_ipv4("no interface has an IPv6 address");
        let (code, log) = failed_start(&["[::1]:8443"]);
        assert_eq!(code, Some(71), "{log}");
        assert!(log.contains("that IPv6 address"), "{log}");
        true
    });
    if !done {
        skipped("IPv6 that is switched off", "the settings of a namespace can't be written here");
    }
}

/// A start that fails with these addresses: its exit code and log.
fn failed_start(listen: &[&str]) -> (Option<i32>, String) {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    config.set("gateway.listen", listen.to_vec());
    let mut gateway = Gateway::spawn(&workspace, &config);
    (gateway.wait_for_exit().code(), gateway.stderr())
}

#[test]
fn a_written_ipv6_address_ends_the_start_on_a_kernel_without_ipv6() {
    let refused = std::thread::spawn(|| {
        refuse_ipv6();
        failed_start(&["127.0.0.1:8443", "[::]:8443"])
    });
    let (code, log) = refused.join().expect("the thread does not panic");
    assert_eq!(code, Some(71), "{log}");
    assert!(log.contains("gateway.listen: expected IPv4 addresses, or a kernel with IPv6"), "{log}");
    assert!(log.contains("[::]:8443, but this kernel has no IPv6"), "{log}");
    assert!(!log.contains("127.0.0.1:8443,"), "{log}");
}

/// A cgroup with a CPU quota; removed after the test.
struct CpuCgroup(PathBuf);

impl CpuCgroup {
    /// Makes one with a quota of so many thousandths of a CPU, by the first or the second version of cgroups. `None` where
    /// this process may not.
    fn create(thousandths: u32) -> Option<Self> {
        let name = format!("tidegate-test-{}-{thousandths}", std::process::id());
        let quota = thousandths * 100;
        let first = Path::new("/sys/fs/cgroup/cpu");
        let group = if first.join("cpu.cfs_quota_us").exists() {
            let group = Self(first.join(name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join("cpu.cfs_period_us"), "100000").ok()?;
            fs::write(group.0.join("cpu.cfs_quota_us"), quota.to_string()).ok()?;
            group
        } else {
            let root = Path::new("/sys/fs/cgroup");
            // it may be on already, and then this is refused where processes are in the root
            fs::write(root.join("cgroup.subtree_control"), "+cpu").ok();
            let group = Self(root.join(name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join("cpu.max"), format!("{quota} 100000")).ok()?;
            group
        };
        Some(group)
    }

    /// A command that starts the program in this cgroup.
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", self.0.display());
        command.args(["-c", &script, env!("CARGO_BIN_EXE_tidegate")]);
        command
    }
}

impl Drop for CpuCgroup {
    fn drop(&mut self) {
        // processes leave it a moment after they end
        for _ in 0..100 {
            match fs::remove_dir(&self.0) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                _ => break,
            }
        }
    }
}

/// The cores that each worker of a gateway may run on, as the kernel lists them.
fn workers(gateway: &Gateway) -> Vec<String> {
    workers_of(gateway.pid())
}

fn workers_of(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let cores = threads.filter_map(|thread| {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        let number = field("Name:")?.strip_prefix("tidegate-")?.parse::<usize>();
        number.ok().and_then(|_| field("Cpus_allowed_list:"))
    });
    cores.collect()
}

/// Starts a gateway with the default workers and other keys.
fn start(command: Command, change: impl FnOnce(&mut Config)) -> (Gateway, SocketAddr, Workspace, HttpPeer) {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    config.unset("gateway.workers");
    config.unset("gateway.pin");
    change(&mut config);
    let manager = HttpPeer::start(workspace.manager());
    let gateway = Gateway::spawn_by(command, &workspace, &config).wait_until_ready();
    (gateway, workspace.gateway(), workspace, manager)
}

#[test]
fn a_cpu_quota_makes_as_many_workers_and_none_is_pinned() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let Some(group) = CpuCgroup::create(1000).filter(|_| cores > 1) else {
        return skipped("a CPU quota", "no cgroup can be made here, or there is one core");
    };
    let (gateway, ..) = start(group.command(), |config| config.set("gateway.pin", true));
    let workers = workers(&gateway);
    assert_eq!(workers.len(), 1, "one for the one CPU of the quota: {workers:?}");
    assert!(workers[0].contains(['-', ',']), "it may run on several cores: {workers:?}");
    let line = format!("1 worker, not pinned: the CPU quota of the cgroup is 1 of {cores} cores");
    eventually("the reason in the log", || gateway.stderr().contains(&line));
}

/// Held by tests whose gateways are pinned: each gateway leaves cores to others that it finds.
static PINNED: Mutex<()> = Mutex::new(());

#[test]
fn a_second_gateway_is_not_pinned_to_the_cores_of_the_first_and_an_upgrade_keeps_its_cores() {
    let _alone = PINNED.lock();
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return skipped("two gateways", "there is one core");
    }
    let program = || Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let one = start(program(), |_| {});
    let (other, ..) = start(program(), |_| {});
    let one = &one.0;
    let is_pinned = |list: &String| list.parse::<usize>().is_ok();
    assert!(workers(one).iter().all(is_pinned), "{:?}", workers(one));
    assert!(!workers(&other).iter().any(is_pinned), "{:?}", workers(&other));
    let line = format!("another gateway (process {}) is pinned", one.pid());
    eventually("the reason in the log", || other.stderr().contains(&line));
    // the successor is the same gateway
    drop(other);
    takeover::signal(one.pid(), rustix::process::Signal::USR2);
    let mut serving = 0;
    eventually("the successor serves", || {
        serving = one.monitoring_get("/api/status").json()["pid"].as_u64().unwrap_or_default();
        serving != 0 && serving != u64::from(one.pid())
    });
    let serving = u32::try_from(serving).unwrap();
    let cores = workers_of(serving);
    assert!(!cores.is_empty() && cores.iter().all(is_pinned), "{cores:?}");
    takeover::signal(serving, rustix::process::Signal::KILL);
    eventually("the successor has ended", || {
        fs::read_dir(format!("/proc/{serving}/task")).is_err() || workers_of(serving).is_empty()
    });
}

#[test]
fn without_a_quota_every_core_has_a_worker_of_its_own() {
    let _alone = PINNED.lock();
    let cores = std::thread::available_parallelism().unwrap().get();
    let (gateway, ..) = start(Command::new(env!("CARGO_BIN_EXE_tidegate")), |_| {});
    let mut workers = workers(&gateway);
    assert_eq!(workers.len(), cores);
    assert!(workers.iter().all(|list| list.parse::<usize>().is_ok()), "one core each: {workers:?}");
    workers.sort();
    workers.dedup();
    assert_eq!(workers.len(), cores, "no two on one core");
}

#[test]
fn two_gateways_with_fewer_workers_than_cores_are_not_pinned_to_the_same_core() {
    let _alone = PINNED.lock();
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return skipped("two gateways", "there is one core");
    }
    let program = || Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let one = start(program(), |config| config.set("gateway.workers", 1));
    let other = start(program(), |config| config.set("gateway.workers", 1));
    for gateway in [&one.0, &other.0] {
        let workers = workers(gateway);
        assert!(workers.len() == 1 && workers[0].contains(['-', ',']), "{workers:?}");
    }
    let (gateway, ..) = start(program(), |config| {
        config.set("gateway.workers", 1);
        config.set("gateway.pin", true);
    });
    assert!(workers(&gateway)[0].parse::<usize>().is_ok(), "pinned where the file says so");
}
