//! `tidegate doctor`: what stands in the way of a gateway, with what to do about it.

use crate::harness::certs::{ECDSA, Identity};
use crate::harness::gateway::CONFIG_FILE;
use crate::harness::{Config, DEADLINE, Gate, HttpPeer, Reply, TestBed, Workspace, skipped};
use seccompiler::{SeccompAction, SeccompFilter};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The report of a doctor, and its exit code.
struct Report {
    code: i32,
    findings: Vec<Value>,
}

impl Report {
    /// Examines the machine for the configuration of this workspace.
    #[track_caller]
    fn of(workspace: &Workspace) -> Self {
        Self::by(&mut Command::new(env!("CARGO_BIN_EXE_tidegate")), workspace)
    }

    /// The same by a command that gets the program's arguments.
    #[track_caller]
    fn by(command: &mut Command, workspace: &Workspace) -> Self {
        let file = workspace.file(CONFIG_FILE);
        let output =
            command.args([Path::new("doctor"), Path::new("--json"), Path::new("--config"), &file]).output();
        let output = output.expect("the program starts");
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = json["findings"].as_array().expect("a list").clone();
        let problems = findings.iter().filter(|finding| finding["level"] == "problem").count();
        assert_eq!(json["problems"], problems, "{json}");
        let code = output.status.code().expect("no signal");
        assert_eq!(code, i32::from(problems > 0), "the exit code says whether there are problems: {json}");
        Self { code, findings }
    }

    /// Checks that there is a finding of this check and level, with these words in it and in its remedy.
    #[track_caller]
    fn assert_finding(&self, check: &str, level: &str, found: &str, remedy: &str) {
        let is_it = |finding: &&Value| {
            let has = |field: &str, words: &str| finding[field].as_str().unwrap_or_default().contains(words);
            finding["check"] == check
                && finding["level"] == level
                && has("found", found)
                && has("remedy", remedy)
        };
        let mut findings = self.findings.iter();
        assert!(
            findings.any(|finding| is_it(&finding)),
            "expected {check} {found:?} {remedy:?} in {:#?}",
            self.findings
        );
    }

    /// Checks that nothing stands in the way.
    #[track_caller]
    fn assert_healthy(&self) {
        assert_eq!(self.code, 0, "{:#?}", self.findings);
    }
}

/// A configuration that this machine has room for: few sessions, and node 1 only.
fn modest(config: &mut Config, workspace: &Workspace) {
    config.set("limits.sessions", 500);
    config.set("limits.handshakes", 100);
    config.set("origins.networks", vec![workspace.node(1).ip().to_string()]);
    config.set("gateway.driver", "auto");
}

/// A configuration file, a stream manager and node 1, without a gateway.
fn without_gateway(change: impl FnOnce(&mut Config, &Workspace)) -> (Workspace, HttpPeer, TcpListener) {
    let workspace = Workspace::claim();
    let (manager, node) = (HttpPeer::start(workspace.manager()), TcpListener::bind(workspace.node(1)));
    let mut config = Config::new(&workspace);
    modest(&mut config, &workspace);
    change(&mut config, &workspace);
    config.write(&workspace);
    (workspace, manager, node.expect("a free address"))
}

#[test]
fn a_machine_that_is_fit_for_its_configuration_has_no_problem() {
    let (workspace, manager, _node) = without_gateway(|config, _| {
        config.set("stream_manager.authorization", "Basic hunter2");
    });
    let report = Report::of(&workspace);
    report.assert_healthy();
    report.assert_finding("kernel", "ok", "Linux ", "");
    report.assert_finding("open files", "ok", "a process started from here; limits.sessions = 500", "");
    report.assert_finding("port", "ok", &format!("{} (gateway.listen) is free", workspace.gateway()), "");
    report.assert_finding("private key", "ok", "ecdsa.key.pem", "");
    report.assert_finding("certificate", "ok", "for gateway.test, 127.0.0.1: ", "");
    report.assert_finding("stream manager", "ok", "answers with 404 (DNS ", "");
    report.assert_finding("node", "ok", &format!("{} (origins.networks) accepts", workspace.node(1)), "");
    assert!(!format!("{:?}", report.findings).contains("hunter2"), "{:?}", report.findings);
    // the question is the gateway's own, and it is asked as the gateway asks
    let question = manager.last();
    let target = "/streammanager/api/4.0/event/live/tidegate-probe?action=subscribe";
    assert_eq!(question.head.target(), target);
    assert_eq!(question.head.field("authorization"), Some("Basic hunter2"));
    assert_eq!(question.head.field("host"), Some(workspace.manager().to_string().as_str()));
}

