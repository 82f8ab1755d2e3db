//! The order of the checks, and what each gets to see.

use crate::config::Config;
use crate::control::admin::listener::ListenAddress;
use crate::control::doctor::clock::ClockFacts;
use crate::control::doctor::configuration::{self, Configuration};
use crate::control::doctor::finding::{Finding, Report};
use crate::control::doctor::kernel::KernelFacts;
use crate::control::doctor::limits::MemoryFacts;
use crate::control::doctor::network::NetworkFacts;
use crate::control::doctor::ports::Privilege;
use crate::control::doctor::process::Process;
use crate::control::doctor::{certificates, clock, kernel, limits, network, ports, reach, systemd};
use std::path::{Path, PathBuf};

/// Examines this machine for a gateway with the configuration at `path`. Takes about as long as the slowest peer, at most three
/// seconds for each. Limits are those of the running gateway, if one runs with this configuration and this user may look at it.
pub fn examine(path: &Path) -> Report {
    let Configuration { loaded, config, mut findings } = configuration::read(path);
    let ports = ports::read(&config, path);
    let gateway = ports::running_gateway(&ports);
    let process = Process::of(gateway);

    of_machine(&config, &process, &mut findings);
    findings.extend(ports::judge(&ports, &Privilege::read(&process)));
    if let Some(ListenAddress::Unix(socket)) = ListenAddress::of_admin(&config.admin.listen) {
        let socket = &socket;
        findings.push(ports::judge_admin(socket, ports::admin_socket(socket), gateway.is_some()));
    }
    findings.extend(network::judge(&NetworkFacts::read(), &config));
    findings.extend(process.environment().and_then(|environment| systemd::judge(&environment)));

    let clock = ClockFacts::read();
    let facts = loaded.as_ref().map(|loaded| loaded.facts()).unwrap_or_default();
    findings.push(clock::judge(clock, &facts));
    let in_files = config.tls.certificates.iter().map(|certificate| certificate.key.as_path());
    // those by ACME follow, each in one file with its key
    let by_acme: Vec<_> =
        facts.iter().filter(|facts| facts.by_acme).map(|facts| facts.chain.clone()).collect();
    let keys = in_files.chain(by_acme.iter().map(PathBuf::as_path));
    let certificates: Vec<_> =
        facts.into_iter().zip(keys).map(|(facts, key)| certificates::read(facts, key)).collect();
    findings.extend(certificates::judge(&certificates, clock.now));

    match &loaded {
        Some(loaded) => findings.extend(reach::check(&config, &loaded.roots)),
        None => findings.push(Finding::warning(
            "network",
            "stream manager and nodes were not asked, because the configuration has problems",
            "correct the configuration first",
        )),
    }
    Report::new(findings)
}

/// Kernel, limits, memory and CPUs.
fn of_machine(config: &Config, process: &Process, findings: &mut Vec<Finding>) {
    let kernel = KernelFacts::read();
    findings.extend(kernel::judge(&kernel, config.gateway.driver));
    let (cores, quota) = limits::cpus();
    let workers = limits::workers(config, cores, quota);
    let table = process.read("limits");
    findings.push(limits::open_files(table.as_deref(), &process.name(), config, workers));
    findings.push(limits::locked_memory(table.as_deref(), kernel.rings(), workers));
    findings.push(limits::memory(&MemoryFacts::read(process), config.limits.sessions));
    findings.push(limits::cpu(cores, quota, workers));
}
