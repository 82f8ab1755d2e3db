//! Tests of following certificates, on real files.

use super::*;
use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-follow-{name}-{}", std::process::id()));
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

/// Writes a file so that a look sees it: the clock of files goes in steps of some milliseconds, and what changes within
/// one after it was read looks the same. Nobody reads so early but a test.
fn put(path: &Path, content: &str) {
    let before = mark(path);
    let written = || {
        fs::write(path, content).expect("written");
        mark(path) != before
    };
    while !written() {
        std::thread::yield_now();
    }
}

fn follow(pair: &Certificate) -> CertWatcher {
    let mut follow =
        CertWatcher::new(std::slice::from_ref(pair), vec![certs::load(pair).expect("a good pair")]);
    for _ in 0..2 {
        let seen = follow.look();
        assert!(!seen.changed && seen.complaints.is_empty(), "what is served already is no change");
    }
    follow
}

fn serves(follow: &CertWatcher, pair: &Certificate) -> bool {
    follow.served()[0].key.cert == certs::read_chain(&pair.chain).expect("a chain")
}

#[test]
fn a_pair_is_taken_when_it_has_stood_still() {
    let folder = Folder::new("still");
    let pair = folder.pair();
    write(&pair, &made());
    let mut follow = follow(&pair);
    write(&pair, &made());
    assert!(!follow.look().changed, "somebody may still be writing");
    assert!(follow.look().changed);
    assert!(serves(&follow, &pair));
    assert!(!follow.look().changed, "once");
    // the same content again is no change
    put(&pair.chain, &fs::read_to_string(&pair.chain).expect("read"));
    assert!(!follow.look().changed && !follow.look().changed);
}

#[test]
fn a_key_that_comes_later_is_waited_for() {
    let folder = Folder::new("later");
    let pair = folder.pair();
    write(&pair, &made());
    let mut follow = follow(&pair);
    let (old, next) = (fs::read(&pair.chain).expect("read"), made());
    put(&pair.chain, &next.0);
    follow.look();
    let seen = follow.look();
    assert!(!seen.changed && seen.complaints.len() == 1, "{seen:?}");
    assert!(seen.complaints[0].contains("is not the key of that certificate"), "{seen:?}");
    assert_eq!(follow.served()[0].key.cert[0].as_ref(), pem(&old).as_ref(), "the old one stays");
    assert!(follow.look().complaints.is_empty(), "said once");
    fs::remove_file(&pair.key).expect("removed");
    follow.look();
    assert!(follow.look().complaints[0].contains("can't be read"), "another reason is said too");
    put(&pair.key, &next.1);
    follow.look();
    let seen = follow.look();
    assert!(seen.changed && seen.recovered && serves(&follow, &pair), "{seen:?}");
}

fn pem(text: &[u8]) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(text).expect("a certificate")
}

/// certbot replaces `live/name/fullchain.pem`, a symlink; Kubernetes replaces a symlink to the folder, `..data`.
#[test]
fn symlinks_on_the_way_are_followed() {
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
    let mut follow = follow(&pair);
    point("..data", "two");
    follow.look();
    assert!(follow.look().changed && serves(&follow, &pair));
    point("chain.pem", "one/chain.pem");
    point("key.pem", "one/key.pem");
    follow.look();
    assert!(follow.look().changed && serves(&follow, &pair));
}
