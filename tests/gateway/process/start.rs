//! A start that fails: the exit code and the reason that the program prints.

use crate::harness::{Config, Gateway, Workspace};
use std::net::TcpListener;

/// Starts a gateway that cannot serve. Returns its exit code and its output.
#[track_caller]
fn failed_start(workspace: &Workspace, change: impl FnOnce(&mut Config)) -> (Option<i32>, String) {
    let mut config = Config::new(workspace);
    change(&mut config);
    let mut gateway = Gateway::spawn(workspace, &config);
    let code = gateway.wait_for_exit().code();
    (code, gateway.stderr())
}

#[test]
fn an_invalid_configuration_ends_the_start_with_78_and_its_reason() {
    let workspace = Workspace::claim();
    let (code, output) = failed_start(&workspace, |config| config.set("origins.strickt", true));
    assert_eq!(code, Some(78), "{output}");
    assert!(output.contains("strickt") && output.contains("strict"), "{output}");
    let (code, output) = failed_start(&workspace, |config| config.set("answers.subscribe_ttl", "soon"));
    assert_eq!(code, Some(78), "{output}");
    assert!(output.contains("subscribe_ttl") && output.contains("soon"), "{output}");
}

#[test]
fn a_taken_port_ends_the_start_with_71_and_its_address() {
    let workspace = Workspace::claim();
    for address in [workspace.gateway(), workspace.monitoring()] {
        let _taken = TcpListener::bind(address).unwrap();
        let (code, output) = failed_start(&workspace, |_| {});
        assert_eq!(code, Some(71), "{output}");
        assert!(output.contains(&address.to_string()), "{output}");
    }
}
