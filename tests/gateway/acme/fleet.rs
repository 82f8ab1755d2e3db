//! Several processes with one storage: gateways of a fleet, and the two of an upgrade.

use super::*;
use crate::harness::takeover::Takeover;
use crate::harness::{HttpPeer, TestBed};

/// A second gateway in a workspace of its own, with the storage and the CA of the first scene.
fn neighbour(scene: &Scene, workspace: &Workspace, names: &[&str]) -> Config {
    let mut config = Config::new(workspace);
    config.unset("tls.certificates");
    order(&mut config, &scene.workspace, names);
    config
}

#[test]
fn gateways_that_share_a_storage_order_once() {
    let Some(scene) = scene("share", &[NAME], &Behaviour::default()) else { return };
    let other = Workspace::claim();
    let config = neighbour(&scene, &other, &[NAME]);
    let one = Gateway::spawn(&scene.workspace, &scene.config);
    let two = Gateway::spawn(&other, &config);
    let (one, two) = (one.wait_until_ready(), two.wait_until_ready());
    let served = wait_for_certificate(&scene, NAME);
    let trust = scene.pebble.client_config();
    patiently("the same certificate", || shown(&other, NAME, &trust).is_ok_and(|shown| shown == served));
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(count(&one, "certificate issued") + count(&two, "certificate issued"), 1);
    assert_eq!(count(&one, "ACME account made") + count(&two, "ACME account made"), 1);
    for gateway in [&one, &two] {
        wait_for_state(gateway, NAME, "issued");
    }
}

/// All names lead to the first gateway; the second one orders.
#[test]
fn any_gateway_answers_the_challenge_of_another() {
    let Some(scene) = scene("any", &[NAME], &Behaviour::default()) else { return };
    let _one = Gateway::start(&scene.workspace, &scene.config);
    wait_for_certificate(&scene, NAME);
    let other = Workspace::claim();
    let two = Gateway::start(&other, &neighbour(&scene, &other, &[OTHER]));
    let trust = scene.pebble.client_config();
    patiently("a certificate", || shown(&other, OTHER, &trust).is_ok());
    assert_eq!(count(&two, "certificate issued"), 1);
    assert_eq!(count(&two, "no certificate issued"), 0);
}

#[test]
fn an_upgrade_in_the_middle_of_an_order_ends_with_a_certificate() {
    let Some(Scene { workspace, pebble, config }) =
        scene("upgrade", &[NAME], &Behaviour { slow: true, ..Behaviour::default() })
    else {
        return;
    };
    let trust = pebble.client_config();
    let manager = HttpPeer::start(workspace.manager());
    let gateway = Gateway::start(&workspace, &config);
    let takeover = Takeover::from_parts(TestBed { workspace, manager, gateway }, config);
    takeover.wait_for_log("certificate ordered");
    takeover.upgrade();
    let workspace = &takeover.bed.workspace;
    patiently("a certificate", || shown(workspace, NAME, &trust).is_ok());
    let served = shown(workspace, NAME, &trust).unwrap();
    // the next process has it from the beginning
    takeover.upgrade();
    assert_eq!(shown(workspace, NAME, &trust).unwrap(), served);
    assert_eq!(takeover.bed.gateway.stderr().matches("certificate issued").count(), 1);
}
