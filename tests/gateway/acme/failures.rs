//! What goes wrong between a gateway and its CA, and what is stored between them.

use super::*;
use crate::harness::certs::Identity;

#[test]
fn a_refused_challenge_gives_a_clear_line_and_a_wait_that_outlives_a_restart() {
    let Some(scene) = scene("refused", &[NAME], &Behaviour::default()) else { return };
    // nothing listens there
    scene.pebble.resolve_names_to(scene.workspace.ip(77));
    let mut gateway = Gateway::start(&scene.workspace, &scene.config);
    wait_for_log(
        &gateway,
        "no certificate issued: the CA checked edge.acme.test on port 443 and was not convinced",
    );
    let status = wait_for_state(&gateway, NAME, "failed");
    let acme = &status["acme"];
    assert!(acme["error"].as_str().unwrap().contains("the CA says: "), "{status}");
    let wait = acme["next_attempt"].as_i64().unwrap() - acme["error_at"].as_i64().unwrap();
    assert!((120..=151).contains(&wait), "{status}");
    assert_eq!(count(&gateway, "certificate ordered"), 1);

    gateway.terminate();
    gateway.wait_for_exit();
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    let again = wait_for_state(&gateway, NAME, "failed");
    assert_eq!(again["acme"]["next_attempt"], acme["next_attempt"], "{status}");
    assert_eq!(count(&gateway, "certificate ordered"), 0, "a restart is no attempt");

    // the operator repairs it, and asks for a reload
    scene.pebble.resolve_names_to(scene.workspace.ip(1));
    assert_eq!(gateway.reload().0, Some(0));
    wait_for_certificate(&scene, NAME);
    assert_eq!(wait_for_state(&gateway, NAME, "issued")["acme"]["error"], Value::Null);
}

#[test]
fn a_ca_that_is_gone_is_asked_again_until_it_is_back() {
    let Some(mut scene) = scene("gone", &[NAME], &Behaviour::default()) else { return };
    scene.pebble.stop();
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    wait_for_log(&gateway, "can't be reached (Connection refused");
    scene.restart_ca();
    wait_for_certificate(&scene, NAME);
}

#[test]
fn damaged_files_are_set_aside_and_replaced() {
    const NAMES: [&str; 3] = ["truncated.acme.test", "garbage.acme.test", "key.acme.test"];
    let Some(scene) = scene("damaged", &NAMES, &Behaviour::default()) else { return };
    let mut gateway = Gateway::start(&scene.workspace, &scene.config);
    let before = NAMES.map(|name| wait_for_certificate(&scene, name));
    gateway.terminate();
    gateway.wait_for_exit();
    let damage = |name: &str, change: &dyn Fn(&str) -> String| {
        let file = certificate_file(&scene.workspace, name);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(&text)).unwrap();
    };
    damage(NAMES[0], &|text| text[..text.len() / 2].to_owned());
    damage(NAMES[1], &|_| "hunter2 \0\u{1}".to_owned());
    // the key of another certificate
    damage(NAMES[2], &|text| {
        let chain = text.find("-----BEGIN CERTIFICATE").unwrap();
        format!("{}{}", Identity::renewed().key_pem, &text[chain..])
    });
    std::fs::write(folder(&scene.workspace).join("certificates").join(format!("{}.json", NAMES[0])), "{")
        .unwrap();

    let gateway = Gateway::start(&scene.workspace, &scene.config);
    for (name, before) in NAMES.iter().zip(&before) {
        assert_ne!(wait_for_certificate(&scene, name), *before);
        let aside = certificate_file(&scene.workspace, &format!("{name}.pem.damaged")).with_extension("");
        assert!(aside.is_file(), "{}", aside.display());
    }
    assert_eq!(count(&gateway, "it is set aside as"), 4, "{}", gateway.stderr());
    assert!(!gateway.stderr().contains("hunter2"));

    // and while it serves: what is served goes on being served
    damage(NAMES[1], &|_| String::new());
    let served = wait_for_certificate(&scene, NAMES[1]);
    let trust = scene.pebble.client_config();
    patiently("another certificate", || match shown(&scene.workspace, NAMES[1], &trust) {
        Ok(now) => now != served,
        Err(error) => panic!("a client was refused: {error}"),
    });
}

#[test]
fn a_storage_that_can_not_be_written_asks_nothing_of_the_ca() {
    let Some(scene) = scene("storage", &[NAME], &Behaviour::default()) else { return };
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    wait_for_certificate(&scene, NAME);
    // a file where a folder belongs: root may write everywhere
    let certificates = folder(&scene.workspace).join("certificates");
    std::fs::remove_dir_all(&certificates).unwrap();
    std::fs::write(&certificates, "").unwrap();
    let orders = count(&gateway, "certificate ordered");
    wait_for_log(&gateway, "no certificate can be ordered: ");
    assert_eq!(count(&gateway, "certificate ordered"), orders);
    // what was issued is served on
    wait_for_certificate(&scene, NAME);
    std::fs::remove_file(&certificates).unwrap();
    patiently("a stored certificate", || certificate_file(&scene.workspace, NAME).is_file());
}
