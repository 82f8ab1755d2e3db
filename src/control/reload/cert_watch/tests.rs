//! Tests of the watch over certificates, on real files.

use super::*;
use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A folder that is removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-cert-watch-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn pair(&self) -> Certificate {
        Certificate { chain: self.0.join("chain.pem"), key: self.0.join("key.pem") }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A new certificate for the same name, and its key.
fn made() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["a.example".to_owned()]).and_then(|p| p.self_signed(&key));
    (certificate.expect("a certificate").pem(), key.serialize_pem())
}

fn write(pair: &Certificate, (chain, key): &(String, String)) {
    put(&pair.chain, chain);
    put(&pair.key, key);
}

/// Writes a file so that its stamp changes. The clock of a file system advances in steps of some milliseconds, and a file that
/// changes within the same step has the same stamp. Only a test polls so early after a change.
fn put(path: &Path, content: &str) {
    let before = stamp(path);
    let written = || {
        fs::write(path, content).expect("written");
        stamp(path) != before
    };
    while !written() {
        std::thread::yield_now();
    }
}

fn watch(pair: &Certificate) -> CertWatcher {
    let mut config =
        crate::config::read("stream_manager.url = \"http://10.0.0.2\"\ntls.acme.names = [\"b.example\"]")
            .expect("a good configuration");
    config.acme.names.clear();
    config.tls.certificates = vec![pair.clone()];
    let mut watcher = CertWatcher::new(&config, vec![certs::load(pair).expect("a good pair")], Vec::new());
    for _ in 0..2 {
        let changes = watcher.poll();
        assert!(!changes.changed && changes.complaints.is_empty(), "the served pair is no change");
    }
    watcher
}

fn serves(watcher: &CertWatcher, pair: &Certificate) -> bool {
    watcher.served()[0].key.cert == certs::read_chain(&pair.chain).expect("a chain")
}

#[test]
fn a_pair_is_taken_when_it_has_not_changed_between_two_polls() {
    let folder = Folder::new("still");
    let pair = folder.pair();
    write(&pair, &made());
    let mut watcher = watch(&pair);
    write(&pair, &made());
    assert!(!watcher.poll().changed, "it may still be written");
    assert!(watcher.poll().changed);
    assert!(serves(&watcher, &pair));
    assert!(!watcher.poll().changed, "once");
    // the same content again is no change
    put(&pair.chain, &fs::read_to_string(&pair.chain).expect("read"));
    assert!(!watcher.poll().changed && !watcher.poll().changed);
}

#[test]
fn a_new_chain_waits_for_its_key() {
    let folder = Folder::new("later");
    let pair = folder.pair();
    write(&pair, &made());
    let mut watcher = watch(&pair);
    let (old, next) = (fs::read(&pair.chain).expect("read"), made());
    put(&pair.chain, &next.0);
    watcher.poll();
    let changes = watcher.poll();
    assert!(!changes.changed && changes.complaints.len() == 1, "{changes:?}");
    assert!(changes.complaints[0].contains("is not the key of that certificate"), "{changes:?}");
    assert_eq!(watcher.served()[0].key.cert[0].as_ref(), pem(&old).as_ref(), "the old one stays");
    assert!(watcher.poll().complaints.is_empty(), "reported once");
    fs::remove_file(&pair.key).expect("removed");
    watcher.poll();
    assert!(watcher.poll().complaints[0].contains("can't be read"), "another reason is reported too");
    put(&pair.key, &next.1);
    watcher.poll();
    let changes = watcher.poll();
    assert!(changes.changed && changes.recovered && serves(&watcher, &pair), "{changes:?}");
}

fn pem(text: &[u8]) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(text).expect("a certificate")
}

/// certbot replaces `live/name/fullchain.pem`, a symlink; Kubernetes replaces a symlink to the folder, `..data`.
#[test]
fn changed_symlinks_in_the_path_are_seen() {
    let folder = Folder::new("links");
    for name in ["one", "two"] {
        let home = folder.0.join(name);
        fs::create_dir_all(&home).expect("a folder");
        write(&Certificate { chain: home.join("chain.pem"), key: home.join("key.pem") }, &made());
    }
    let point = |link: &str, to: &str| {
        let next = folder.0.join("next");
        symlink(to, &next).expect("a symlink");
        fs::rename(&next, folder.0.join(link)).expect("in its place");
    };
    point("..data", "one");
    point("chain.pem", "..data/chain.pem");
    point("key.pem", "..data/key.pem");
    let pair = folder.pair();
    let mut watcher = watch(&pair);
    point("..data", "two");
    watcher.poll();
    assert!(watcher.poll().changed && serves(&watcher, &pair));
    point("chain.pem", "one/chain.pem");
    point("key.pem", "one/key.pem");
    watcher.poll();
    assert!(watcher.poll().changed && serves(&watcher, &pair));
}

#[test]
fn a_stored_certificate_is_taken_at_once_and_a_damaged_one_is_left_to_its_owner() {
    let folder = Folder::new("stored");
    let mut config =
        crate::config::read("stream_manager.url = \"http://10.0.0.2\"\ntls.acme.names = [\"a.example\"]")
            .expect("a good configuration");
    config.acme.storage.clone_from(&folder.0);
    let mut watcher = CertWatcher::new(&config, Vec::new(), vec![None]);
    assert!(!watcher.poll().changed && watcher.served().is_empty());
    let path = stored_certs::pair(&config.acme, "a.example").chain;
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let stored = |(chain, key): (String, String)| format!("{key}{chain}{}", stored_certs::LAST_LINE);
    put(&path, &stored(made()));
    assert!(watcher.poll().changed, "it is whole whenever it is there");
    assert!(!watcher.poll().changed, "once");
    let first = watcher.served()[0].key.cert.clone();
    put(&path, "garbage");
    let changes = watcher.poll();
    assert!(!changes.changed && changes.complaints.is_empty(), "{changes:?}");
    fs::remove_file(&path).expect("removed");
    assert!(!watcher.poll().changed && watcher.served()[0].key.cert == first, "the old one is served");
    put(&path, &stored(made()));
    assert!(watcher.poll().changed && watcher.served()[0].key.cert != first);
}
