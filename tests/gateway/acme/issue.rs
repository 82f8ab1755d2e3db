//! From no certificate at all to one that clients trust.

use super::*;
use crate::harness::certs;
use crate::harness::client::{config as client_config, trusting};
use crate::harness::connection::Side;
use crate::harness::{Connection, TestBed};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_gateway_without_a_certificate_has_one_for_each_name_within_seconds() {
    let Some(scene) = scene("issue", &[NAME, OTHER], &Behaviour::default()) else { return };
    let mut gateway = Gateway::start(&scene.workspace, &scene.config);
    let trust = scene.pebble.client_config();
    if let Err(error) = shown(&scene.workspace, NAME, &trust) {
        assert!(error.contains("UnrecognisedName"), "{error}");
    }
    let (one, other) = (wait_for_certificate(&scene, NAME), wait_for_certificate(&scene, OTHER));
    assert_ne!(one, other, "one certificate for each name");
    // each worker accepts some of them
    for _ in 0..12 {
        let builder = ClientBuilder::to(scene.workspace.gateway()).sni(NAME).with(trust.clone());
        assert_eq!(builder.connect_tls().get("/nowhere").status(), 404);
    }
    let status = wait_for_state(&gateway, NAME, "issued");
    assert_eq!(status["acme"]["error"], Value::Null, "{status}");
    let (from, to, renewal) = (&status["not_before"], &status["not_after"], &status["acme"]["renew_at"]);
    let [from, to, renewal] = [from, to, renewal].map(|seconds| seconds.as_i64().unwrap());
    assert!((from + (to - from) / 3 * 2..from + (to - from) / 10 * 7).contains(&renewal), "{status}");
    let said = String::from_utf8(gateway.command(&["status"]).stdout).unwrap();
    assert!(said.contains(&format!("certificate {NAME}, 89 days left, renewed after ")), "{said}");

    for file in [certificate_file(&scene.workspace, NAME), folder(&scene.workspace).join("account.json")] {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let left = std::fs::read_dir(folder(&scene.workspace).join("challenges")).unwrap().count();
    assert_eq!(left, 0, "challenges are taken back");
    gateway.assert_healthy();
}

#[test]
fn no_key_leaves_the_storage() {
    let Some(mut scene) = scene("keys", &[NAME], &Behaviour::default()) else { return };
    scene.config.set("log.level", "trace");
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    wait_for_certificate(&scene, NAME);
    wait_for_state(&gateway, NAME, "issued");
    let pem = std::fs::read_to_string(certificate_file(&scene.workspace, NAME)).unwrap();
    let key = pem.split_once("-----END PRIVATE KEY").unwrap().0;
    let account = std::fs::read(folder(&scene.workspace).join("account.json")).unwrap();
    let account: Value = serde_json::from_slice(&account).unwrap();
    let account = account["credentials"]["key_pkcs8"].as_str().expect("a key");
    let mut said =
        gateway.stderr() + &gateway.admin_get("/api/status").text() + &gateway.admin_get("/").text();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check", "--effective", "--config"])
        .arg(scene.workspace.file("tidegate.toml"))
        .output()
        .unwrap();
    said += &String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    assert!(said.contains(NAME) && said.contains("certificate issued"), "{said}");
    // in pieces, whatever stands around them; the first line is the same for all keys of this kind
    let pieces = key.lines().skip(2).chain([&account[60..100], &account[100..140]]);
    for piece in pieces {
        assert!(piece.len() >= 20 && !said.contains(piece), "a key is shown");
    }
}

#[test]
fn a_client_gets_the_alert_for_unknown_names_until_there_is_a_certificate() {
    let workspace = Workspace::claim();
    std::fs::write(workspace.file("ca.pem"), &certs::ECDSA.chain_pem).unwrap();
    // no CA listens there
    let gateway = Gateway::start(&workspace, &configuration(&workspace, &[NAME]));
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let trust = Arc::new(client_config(versions));
        for name in [NAME, certs::NAME] {
            let refused = shown(&workspace, name, &trust).expect_err("no certificate");
            assert!(refused.contains("UnrecognisedName"), "{name}: {refused}");
        }
    }
    wait_for_log(&gateway, "clients that ask for this name get the TLS alert unrecognized_name");
    let status = wait_for_state(&gateway, NAME, "failed");
    assert_eq!((&status["not_after"], &status["days_left"]), (&Value::Null, &Value::Null));
    let error = status["acme"]["error"].as_str().unwrap();
    assert!(error.contains("can't be reached (Connection refused"), "{status}");
    wait_for_log(&gateway, "no certificate issued: ");
    let said = String::from_utf8(gateway.command(&["status"]).stdout).unwrap();
    assert!(said.contains(&format!("certificate {NAME}, none yet, ACME: ")), "{said}");
}

#[test]
fn the_protocol_of_challenges_is_agreed_on_for_challenges_only() {
    let workspace = Workspace::claim();
    std::fs::write(workspace.file("ca.pem"), &certs::ECDSA.chain_pem).unwrap();
    let mut config = Config::new(&workspace);
    order(&mut config, &workspace, &[NAME]);
    let mut gateway = Gateway::start(&workspace, &config);
    let offering = |protocols: &[&[u8]]| {
        let mut config = trusting(rustls::ALL_VERSIONS, certs::roots());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        ClientBuilder::to(workspace.gateway()).with(Arc::new(config))
    };
    for protocols in [&[&b"acme-tls/1"[..]][..], &[b"acme-tls/1", b"h2"], &[b"h2", b"acme-tls/1"]] {
        let refused = offering(protocols).try_connect_tls_stream().expect_err("there is no challenge");
        assert!(refused.to_string().contains("UnrecognisedName"), "{refused}");
    }
    let tls = offering(&[b"acme-tls/1", b"http/1.1"]).connect_tls_stream();
    assert_eq!(tls.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(Connection::new(Box::new(tls), Side::Client).get("/nowhere").status(), 404);
    gateway.assert_healthy();

    let without = TestBed::start();
    let mut config = trusting(rustls::ALL_VERSIONS, certs::roots());
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let refused = without.client_builder().with(Arc::new(config)).try_connect_tls_stream();
    assert!(refused.expect_err("ACME is off").to_string().contains("NoApplicationProtocol"));
}

#[test]
fn a_ca_that_rejects_every_second_nonce_is_no_obstacle() {
    let behaviour = Behaviour { rejected_nonces: 50, ..Behaviour::default() };
    let Some(scene) = scene("nonces", &[NAME], &behaviour) else { return };
    let gateway = Gateway::start(&scene.workspace, &scene.config);
    wait_for_certificate(&scene, NAME);
    assert_eq!(count(&gateway, "no certificate issued"), 0, "{}", gateway.stderr());
}

#[test]
fn certificates_in_files_stay_beside_those_by_acme() {
    let Some(mut scene) = scene("files", &[NAME], &Behaviour::default()) else { return };
    scene.config = Config::new(&scene.workspace);
    order(&mut scene.config, &scene.workspace, &[NAME]);
    let _gateway = Gateway::start(&scene.workspace, &scene.config);
    let trust = Arc::new(client_config(rustls::ALL_VERSIONS));
    assert_eq!(shown(&scene.workspace, certs::NAME, &trust).unwrap(), certs::ECDSA.der);
    wait_for_certificate(&scene, NAME);
    assert_eq!(shown(&scene.workspace, certs::NAME, &trust).unwrap(), certs::ECDSA.der);
    let refused =
        shown(&scene.workspace, "unknown.acme.test", &trust).expect_err("the first in the file answers");
    assert!(refused.contains("not valid for name"), "{refused}");
}
