//! Certificates by ACME, with a CA that really checks the names: Debian's pebble. Without that these tests are skipped.

use crate::harness::client::ClientBuilder;
use crate::harness::pebble::{Behaviour, Pebble};
use crate::harness::{Config, Gateway, Workspace, eventually, skipped};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

mod accounts;
mod failures;
mod fleet;
mod issue;
mod renewal;
mod settings;

const NAME: &str = "edge.acme.test";
const OTHER: &str = "other.acme.test";

/// A gateway's workspace with a CA in it, or nothing where pebble is not installed.
struct Scene {
    workspace: Workspace,
    pebble: Pebble,
    config: Config,
}

impl Scene {
    /// Puts a usual CA on the addresses of the one in this scene; it knows nothing of that.
    fn restart_ca(&mut self) {
        self.pebble.stop();
        let (gateway, identity) = (self.workspace.ip(1), Arc::clone(&self.pebble.identity));
        self.pebble = Pebble::start_as(&self.workspace, gateway, &Behaviour::default(), identity);
    }
}

/// Begins a test that needs the CA. `None` where it is not installed; a line then says that the test is skipped.
fn scene(test: &str, names: &[&str], behaviour: &Behaviour) -> Option<Scene> {
    if !Pebble::is_installed() {
        skipped(&format!("acme::{test}"), "pebble is not installed");
        return None;
    }
    let workspace = Workspace::claim();
    let pebble = Pebble::start(&workspace, workspace.ip(1), behaviour);
    let config = configuration(&workspace, names);
    Some(Scene { workspace, pebble, config })
}

/// A configuration without any certificate but those by ACME.
fn configuration(workspace: &Workspace, names: &[&str]) -> Config {
    let mut config = Config::new(workspace);
    config.unset("tls.certificates");
    order(&mut config, workspace, names);
    config
}

/// Orders certificates for these names from the CA in this workspace.
fn order(config: &mut Config, workspace: &Workspace, names: &[&str]) {
    order_from(config, workspace, names, &Pebble::directory(workspace), "ops@acme.test");
}

/// The same from the CA with this directory, for this mail address.
fn order_from(config: &mut Config, workspace: &Workspace, names: &[&str], directory: &str, contact: &str) {
    let mut acme = toml::Table::new();
    acme.insert("names".to_owned(), names.iter().map(|name| name.to_string()).collect::<Vec<_>>().into());
    acme.insert("contact".to_owned(), contact.into());
    acme.insert("directory".to_owned(), directory.into());
    acme.insert("ca".to_owned(), workspace.file("ca.pem").to_str().unwrap().into());
    acme.insert("storage".to_owned(), workspace.file("acme").to_str().unwrap().into());
    config.set("tls.acme", acme);
}

/// The folder of the CA below the storage.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.file("acme").join(format!("{}-14000-dir", workspace.ip(5)))
}

fn certificate_file(workspace: &Workspace, name: &str) -> PathBuf {
    folder(workspace).join("certificates").join(format!("{name}.pem"))
}

/// The certificate that a client gets which trusts `trust`, or why it gets none.
fn shown(
    workspace: &Workspace,
    name: &'static str,
    trust: &Arc<ClientConfig>,
) -> Result<CertificateDer<'static>, String> {
    let builder = ClientBuilder::to(workspace.gateway()).sni(name).with(trust.clone());
    let tls = builder.try_connect_tls_stream().map_err(|error| error.to_string())?;
    Ok(tls.conn.peer_certificates().unwrap()[0].clone().into_owned())
}

/// Waits until clients get a certificate of this CA for this name.
#[track_caller]
fn wait_for_certificate(scene: &Scene, name: &'static str) -> CertificateDer<'static> {
    let trust = scene.pebble.client_config();
    let mut certificate = None;
    patiently(&format!("a certificate for {name}"), || {
        certificate = shown(&scene.workspace, name, &trust).ok();
        certificate.is_some()
    });
    certificate.unwrap()
}

/// Like `eventually`, for what takes an order or a renewal: up to 40 s.
#[track_caller]
fn patiently(what: &str, mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(40);
    while !done() {
        assert!(std::time::Instant::now() < end, "timed out: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[track_caller]
fn wait_for_log(gateway: &Gateway, text: &str) {
    patiently(text, || gateway.stderr().contains(text));
}

/// What the status page says of a name: its entry among the certificates. It comes with the first look of the gateway.
#[track_caller]
fn status_of(gateway: &Gateway, name: &str) -> Value {
    let mut found = None;
    eventually(&format!("an entry for {name}"), || {
        let status = gateway.admin_get("/api/status").json();
        let entries = status["certificates"].as_array().expect("a list");
        found = entries.iter().find(|entry| entry["names"] == serde_json::json!([name])).cloned();
        found.is_some()
    });
    found.unwrap()
}

/// Waits until the orders for a name are in this state.
#[track_caller]
fn wait_for_state(gateway: &Gateway, name: &str, state: &str) -> Value {
    patiently(state, || status_of(gateway, name)["acme"]["state"] == state);
    status_of(gateway, name)
}

/// How often the log says so.
fn count(gateway: &Gateway, text: &str) -> usize {
    // the log is written by a thread of its own
    eventually("a log", || gateway.stderr().contains("serving"));
    gateway.stderr().matches(text).count()
}
