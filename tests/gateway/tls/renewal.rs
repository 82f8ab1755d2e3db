//! Certificates that change while we serve: by a reload, or by files that change under the gateway.

use crate::harness::certs::{ECDSA, Identity};
use crate::harness::client::{config, trusting};
use crate::harness::connection::Side;
use crate::harness::gateway::write_pair;
use crate::harness::{Config, Door, Frame, Link, Town, eventually};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use std::os::unix::fs::symlink;
use std::sync::Arc;

/// A client that trusts what the town trusts and another certificate too, and has no tickets.
fn trusting_too(identity: &Identity) -> Arc<ClientConfig> {
    let mut roots = crate::harness::certs::roots();
    roots.add(identity.der.clone()).unwrap();
    Arc::new(trusting(rustls::ALL_VERSIONS, roots))
}

/// The certificate that a client without tickets is shown.
#[track_caller]
fn shown(door: &Door, other: &Identity) -> CertificateDer<'static> {
    let tls = door.clone().with(trusting_too(other)).enter_tls();
    assert_eq!(tls.conn.handshake_kind(), Some(HandshakeKind::Full));
    tls.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn a_reload_serves_the_new_certificate_and_old_sessions_go_on() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let renewed = Identity::renewed();
    assert_eq!(shown(&town.door(), &renewed), ECDSA.der);
    write_pair(&town.place, "ecdsa", &renewed);
    assert_eq!(town.gateway.reload().0, Some(0));
    assert_eq!(shown(&town.door(), &renewed), renewed.der, "at once");
    client.say(Frame::text("still here"));
    assert_eq!(node.hear(), Frame::text("still here"));
}

#[test]
fn a_renewal_is_seen_without_a_signal() {
    let town = Town::open();
    let origin = town.node(1);
    let (mut client, mut node) = town.relay(&origin);
    let renewed = Identity::renewed();
    write_pair(&town.place, "ecdsa", &renewed);
    town.gateway.wait_for_revision(2);
    assert_eq!(shown(&town.door(), &renewed), renewed.der);
    let status = town.gateway.admin("/api/status").json();
    assert_eq!((&status["reload"]["by"], &status["reload"]["good"]), (&"certificates".into(), &true.into()));
    client.say(Frame::text("still here"));
    assert_eq!(node.hear(), Frame::text("still here"));
    assert_eq!(town.gateway.revision(), 2, "once");
}

/// certbot points `live/NAME/*.pem` to new files below `archive/`, one link after the other.
#[test]
fn links_of_certbot_are_followed_and_halves_are_waited_for() {
    let town = Town::with(|config, place| {
        for (n, identity) in [(1, &*ECDSA), (2, &Identity::renewed())] {
            write_pair(place, &format!("archive{n}"), identity);
        }
        let pair = ["chain", "key"].map(|kind| {
            let link = place.file(&format!("live.{kind}.pem"));
            symlink(format!("archive1.{kind}.pem"), &link).unwrap();
            (kind.to_owned(), toml::Value::from(link.to_str().unwrap()))
        });
        config.set("tls.certificates", vec![toml::Value::Table(pair.into_iter().collect())]);
    });
    let point = |kind: &str| {
        let next = town.place.file("next");
        symlink(format!("archive2.{kind}.pem"), &next).unwrap();
        std::fs::rename(&next, town.place.file(&format!("live.{kind}.pem"))).unwrap();
    };
    let pem = std::fs::read_to_string(town.place.file("archive2.chain.pem")).unwrap();
    point("chain");
    eventually("a complaint", || town.gateway.admin("/api/status").json()["reload"]["good"] == false);
    // the log has a thread of its own
    eventually("the reason", || town.gateway.stderr().contains("is not the key of that certificate"));
    assert_eq!(shown(&town.door(), &ECDSA), ECDSA.der, "the old one stays");
    assert_eq!(town.gateway.revision(), 1);
    point("key");
    town.gateway.wait_for_revision(2);
    let served = town.door().try_enter_tls().expect_err("this client does not know the new one");
    assert!(served.to_string().contains("certificate"), "{served}");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    town.door().with(Arc::new(trusting(rustls::ALL_VERSIONS, roots))).enter_tls();
    assert_eq!(town.gateway.admin("/api/status").json()["reload"]["good"], true);
}

/// One connection, ended in order; whether it was resumed.
#[track_caller]
fn resumes(door: &Door) -> bool {
    let tls = door.enter_tls();
    let kind = tls.conn.handshake_kind();
    // an answer read means that the tickets before it are read too
    assert_eq!(Link::new(Box::new(tls), Side::Client).get("/nowhere").status(), 404);
    kind == Some(HandshakeKind::Resumed)
}

#[test]
fn tickets_survive_a_renewal_but_not_the_end_of_a_name() {
    let mut kept: Option<Config> = None;
    let town = Town::with(|config, _| kept = Some(config.clone()));
    let door = town.door().with(Arc::new(config(rustls::ALL_VERSIONS)));
    assert!(!resumes(&door) && resumes(&door));
    let renewed = Identity::renewed();
    write_pair(&town.place, "ecdsa", &renewed);
    assert_eq!(town.gateway.reload().0, Some(0));
    assert!(resumes(&door), "after a reload with another certificate");
    // now the second name is served no more
    let mut config = kept.expect("it was called");
    let pair = write_pair(&town.place, "ecdsa", &ECDSA);
    config.set("tls.certificates", vec![toml::Value::Table(pair)]);
    config.write(&town.place);
    assert_eq!(town.gateway.reload().0, Some(0));
    assert!(!resumes(&door), "tickets of before are worth nothing");
    assert!(resumes(&door));
    config.set("tls.min_version", "1.3");
    config.write(&town.place);
    assert_eq!(town.gateway.reload().0, Some(0));
    assert!(!resumes(&door), "neither are those of before another oldest version");
}
