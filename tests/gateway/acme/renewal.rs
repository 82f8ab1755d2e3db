//! Certificates that are renewed while clients use them, and stored ones after a restart.

use super::*;
use std::time::{Duration, Instant};

#[test]
fn a_renewal_under_traffic_fails_no_handshake() {
    let behaviour = Behaviour { validity: 15, ..Behaviour::default() };
    let Some(scene) = scene("renewal", &[NAME], &behaviour) else { return };
    let mut gateway = Gateway::start(&scene.workspace, &scene.config);
    let first = wait_for_certificate(&scene, NAME);
    let trust = scene.pebble.client_config();
    // no tickets: each client sees a certificate
    let builder = || ClientBuilder::to(scene.workspace.gateway()).sni(NAME).with(trust.clone());
    let mut kept = builder().connect_tls();
    assert_eq!(kept.get("/nowhere").status(), 404);
    let (mut handshakes, mut renewed, end) = (0, false, Instant::now() + Duration::from_secs(30));
    while !renewed {
        assert!(Instant::now() < end, "not renewed:\n{}", gateway.stderr());
        let now =
            shown(&scene.workspace, NAME, &trust).unwrap_or_else(|error| panic!("{handshakes}: {error}"));
        handshakes += 1;
        renewed = now != first;
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(handshakes > 100, "{handshakes}");
    assert_eq!(kept.get("/nowhere").status(), 404, "an open connection goes on");
    assert_eq!(count(&gateway, "not renewed"), 0, "{}", gateway.stderr());
    gateway.assert_healthy();
}

#[test]
fn a_refused_renewal_leaves_the_old_certificate_in_use() {
    let behaviour = Behaviour { validity: 24, ..Behaviour::default() };
    let Some(scene) = scene("old_one_stays", &[NAME], &behaviour) else { return };
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    let first = wait_for_certificate(&scene, NAME);
    // nothing listens there
    scene.pebble.resolve_names_to(scene.workspace.ip(77));
    wait_for_log(&gateway, "certificate not renewed, the served one is valid until ");
    let trust = scene.pebble.client_config();
    assert_eq!(shown(&scene.workspace, NAME, &trust).unwrap(), first);
    let status = wait_for_state(&gateway, NAME, "failed");
    assert_eq!(status["days_left"], 0, "{status}");
    assert!(status["acme"]["error"].as_str().unwrap().contains("was not convinced"), "{status}");
}

#[test]
fn a_restart_serves_what_is_stored_and_does_not_ask_the_ca() {
    let Some(mut scene) = scene("restart", &[NAME], &Behaviour::default()) else { return };
    let trust = scene.pebble.client_config();
    let mut gateway = Gateway::start(&scene.workspace, &scene.config);
    let first = wait_for_certificate(&scene, NAME);
    wait_for_log(&gateway, "changed certificates are served");
    gateway.terminate();
    gateway.wait_for_exit();
    scene.pebble.stop();
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    assert_eq!(shown(&scene.workspace, NAME, &trust).unwrap(), first, "from the first connection on");
    // longer than one round
    std::thread::sleep(Duration::from_secs(5));
    wait_for_state(&gateway, NAME, "issued");
    for asked in ["certificate ordered", "can't be reached", "no certificate"] {
        assert_eq!(count(&gateway, asked), 0, "{asked}: {}", gateway.stderr());
    }
}
