//! Certificates that change while the gateway serves: by a reload, or by files that change under it.

use crate::harness::certs::{ECDSA, Identity};
use crate::harness::client::{config, trusting};
use crate::harness::connection::Side;
use crate::harness::gateway::write_pair;
use crate::harness::{ClientBuilder, Config, Connection, Frame, TestBed, Workspace, eventually};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use std::os::unix::fs::symlink;
use std::sync::Arc;

/// A client that trusts the certificates of the tests and another one, and has no tickets.
fn trusting_too(identity: &Identity) -> Arc<ClientConfig> {
    let mut roots = crate::harness::certs::roots();
    roots.add(identity.der.clone()).unwrap();
    Arc::new(trusting(rustls::ALL_VERSIONS, roots))
}

/// The certificate that a client without tickets receives.
#[track_caller]
fn shown(builder: &ClientBuilder, other: &Identity) -> CertificateDer<'static> {
    let tls = builder.clone().with(trusting_too(other)).connect_tls_stream();
    assert_eq!(tls.conn.handshake_kind(), Some(HandshakeKind::Full));
    tls.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn a_reload_serves_the_new_certificate_and_old_sessions_go_on() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let renewed = Identity::renewed();
    assert_eq!(shown(&bed.client_builder(), &renewed), ECDSA.der);
    write_pair(&bed.workspace, "ecdsa", &renewed);
    assert_eq!(bed.gateway.reload().0, Some(0));
    assert_eq!(shown(&bed.client_builder(), &renewed), renewed.der, "at once");
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
}

#[test]
fn a_renewed_certificate_is_served_without_a_signal() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    let renewed = Identity::renewed();
    write_pair(&bed.workspace, "ecdsa", &renewed);
    bed.gateway.wait_for_revision(2);
    assert_eq!(shown(&bed.client_builder(), &renewed), renewed.der);
    let status = bed.gateway.admin_get("/api/status").json();
    assert_eq!((&status["reload"]["by"], &status["reload"]["good"]), (&"certificates".into(), &true.into()));
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
    assert_eq!(bed.gateway.revision(), 2, "once");
}

/// certbot points the links `live/NAME/*.pem` to new files below `archive/`, one after the other.
#[test]
fn certbots_links_are_followed_and_half_a_renewal_is_not_served() {
    let bed = TestBed::with(|config, workspace| {
        for (n, identity) in [(1, &*ECDSA), (2, &Identity::renewed())] {
            write_pair(workspace, &format!("archive{n}"), identity);
        }
        let pair = ["chain", "key"].map(|kind| {
            let path = workspace.file(&format!("live.{kind}.pem"));
            symlink(format!("archive1.{kind}.pem"), &path).unwrap();
            (kind.to_owned(), toml::Value::from(path.to_str().unwrap()))
        });
        config.set("tls.certificates", vec![toml::Value::Table(pair.into_iter().collect())]);
    });
    let point = |kind: &str| {
        let next = bed.workspace.file("next");
        symlink(format!("archive2.{kind}.pem"), &next).unwrap();
        std::fs::rename(&next, bed.workspace.file(&format!("live.{kind}.pem"))).unwrap();
    };
    let pem = std::fs::read_to_string(bed.workspace.file("archive2.chain.pem")).unwrap();
    point("chain");
    eventually("a complaint", || bed.gateway.admin_get("/api/status").json()["reload"]["good"] == false);
    // the log is written by a thread of its own
    eventually("the reason", || bed.gateway.stderr().contains("is not the key of that certificate"));
    assert_eq!(shown(&bed.client_builder(), &ECDSA), ECDSA.der, "the old certificate stays");
    assert_eq!(bed.gateway.revision(), 1);
    point("key");
    bed.gateway.wait_for_revision(2);
    let served = bed
        .client_builder()
        .try_connect_tls_stream()
        .expect_err("this client does not trust the new certificate");
    assert!(served.to_string().contains("certificate"), "{served}");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    bed.client_builder().with(Arc::new(trusting(rustls::ALL_VERSIONS, roots))).connect_tls_stream();
    assert_eq!(bed.gateway.admin_get("/api/status").json()["reload"]["good"], true);
}