#[test]
fn the_ports_of_the_running_gateway_are_no_fault_and_its_limits_count() {
    let bed = TestBed::with(modest);
    let _node = TcpListener::bind(bed.workspace.node(1)).expect("a free address");
    let report = Report::of(&bed.workspace);
    report.assert_healthy();
    for (key, address) in
        [("gateway.listen", bed.workspace.gateway()), ("monitoring.listen", bed.workspace.monitoring())]
    {
        report.assert_finding("port", "ok", &format!("{address} ({key}) is held by the running gateway"), "");
    }
    let files = format!("for the running gateway (process {})", bed.gateway.pid());
    report.assert_finding("open files", "ok", &files, "");

    // a configuration of the same ports is not the one that runs
    let other = bed.workspace.file("other.toml");
    fs::copy(bed.workspace.file(CONFIG_FILE), &other).expect("copied");
    let output =
        Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("doctor").arg("--config").arg(&other).output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = format!(
        "{} (gateway.listen) is held by tidegate (process {})",
        bed.workspace.gateway(),
        bed.gateway.pid()
    );
    assert!(table.contains(&line) && table.contains("-> stop that process (`ps -fp "), "{table}");
    assert!(table.ends_with("warnings\n") || table.ends_with("warning\n"), "{table}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("what to do"));
}

#[test]
fn a_port_of_another_process_is_a_problem_that_names_it() {
    let (workspace, _manager, _node) = without_gateway(|_, _| {});
    let _taken = TcpListener::bind(workspace.gateway()).expect("a free address");
    let report = Report::of(&workspace);
    // the test program, of whose name the kernel keeps fifteen letters
    let found = "(gateway.listen) is held by gateway-";
    let pid = std::process::id();
    report.assert_finding("port", "problem", found, &format!("`ps -fp {pid}`"));
}

#[test]
fn a_limit_of_open_files_that_is_too_low_for_limits_sessions_is_a_problem() {
    let (workspace, _manager, _node) = without_gateway(|_, _| {});
    let mut command = Command::new("prlimit");
    command.args(["--nofile=256:256", env!("CARGO_BIN_EXE_tidegate")]);
    let report = Report::by(&mut command, &workspace);
    // two for each of 600 clients, 48 for the process with two workers, and a sixteenth
    report.assert_finding(
        "open files",
        "problem",
        "at most 256 for a process started from here",
        "LimitNOFILE=1332",
    );
}

#[test]
fn a_stream_manager_that_can_not_be_reached_is_a_problem_with_its_stage() {
    let (workspace, manager, _node) = without_gateway(|_, _| {});
    drop(manager);
    let refused = format!("`nc -vz {} 5080`", workspace.manager().ip());
    Report::of(&workspace).assert_finding(
        "stream manager",
        "problem",
        "no connection (Connection refused",
        &refused,
    );

    let manager = HttpPeer::start(workspace.manager());
    for (reply, level, found, remedy) in [
        (Reply::empty(503), "problem", "answers with 503", "stream manager's log"),
        (Reply::empty(401), "warning", "answers with 401", "stream_manager.authorization"),
        (Reply::empty(302), "problem", "a redirect", "stream_manager.url"),
        (Reply::raw("nonsense\r\n\r\n"), "problem", "no answer to a question", "its HTTP port"),
    ] {
        manager.answer("tidegate-probe", reply);
        Report::of(&workspace).assert_finding("stream manager", level, found, remedy);
    }
}

#[test]
fn silent_peers_hold_the_doctor_up_for_three_seconds_at_most() {
    let (workspace, manager, _node) = without_gateway(|config, _| {
        config.set("origins.names", vec!["node.invalid"]);
    });
    let gate = Gate::default();
    manager.answer("tidegate-probe", Reply::empty(404).held(&gate));
    let began = Instant::now();
    let report = Report::of(&workspace);
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
    report.assert_finding("stream manager", "problem", "no answer within 3 s", "look at its log");
    report.assert_finding(
        "node",
        "warning",
        "node.invalid (origins.names) can't be reached",
        "`getent hosts node.invalid`",
    );
    gate.open();
}

#[test]
fn a_stream_manager_on_https_needs_a_trusted_certificate() {
    let workspace = Workspace::claim();
    let address = workspace.manager();
    let identity = Identity::for_address(address.ip());
    let _manager = HttpPeer::start_tls(address, &identity);
    let mut config = Config::new(&workspace);
    modest(&mut config, &workspace);
    config.set("stream_manager.url", format!("https://{address}"));
    let ca = workspace.file("ca.pem");
    config.set("stream_manager.ca", ca.to_str().expect("UTF-8"));
    config.write(&workspace);
    fs::write(&ca, &ECDSA.chain_pem).expect("written");
    let report = Report::of(&workspace);
    report.assert_finding(
        "stream manager",
        "problem",
        "no TLS (invalid peer certificate",
        "stream_manager.ca",
    );
    report.assert_finding("node", "problem", "can't be reached: Connection refused", "origins.port = 5080");
    fs::write(&ca, &identity.chain_pem).expect("written");
    Report::of(&workspace).assert_finding("stream manager", "ok", " ms, TLS ", "");
}

#[test]
fn a_key_that_other_users_may_read_is_a_warning() {
    let (workspace, _manager, _node) = without_gateway(|_, _| {});
    fs::set_permissions(workspace.file("rsa.key.pem"), Permissions::from_mode(0o644)).expect("its owner may");
    let report = Report::of(&workspace);
    report.assert_healthy();
    report.assert_finding("private key", "warning", "every user of this machine (mode 0644)", "chmod 600");
}

#[test]
fn without_a_ring_the_finding_names_the_filter_and_matters_by_the_driver() {
    for (driver, level) in [("auto", "warning"), ("io_uring", "problem"), ("epoll", "ok")] {
        let (workspace, _manager, _node) = without_gateway(|config, _| config.set("gateway.driver", driver));
        if fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|value| value.trim() != "0") {
            return skipped("a ring that a filter refuses", "the kernel refuses rings already");
        }
        let report = std::thread::spawn(move || {
            refuse_rings();
            Report::of(&workspace)
        });
        let report = report.join().expect("the thread does not panic");
        let (found, remedy) = match level {
            "ok" => ("not available, and not used", ""),
            _ => (
                "a filter of system calls (seccomp) or a security module forbids it (EPERM)",
                "SystemCallFilter=",
            ),
        };
        report.assert_finding("io_uring", level, found, remedy);
    }
}

