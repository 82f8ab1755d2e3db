//! A hand-over is interrupted at each of its steps, on either side. A successor that is not in charge never takes the service
//! with it, and systemd hears of no process that is not in charge.

use super::failures::Linked;
use crate::harness::systemd::ServiceManager;
use crate::harness::takeover::{self, is_running};
use crate::harness::{Frame, eventually};
use rustix::process::Signal;

/// A successor in shell: `say` and `hear` use the control pipe, `$$` is the process that would serve.
fn successor(text: &str) -> String {
    format!(
        "#!/bin/bash\n\
         PIPE=${{TIDEGATE_HANDOVER##*report=}}; PIPE=${{PIPE%%:*}}\n\
         say() {{ echo \"$*\" >&$PIPE; }}\n\
         hear() {{ while read -r -u $PIPE LINE; do echo \"heard $LINE\" >&2; [ \"$LINE\" = \"$1\" ] && return; done; exit 9; }}\n\
         {text}\n"
    )
}

/// Steps of a successor before it is in charge, and what the running process says when the successor ends after it.
const STEPS: [(&str, &str); 4] = [
    ("", "ended before it was ready"),
    ("say pid $$", "ended before it was ready"),
    ("say pid $$; say ready $$", "serving on"),
    ("say pid $$; say ready $$; hear go", "ended before it was in charge"),
];

/// Ways to end. (SIGTERM would be blocked in a shell: a gateway unblocks it on the thread that waits for it.)
const ENDS: [&str; 4] = ["exit 0", "exit 3", "kill -KILL $$", "kill -ABRT $$"];

#[test]
fn a_successor_that_ends_at_any_step_leaves_the_running_process_in_charge() {
    let (linked, mut manager) = Linked::service();
    let listener = linked.takeover.bed.node(1);
    let mut session = linked.takeover.bed.relay(&listener);
    manager.forget();
    for (step, why) in STEPS {
        for end in ENDS {
            linked.script(&successor(&format!("{step}\n{end}")));
            linked.fails(why, &mut session);
        }
    }
    still_the_main_process(&linked, &mut manager);
    linked.repair();
    assert_ne!(linked.takeover.upgrade(), linked.takeover.bed.gateway.pid());
}

/// The running process named no other one to systemd, and still sends messages.
#[track_caller]
fn still_the_main_process(linked: &Linked, manager: &mut ServiceManager) {
    let first = linked.takeover.bed.gateway.pid();
    assert_eq!(linked.takeover.bed.gateway.reload().0, Some(0));
    manager.wait_for("READY=1");
    assert!(manager.senders.iter().all(|sender| *sender == first), "{:?}", manager.senders);
    assert!(!manager.messages.iter().any(|message| message.contains("MAINPID")), "{:?}", manager.messages);
}

#[test]
fn a_successor_that_serves_and_ends_before_it_is_in_charge_leaves_the_running_process_in_charge() {
    let (linked, mut manager) = Linked::service();
    let listener = linked.takeover.bed.node(1);
    let (mut client, mut node) = linked.takeover.bed.relay(&listener);
    let gateway = &linked.takeover.bed.gateway;
    manager.forget();
    let hold = linked.takeover.bed.workspace.file("hold");
    let wait =
        format!("say pid $$; say ready $$; hear go; while [ ! -e {} ]; do sleep 0.02; done", hold.display());
    linked.script(&successor(&format!("{wait}\nsay serving\nkill -9 $$")));
    linked.takeover.request_successor();
    linked.takeover.wait_for_log("heard go");
    let ours = |pid: &u32| *pid != gateway.pid();
    let successor: Vec<u32> = takeover::children(gateway.pid()).into_iter().filter(ours).collect();
    // both lines of the successor's life are there when the process looks next
    gateway.pause();
    std::fs::write(&hold, "").unwrap();
    eventually("the successor has ended", || !successor.iter().any(|pid| is_running(*pid)));
    gateway.resume();
    linked.takeover.wait_for_log("ended before it was in charge");
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
    still_the_main_process(&linked, &mut manager);
}

