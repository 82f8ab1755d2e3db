//! What systemd is told when one process takes over from another: which process is the service now, and nothing that
//! would end the service.

use crate::harness::systemd::ServiceManager;
use crate::harness::takeover::{self, Takeover};
use crate::harness::{Config, HttpPeer, TestBed, Workspace};
use rustix::process::Signal;

/// The program as a service, started after a line of shell.
fn begin(line: &str, watchdog: Option<&str>) -> (Takeover, ServiceManager) {
    let workspace = Workspace::claim();
    let config = Config::new(&workspace);
    let manager = ServiceManager::listen(workspace.file("notify"));
    let mut service = manager.service_after(line);
    if let Some(micros) = watchdog {
        service = service.env("WATCHDOG_USEC", micros);
    }
    let peer = HttpPeer::start(workspace.manager());
    let gateway = service.start(&workspace, &config);
    (Takeover::from_parts(TestBed { workspace, manager: peer, gateway }, config), manager)
}

#[test]
fn the_new_process_becomes_the_service() {
    let (mut takeover, mut manager) = begin(":", None);
    manager.wait_until("both sockets are stored", |manager| manager.stored.len() == 2);
    manager.forget();
    let first = takeover.bed.gateway.pid();
    let second = takeover.upgrade();
    let main = manager.wait_for(&format!("MAINPID={second}"));
    let ready = manager.wait_for("READY=1");
    assert!(main < ready, "otherwise systemd would ignore the new process: {:?}", manager.messages);
    assert_eq!(manager.senders[main], first);
    assert_eq!(manager.senders[ready], second);
    assert_eq!(takeover.bed.gateway.wait_for_first_process().code(), Some(0));
    manager.wait_until("the same sockets are stored", |manager| {
        let again = manager.messages.iter().skip(ready).filter(|message| message.contains("FDSTORE=1"));
        again.count() == 1 && manager.stored.len() == 2
    });
    let stopping = manager.messages.iter().filter(|message| message.contains("STOPPING=1"));
    assert_eq!(stopping.count(), 0, "the service goes on: {:?}", manager.messages);
    takeover::signal(second, Signal::TERM);
    assert_eq!(takeover.wait_for_exit_of(second), Some(0));
    manager.wait_for("STOPPING=1");
}

#[test]
fn the_serving_process_notifies_the_watchdog() {
    // systemd names the first process in it, but means the service
    for line in [":", "export WATCHDOG_PID=$$"] {
        let (takeover, mut manager) = begin(line, Some("1000000"));
        manager.wait_for("WATCHDOG=1");
        let second = takeover.upgrade();
        manager.wait_until("the new process notifies the watchdog", |manager| {
            let mut fed = manager.messages.iter().zip(&manager.senders);
            fed.any(|(message, sender)| *sender == second && message.contains("WATCHDOG=1"))
        });
    }
}