/// The kernel gives this thread, and the processes that it starts, no ring any more.
fn refuse_rings() {
    let arch = std::env::consts::ARCH.try_into().expect("a filter for this CPU");
    let rules = [(libc::SYS_io_uring_setup, Vec::new())].into_iter().collect();
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).expect("a filter");
    let program: seccompiler::BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter(&program).expect("a filter");
}

#[test]
fn problems_of_the_configuration_come_with_line_and_what_is_right() {
    let (workspace, _manager, _node) = without_gateway(|config, _| config.set("origins.prot", 5080));
    let report = Report::of(&workspace);
    report.assert_finding(
        "configuration",
        "problem",
        "origins.prot: found an unknown key",
        "the nearest is origins.port",
    );
    report.assert_finding("network", "warning", "were not asked", "correct the configuration first");
    fs::remove_file(workspace.file(CONFIG_FILE)).expect("removed");
    Report::of(&workspace).assert_finding(
        "configuration",
        "problem",
        "can't be read",
        "name another file with --config",
    );
}

#[test]
fn the_admin_socket_is_looked_at() {
    let bed = TestBed::with(|config, workspace| {
        modest(config, workspace);
        config.set("gateway.health_path", "/healthz");
    });
    let mut config = Config::new(&bed.workspace);
    modest(&mut config, &bed.workspace);
    let socket = bed.workspace.file("none/admin.sock");
    config.set("admin.listen", format!("unix:{}", socket.display()));
    config.write(&bed.workspace);
    let report = Report::of(&bed.workspace);
    report.assert_finding("admin socket", "warning", "does not exist", "RuntimeDirectory=");
    fs::create_dir(socket.parent().expect("a folder")).expect("made");
    let report = Report::of(&bed.workspace);
    report.assert_finding(
        "admin socket",
        "warning",
        "nothing answers at ",
        "restart it if admin.listen has changed",
    );
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    Report::of(&bed.workspace).assert_finding("admin socket", "ok", "answers", "");
}
