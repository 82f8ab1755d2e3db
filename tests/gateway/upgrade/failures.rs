//! A successor that cannot take over: the running process logs why, and goes on serving.

use crate::harness::connection::Connection;
use crate::harness::systemd::ServiceManager;
use crate::harness::takeover::{self, Takeover};
use crate::harness::{Config, Frame, Gateway, HttpPeer, TestBed, Workspace, eventually};
use rustix::process::Signal;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

/// A gateway that was started through a symbolic link, which a test can replace.
pub(super) struct Linked {
    pub(super) takeover: Takeover,
    symlink_path: PathBuf,
}

impl Linked {
    pub(super) fn start() -> Self {
        Self::over(Workspace::claim(), |_| {})
    }

    /// As a service of this service manager.
    pub(super) fn service() -> (Self, ServiceManager) {
        let workspace = Workspace::claim();
        let path = workspace.file("notify");
        let manager = ServiceManager::listen(path.clone());
        let linked =
            Self::over(workspace, |config| config.set_env("NOTIFY_SOCKET", path.to_str().expect("UTF-8")));
        (linked, manager)
    }

    fn over(workspace: Workspace, change: impl FnOnce(&mut Config)) -> Self {
        let symlink_path = workspace.file("tidegate");
        symlink(env!("CARGO_BIN_EXE_tidegate"), &symlink_path).unwrap();
        let mut config = Config::new(&workspace);
        change(&mut config);
        let manager = HttpPeer::start(workspace.manager());
        let gateway = Gateway::spawn_by(Command::new(&symlink_path), &workspace, &config).wait_until_ready();
        Self { takeover: Takeover::from_parts(TestBed { workspace, manager, gateway }, config), symlink_path }
    }

    /// Replaces the program by a script.
    pub(super) fn script(&self, text: &str) {
        std::fs::remove_file(&self.symlink_path).ok();
        // written under another name and by another process: a file that is open for writing anywhere, also in a child of
        // another test, can't be executed
        let written = Command::new("/bin/bash")
            .args([
                "-c",
                "printf %s \"$2\" > \"$1.new\" && chmod 755 \"$1.new\" && mv \"$1.new\" \"$1\"",
                "-",
            ])
            .args([self.symlink_path.as_os_str(), text.as_ref()])
            .status();
        assert!(written.unwrap().success());
    }

    pub(super) fn repair(&self) {
        std::fs::remove_file(&self.symlink_path).ok();
        symlink(env!("CARGO_BIN_EXE_tidegate"), &self.symlink_path).unwrap();
    }

    /// Asks for a successor: it fails, the log gives this reason, and no client notices.
    #[track_caller]
    pub(super) fn fails(&self, why: &str, (client, node): &mut (Connection, Connection)) {
        let reports = |word: &str| self.takeover.bed.gateway.stderr().matches(word).count();
        let before = reports("serving on");
        self.takeover.request_successor();
        eventually(why, || reports("serving on") > before);
        let log = self.takeover.bed.gateway.stderr();
        let line = log.lines().rfind(|line| line.contains("serving on")).unwrap();
        assert!(line.contains(why), "expected {why:?}, found {line:?}");
        assert_eq!(self.takeover.serving_pid(), self.takeover.bed.gateway.pid());
        client.send_frame(Frame::text(why));
        assert_eq!(node.read_frame(), Frame::text(why));
        self.takeover.bed.get("/nowhere").assert_refusal(404, "no_such_route");
    }
}

#[test]
fn whatever_replaces_the_program_the_old_process_goes_on_serving() {
    let linked = Linked::start();
    let listener = linked.takeover.bed.node(1);
    let mut session = linked.takeover.bed.relay(&listener);
    std::fs::remove_file(&linked.symlink_path).unwrap();
    linked.fails("No such file", &mut session);
    linked.script("no program at all");
    linked.fails("Exec format error", &mut session);
    std::fs::set_permissions(&linked.symlink_path, std::fs::Permissions::from_mode(0o644)).unwrap();
    linked.fails("Permission denied", &mut session);
    linked.script("#!/bin/sh\nexit 3\n");
    linked.fails("exit status: 3", &mut session);
    linked.script("#!/bin/sh\nkill -9 $$\n");
    linked.fails("signal: 9", &mut session);
    linked.script("#!/bin/sh\necho thanks\n");
    linked.fails("ended before it was ready", &mut session);
    linked.repair();
    assert_ne!(linked.takeover.upgrade(), linked.takeover.bed.gateway.pid());
}

#[test]
fn a_successor_refuses_a_configuration_that_it_cannot_serve() {
    let linked = Linked::start();
    let listener = linked.takeover.bed.node(1);
    let mut session = linked.takeover.bed.relay(&listener);
    let (good, second) =
        (linked.takeover.bed.workspace.gateway(), linked.takeover.bed.workspace.second_gateway());
    linked.takeover.configure(|config| config.set("origins.strickt", true));
    linked.fails("1 problem", &mut session);
    linked.takeover.configure(|config| config.unset("origins.strickt"));
    let taken = std::net::TcpListener::bind(second).unwrap();
    linked.takeover.configure(|config| {
        config.set("gateway.listen", vec![good.to_string(), second.to_string()]);
        // the successor binds these too before it fails: no client may end up in their queues
        config.set("gateway.workers", 6);
    });
    linked.fails("another program listens there", &mut session);
    for _ in 0..30 {
        linked.takeover.bed.get("/nowhere").assert_refusal(404, "no_such_route");
    }
    drop(taken);
    linked.takeover.upgrade();
}

#[test]
fn a_slow_successor_hinders_nothing() {
    let linked = Linked::start();
    let listener = linked.takeover.bed.node(1);
    let (mut client, mut node) = linked.takeover.bed.relay(&listener);
    linked.script("#!/bin/sh\nwhile :; do sleep 0.05; done\n");
    linked.takeover.request_successor();
    linked.takeover.wait_for_log("starting a new process");
    linked.takeover.request_successor();
    linked.takeover.wait_for_log("is being started already");
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
    // a child of the script's shell has the same command line until it executes `sleep`
    eventually("exactly two processes", || linked.takeover.running_pids().len() == 2);
    // the end of the old process is the end of the successor too: no other process could admit it
    takeover::signal(linked.takeover.serving_pid(), Signal::TERM);
    client.expect_close(1001);
    client.answer_close(1001);
    let mut linked = linked;
    assert_eq!(linked.takeover.bed.gateway.wait_for_first_process().code(), Some(0));
    eventually("no process is left", || linked.takeover.running_pids().is_empty());
}

#[test]
fn a_successor_that_is_killed_before_it_serves_does_no_harm() {
    let linked = Linked::start();
    let listener = linked.takeover.bed.node(1);
    let mut session = linked.takeover.bed.relay(&listener);
    // it reports its process id, and comes no further
    linked.script("#!/bin/bash\nLINE=${TIDEGATE_HANDOVER##*report=}; eval \"echo pid $$ >&${LINE%%:*}\"; exec sleep 60\n");
    linked.takeover.request_successor();
    let mut pid = None;
    eventually("the successor runs", || {
        let first = linked.takeover.bed.gateway.pid();
        pid = takeover::children(first).first().copied();
        pid.is_some_and(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
        })
    });
    linked.takeover.request_successor();
    linked.takeover.wait_for_log("is being started already");
    takeover::signal(pid.unwrap(), Signal::KILL);
    linked.takeover.wait_for_log("serving on");
    session.0.send_frame(Frame::text("still here"));
    assert_eq!(session.1.read_frame(), Frame::text("still here"));
    linked.repair();
    linked.takeover.upgrade();
}