/// Opens one connection and ends it cleanly. Returns whether it was resumed.
#[track_caller]
fn resumes(builder: &ClientBuilder) -> bool {
    let tls = builder.connect_tls_stream();
    let kind = tls.conn.handshake_kind();
    // once an answer is read, the tickets before it are read too
    assert_eq!(Connection::new(Box::new(tls), Side::Client).get("/nowhere").status(), 404);
    kind == Some(HandshakeKind::Resumed)
}

#[test]
fn tickets_survive_a_renewal_but_not_the_removal_of_a_name() {
    let mut kept: Option<Config> = None;
    let bed = TestBed::with(|config, _| kept = Some(config.clone()));
    let builder = bed.client_builder().with(Arc::new(config(rustls::ALL_VERSIONS)));
    assert!(!resumes(&builder) && resumes(&builder));
    let renewed = Identity::renewed();
    write_pair(&bed.workspace, "ecdsa", &renewed);
    assert_eq!(bed.gateway.reload().0, Some(0));
    assert!(resumes(&builder), "after a reload with another certificate");
    // now the second name is not served any more
    let mut config = kept.expect("the closure was called");
    let pair = write_pair(&bed.workspace, "ecdsa", &ECDSA);
    config.set("tls.certificates", vec![toml::Value::Table(pair)]);
    config.write(&bed.workspace);
    assert_eq!(bed.gateway.reload().0, Some(0));
    assert!(!resumes(&builder), "earlier tickets are rejected");
    assert!(resumes(&builder));
    config.set("tls.min_version", "1.3");
    config.write(&bed.workspace);
    assert_eq!(bed.gateway.reload().0, Some(0));
    assert!(!resumes(&builder), "tickets from before a change of the oldest version are rejected too");
}

/// The script that certbot runs, as `packaging/certbot-deploy-hook.sh` ships it.
#[test]
fn the_shipped_hook_of_certbot_brings_a_renewal_to_the_gateway() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/certbot-deploy-hook.sh");
    let renew = |workspace: &Workspace, name: &str, identity: &Identity| {
        // certbot's: links into a folder that only its owner may enter
        let (live, archive) = (workspace.file("live").join(name), workspace.file("archive").join(name));
        std::fs::create_dir_all(&live).unwrap();
        std::fs::create_dir_all(&archive).unwrap();
        for (file, pem) in [("fullchain.pem", &identity.chain_pem), ("privkey.pem", &identity.key_pem)] {
            std::fs::write(archive.join(file), pem).unwrap();
            let _ = std::fs::remove_file(live.join(file));
            symlink(archive.join(file), live.join(file)).unwrap();
        }
        let group = std::fs::metadata(&live).unwrap().gid();
        let ran = std::process::Command::new(hook)
            .env("RENEWED_LINEAGE", &live)
            .env("TIDEGATE_CERTIFICATES", workspace.file("copies"))
            .env("TIDEGATE_GROUP", group.to_string())
            .env("TIDEGATE_NAMES", "gateway.test more.test")
            .output()
            .expect("the script runs");
        assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    };
    let bed = TestBed::with(|config, workspace| {
        renew(workspace, "gateway.test", &ECDSA);
        let copies = workspace.file("copies").join("gateway.test");
        let pair = [("chain", "fullchain.pem"), ("key", "privkey.pem")];
        let pair = pair.map(|(key, file)| (key.to_owned(), copies.join(file).to_str().unwrap().into()));
        config.set("tls.certificates", vec![toml::Value::Table(pair.into_iter().collect())]);
    });
    let renewed = Identity::renewed();
    assert_eq!(shown(&bed.client_builder(), &renewed), ECDSA.der);
    renew(&bed.workspace, "gateway.test", &renewed);
    bed.gateway.wait_for_revision(2);
    assert_eq!(shown(&bed.client_builder(), &renewed), renewed.der);
    let copies = bed.workspace.file("copies");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&copies), mode(&copies.join("gateway.test"))), (0o750, 0o750));
    let mut files: Vec<_> =
        std::fs::read_dir(copies.join("gateway.test")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2, "nothing is left over: {files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o640));
    renew(&bed.workspace, "other.test", &renewed);
    assert!(!copies.join("other.test").exists(), "it is not among TIDEGATE_NAMES");
}
