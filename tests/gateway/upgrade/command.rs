//! `tidegate upgrade`: the command does what SIGUSR2 does, and reports what became of it.

use super::failures::Linked;
use crate::harness::gateway::text_of;
use crate::harness::takeover::{Takeover, is_running};
use crate::harness::{Frame, eventually};

#[test]
fn the_command_returns_when_the_new_process_is_in_charge_and_names_it() {
    let takeover = Takeover::start(|config, _| config.set_drains("60s"));
    let listener = takeover.bed.node(1);
    let (mut client, mut node) = takeover.bed.relay(&listener);
    let first = takeover.serving_pid();
    let said = text_of(&takeover.bed.gateway.command(&["upgrade"]), 0);
    let second = takeover.serving_pid();
    let expected =
        format!("process {second} serves; process {first} keeps its 1 sessions for at most 60.0 s\n");
    assert_eq!(said, expected);
    assert!(second != first && is_running(first));
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
    let json = text_of(&takeover.bed.gateway.command(&["upgrade", "--json"]), 0);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["pid"], &json["former_pid"]), (&takeover.serving_pid().into(), &second.into()));
}

#[test]
fn the_command_fails_with_the_reason_of_the_new_process_and_the_old_one_serves_on() {
    let takeover = Takeover::start(|_, _| {});
    let first = takeover.serving_pid();
    takeover.configure(|config| config.set("origins.port", 0));
    let said = text_of(&takeover.bed.gateway.command(&["upgrade"]), 1);
    assert!(
        said.contains("the gateway refused: the new process failed:") && said.contains("1 problem"),
        "{said}"
    );
    assert_eq!((takeover.serving_pid(), takeover.bed.gateway.ready()), (first, Some(200)));
}

#[test]
fn a_second_request_and_a_drain_end_the_wait_with_their_reason() {
    let linked = Linked::start();
    let takeover = &linked.takeover;
    let first = takeover.serving_pid();
    // a new process that is never ready
    linked.script("#!/bin/bash\nexec sleep 60\n");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| takeover.bed.gateway.command(&["upgrade"]));
        takeover.wait_for_log("starting a new process");
        let second = text_of(&takeover.bed.gateway.command(&["upgrade"]), 1);
        assert!(second.contains("is being started already"), "{second}");
        let listener = takeover.bed.node(1);
        let held = takeover.bed.relay_mid_frame(&listener);
        text_of(&takeover.bed.gateway.command(&["drain"]), 0);
        let said = text_of(&waiting.join().unwrap(), 1);
        assert!(said.contains("told to drain meanwhile"), "{said}");
        let refused = text_of(&takeover.bed.gateway.command(&["upgrade"]), 1);
        assert!(refused.contains("the gateway is draining"), "{refused}");
        // the drain can still be taken back, and then an upgrade works
        text_of(&takeover.bed.gateway.command(&["drain", "--undo"]), 0);
        linked.repair();
        text_of(&takeover.bed.gateway.command(&["upgrade"]), 0);
        assert_ne!(takeover.serving_pid(), first);
        drop(held);
    });
    eventually("the old process ends", || !is_running(first));
}