#[test]
fn a_successor_that_ends_as_it_is_put_in_charge_gives_the_service_back() {
    let (linked, mut manager) = Linked::service();
    let listener = linked.takeover.bed.node(1);
    let (mut client, mut node) = linked.takeover.bed.relay(&listener);
    let gateway = &linked.takeover.bed.gateway;
    let (hold, said) =
        (linked.takeover.bed.workspace.file("hold"), linked.takeover.bed.workspace.file("said"));
    let wait = format!("while [ ! -e {} ]; do sleep 0.02; done", hold.display());
    let text = format!(
        "say pid $$; say ready $$; hear go; {wait}; say serving; echo $$ >{}; exec sleep 60",
        said.display()
    );
    linked.script(&successor(&text));
    linked.takeover.request_successor();
    linked.takeover.wait_for_log("heard go");
    // the service manager reads nothing, so the gateway waits in the middle: while it names the successor
    gateway.pause();
    manager.forget();
    manager.fill_queue();
    std::fs::write(&hold, "").unwrap();
    let pid = || std::fs::read_to_string(&said).unwrap_or_default().trim().parse::<u32>();
    eventually("the successor has said that it serves", || pid().is_ok());
    gateway.resume();
    eventually("the gateway writes to the service manager", || is_sending(gateway.pid()));
    let successor = pid().unwrap();
    takeover::signal(successor, Signal::KILL);
    eventually("the successor has ended", || !is_running(successor));
    let own = format!("MAINPID={}", gateway.pid());
    manager.wait_for(&own);
    let named: Vec<_> = manager.messages.iter().filter(|message| message.contains("MAINPID")).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert_eq!(named[0].trim_end(), format!("MAINPID={successor}"));
    assert_eq!(named[1].trim_end(), own);
    linked.takeover.wait_for_log("listeners not handed over");
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
    manager.forget();
    still_the_main_process(&linked, &mut manager);
}

/// Whether the main thread of a process waits in `sendmsg`.
fn is_sending(pid: u32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    call.split(' ').next() == Some(&libc::SYS_sendmsg.to_string())
}

#[test]
fn a_successor_that_stops_after_go_is_ended_and_the_running_process_serves_on() {
    let (linked, mut manager) = Linked::service();
    let listener = linked.takeover.bed.node(1);
    let mut session = linked.takeover.bed.relay(&listener);
    manager.forget();
    linked.script(&successor("say pid $$; say ready $$; hear go; exec sleep 60"));
    linked.fails("did not serve in time", &mut session);
    eventually("nothing is left of it", || linked.takeover.running_pids().len() == 1);
    linked.script(&successor("say pid $$; say ready $$; hear go; say failed no luck; exit 1"));
    linked.fails("no luck", &mut session);
    still_the_main_process(&linked, &mut manager);
}

#[test]
fn a_signal_to_end_ends_a_successor_at_any_step() {
    let steps =
        ["echo ran >&2", "say pid $$; echo ran >&2", "say pid $$; say ready $$; hear go; echo ran >&2"];
    for step in steps {
        let mut linked = Linked::start();
        linked.script(&successor(&format!("{step}\nwhile :; do sleep 0.05; done")));
        linked.takeover.request_successor();
        linked.takeover.wait_for_log("ran");
        takeover::signal(linked.takeover.bed.gateway.pid(), Signal::TERM);
        assert_eq!(linked.takeover.bed.gateway.wait_for_first_process().code(), Some(0), "{step}");
        eventually("no process is left", || linked.takeover.running_pids().is_empty());
        assert!(linked.takeover.bed.gateway.stderr().contains("hand-over cancelled"), "{step}");
    }
}

#[test]
fn a_reload_during_a_hand_over_reaches_the_successor_too() {
    let linked = Linked::start();
    let gateway = &linked.takeover.bed.gateway;
    let hold = linked.takeover.bed.workspace.file("hold");
    let wait = format!("while [ ! -e {} ]; do sleep 0.02; done", hold.display());
    let text = format!("say pid $$; say ready $$; hear go; {wait}; say serving; hear main; exec sleep 60");
    linked.script(&successor(&text));
    linked.takeover.request_successor();
    linked.takeover.wait_for_log("heard go");
    // the running process reloads, and the successor may have read the configuration before
    assert_eq!(gateway.reload().0, Some(0));
    gateway.send_sighup();
    gateway.wait_for_revision(3);
    linked.takeover.request_successor();
    linked.takeover.wait_for_log("is being started already");
    std::fs::write(&hold, "").unwrap();
    linked.takeover.wait_for_log("heard main");
    assert!(linked.takeover.bed.gateway.stderr().contains("heard reload"));
}

#[test]
fn requests_after_a_hand_over_are_refused_with_the_process_that_serves() {
    let linked = Linked::start();
    let gateway = &linked.takeover.bed.gateway;
    let listener = linked.takeover.bed.node(1);
    linked.takeover.configure(|config| config.set_drains("60s"));
    gateway.send_sighup();
    gateway.wait_for_revision(2);
    let _session = linked.takeover.bed.relay_mid_frame(&listener);
    let second = linked.takeover.upgrade();
    gateway.send_sighup();
    linked
        .takeover
        .wait_for_log(&format!("process {second} serves now, this one ends; ask that one for a reload"));
    takeover::signal(gateway.pid(), Signal::USR2);
    linked.takeover.wait_for_log(&format!("hand-over refused: process {second} serves now"));
}
