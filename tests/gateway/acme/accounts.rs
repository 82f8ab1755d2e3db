//! Accounts that the CA does not take any more.

use super::*;

/// Lets the gateway need a new certificate.
fn lose_certificate(scene: &Scene) {
    std::fs::remove_file(certificate_file(&scene.workspace, NAME)).unwrap();
}

#[test]
fn an_account_that_was_deactivated_is_replaced() {
    let Some(scene) = scene("deactivated", &[NAME], &Behaviour::default()) else { return };
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    let first = wait_for_certificate(&scene, NAME);
    scene.pebble.deactivate(&folder(&scene.workspace).join("account.json"));
    lose_certificate(&scene);
    let trust = scene.pebble.client_config();
    patiently("another certificate", || shown(&scene.workspace, NAME, &trust).is_ok_and(|now| now != first));
    assert_eq!(count(&gateway, "another one is made"), 1);
    assert_eq!(count(&gateway, "ACME account made"), 2);
}

#[test]
fn an_account_that_the_ca_has_forgotten_is_replaced() {
    let Some(mut scene) = scene("forgotten", &[NAME], &Behaviour::default()) else { return };
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    wait_for_certificate(&scene, NAME);
    // another one on the same address, which knows nothing of the first
    scene.restart_ca();
    lose_certificate(&scene);
    wait_for_certificate(&scene, NAME);
    assert_eq!(count(&gateway, "another one is made"), 1);
    assert_eq!(count(&gateway, "no certificate issued"), 0, "{}", gateway.stderr());
}

#[test]
fn a_damaged_account_is_set_aside_and_another_one_is_made() {
    let Some(scene) = scene("damaged_account", &[NAME], &Behaviour::default()) else { return };
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    let first = wait_for_certificate(&scene, NAME);
    let account = folder(&scene.workspace).join("account.json");
    let text = std::fs::read_to_string(&account).unwrap();
    std::fs::write(&account, &text[..text.len() / 2]).unwrap();
    lose_certificate(&scene);
    let trust = scene.pebble.client_config();
    patiently("another certificate", || shown(&scene.workspace, NAME, &trust).is_ok_and(|now| now != first));
    let aside = folder(&scene.workspace).join("account.json.damaged");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), text[..text.len() / 2]);
    assert_eq!(count(&gateway, "it is set aside as"), 1);
}
