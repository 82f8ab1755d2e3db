//! `[tls.acme]` as `check` judges it, and as a reload changes it.

use super::*;
use crate::harness::certs;
use std::process::{Command, Output};

fn check(workspace: &Workspace, config: &Config) -> (Option<i32>, String) {
    config.write(workspace);
    let file = workspace.file("tidegate.toml");
    let command = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["check", "--config"]).arg(file).output();
    let Output { status, stdout, stderr } = command.expect("the program starts");
    (status.code(), String::from_utf8([stdout, stderr].concat()).expect("UTF-8"))
}

#[test]
fn check_judges_names_authorities_and_storage() {
    let workspace = Workspace::claim();
    std::fs::write(workspace.file("ca.pem"), &certs::ECDSA.chain_pem).unwrap();
    let (code, said) = check(&workspace, &configuration(&workspace, &[NAME]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(": good: ") && said.contains(NAME), "{said}");
    assert!(!workspace.file("acme").exists(), "a check leaves nothing behind");

    let (code, said) = check(&workspace, &configuration(&workspace, &["*.acme.test"]));
    assert!(code == Some(78) && said.contains("tls.acme.names: expected names without a wildcard"), "{said}");

    let config = configuration(&workspace, &[NAME]);
    std::fs::write(workspace.file("acme"), "a file").unwrap();
    std::fs::write(workspace.file("ca.pem"), "no PEM").unwrap();
    let (code, said) = check(&workspace, &config);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("tls.acme.storage: expected a folder that tidegate's user may write"), "{said}");
    assert!(said.contains("tls.acme.ca: expected a PEM file with a certificate"), "{said}");
}

#[test]
fn a_reload_adds_and_removes_names() {
    let Some(mut scene) = scene("reload", &[NAME], &Behaviour::default()) else { return };
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    let first = wait_for_certificate(&scene, NAME);
    let directory = Pebble::directory(&scene.workspace);
    order_from(&mut scene.config, &scene.workspace, &[NAME, OTHER], &directory, "new@acme.test");
    scene.config.write(&scene.workspace);
    assert_eq!(gateway.reload().0, Some(0));
    wait_for_certificate(&scene, OTHER);
    let account = std::fs::read(folder(&scene.workspace).join("account.json")).unwrap();
    let account: Value = serde_json::from_slice(&account).unwrap();
    assert_eq!(account["contact"], "new@acme.test");
    assert_eq!(count(&gateway, "tls.acme.contact"), 0, "the CA took it: {}", gateway.stderr());
    let trust = scene.pebble.client_config();
    assert_eq!(shown(&scene.workspace, NAME, &trust).unwrap(), first);
    order(&mut scene.config, &scene.workspace, &[OTHER]);
    scene.config.write(&scene.workspace);
    assert_eq!(gateway.reload().0, Some(0));
    assert!(shown(&scene.workspace, NAME, &trust).is_err(), "the other name's certificate is no good for it");
    assert!(certificate_file(&scene.workspace, NAME).is_file(), "what was issued stays for a change of mind");
    // and off
    let mut off = Config::new(&scene.workspace);
    off.set("gateway.drain", "5s");
    off.write(&scene.workspace);
    assert_eq!(gateway.reload().0, Some(0));
    let status = gateway.admin_get("/api/status").json();
    assert_eq!(status["certificates"][0]["acme"], Value::Null, "{status}");
    patiently("no more names", || {
        gateway.admin_get("/api/status").json()["certificates"].as_array().unwrap().len() == 2
    });
}

#[test]
fn another_ca_or_a_damaged_file_takes_no_certificate_away() {
    let Some(mut scene) = scene("other_ca", &[NAME], &Behaviour::default()) else { return };
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    let first = wait_for_certificate(&scene, NAME);
    wait_for_log(&gateway, "changed certificates are served");
    let trust = scene.pebble.client_config();
    scene.pebble.stop();
    // nothing listens there, and nothing is stored of it
    let gone = format!("https://{}:14000/dir", scene.workspace.ip(78));
    order_from(&mut scene.config, &scene.workspace, &[NAME], &gone, "");
    scene.config.write(&scene.workspace);
    assert_eq!(gateway.reload().0, Some(0));
    assert_eq!(shown(&scene.workspace, NAME, &trust).unwrap(), first);
    wait_for_state(&gateway, NAME, "failed");
    // back, but the file is garbage
    std::fs::write(certificate_file(&scene.workspace, NAME), "garbage").unwrap();
    order(&mut scene.config, &scene.workspace, &[NAME]);
    scene.config.write(&scene.workspace);
    assert_eq!(gateway.reload().0, Some(0));
    assert_eq!(shown(&scene.workspace, NAME, &trust).unwrap(), first);
    scene.restart_ca();
    wait_for_certificate(&scene, NAME);
}
