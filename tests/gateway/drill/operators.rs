//! Another user at the admin listener, and a drain that a colleague began and forgot.

use super::{SECRET, assert_calm, assert_has, line, said, two_step};
use crate::harness::{Frame, TestBed, skipped};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[test]
fn another_user_at_the_admin_listener_is_told_what_to_do() {
    if !rustix::process::getuid().is_root() {
        return skipped("another_user_at_the_admin_listener", "only root can be another user");
    }
    let bed = TestBed::start();
    let program = bed.workspace.file("tidegate");
    std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    for path in [bed.workspace.file(""), program.clone()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(&program);
    command.args(["drain", "--admin", &bed.gateway.admin()]).uid(65_534).gid(65_534).current_dir("/");
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(71));
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_has(&told, &["can't connect to unix:", "its group (root)", "as root"]);
    assert_eq!(bed.gateway.ready(), Some(200));
    assert_calm(&bed.gateway);
}

#[test]
fn a_drain_that_a_colleague_began() {
    let bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let listener = bed.node(1);
    let mut sessions = [bed.relay(&listener), bed.relay(&listener)];
    assert_eq!(bed.gateway.command(&["drain"]).status.code(), Some(0));
    // why do new clients get nothing, since when, until when, and what can be done?
    let began = line(&bed.gateway, "INFO", &["draining for at most 60s"]);
    let words = [
        "as `tidegate drain` or a request at the admin listener asked",
        "`tidegate drain --undo` takes it back",
    ];
    assert_has(&began, &words);
    let status = said(&bed.gateway, &["status"]);
    assert_has(&status, &["phase       draining", words[0], words[1], "ends in "]);
    let drain = bed.gateway.admin_get("/api/status").json()["drain"].clone();
    assert!(drain["seconds_left"].as_u64() <= Some(60) && drain["may_undo"] == true, "{drain}");
    // TidegateDrainingTooLong
    assert_eq!(bed.gateway.metric("tidegate_phase", &[("phase", "draining")]), 1.0);
    assert_eq!(bed.gateway.monitoring_get("/readyz").text(), "draining\n");
    said(&bed.gateway, &["drain", "--undo"]);
    line(&bed.gateway, "INFO", &["drain taken back, serving again"]);
    assert!(bed.gateway.admin_get("/api/status").json()["drain"].is_null());
    let mut client = bed.client();
    client.send_request(&two_step(&bed, 1));
    let mut node = listener.accept();
    node.accept_upgrade();
    assert_eq!(client.read_response().status(), 101, "new clients are served again");
    let (old, old_node) = &mut sessions[0];
    old.send_frame(Frame::text("still here"));
    assert_eq!(old_node.read_frame(), Frame::text("still here"));
    assert_calm(&bed.gateway);
}

#[test]
fn a_drain_by_a_signal_says_so() {
    let mut bed = TestBed::with(|config, _| config.set("gateway.drain", "60s"));
    let listener = bed.node(1);
    let (client, node) = bed.relay(&listener);
    bed.gateway.terminate();
    let began = line(&bed.gateway, "INFO", &["draining for at most 60s"]);
    assert_has(&began, &["by a signal (SIGTERM or SIGINT)"]);
    assert!(!began.contains("--undo"), "{began}");
    assert_has(&said(&bed.gateway, &["status"]), &["phase       draining by a signal", "ends in "]);
    drop((client, node));
    assert!(bed.gateway.wait_for_exit().success());
}

#[test]
fn a_client_of_the_admin_address_without_the_token_is_named() {
    let token = "0123456789abcdef0123456789abcdef";
    let bed = TestBed::with(|config, workspace| {
        config.set("admin.listen", workspace.second_gateway().to_string());
        config.set("admin.token", "env:TOKEN_OF_DRILL");
        config.set_env("TOKEN_OF_DRILL", token);
    });
    let admin = bed.workspace.second_gateway().to_string();
    for _ in 0..5 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["drain", "--admin", &admin]).env("TIDEGATE_ADMIN_TOKEN", SECRET);
        let output = command.output().expect("the program starts");
        assert!(!output.status.success());
        assert_has(&String::from_utf8_lossy(&output.stderr), &["token"]);
    }
    let warned = line(&bed.gateway, "WARN", &["request without the token of [admin] refused"]);
    assert_has(&warned, &["client=127."]);
    assert!(!warned.contains(SECRET) && !bed.gateway.stderr().contains(token));
    assert_eq!(bed.gateway.ready(), Some(200));
}
