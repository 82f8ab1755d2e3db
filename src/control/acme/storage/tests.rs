//! Tests of the folder: modes, the lock, damaged files, challenges.

use super::*;
use crate::control::acme::renewal::Renewal;
use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::PermissionsExt;

const NAME: &str = "a.example";

/// A folder that is removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-acme-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn storage(&self) -> Storage {
        let text = "stream_manager.url = \"http://10.0.0.2\"\ntls.acme.names = [\"a.example\"]";
        let config = crate::config::read(text).expect("a good configuration");
        Storage::new(&Acme { storage: self.0.clone(), ..config.acme })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn locked(storage: &Storage) -> Lock {
    storage.try_lock().expect("a folder").expect("the lock is free")
}

/// A key and a certificate for a name, PEM.
fn made(name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).and_then(|params| params.self_signed(&key));
    (key.serialize_pem(), certificate.expect("a certificate").pem())
}

#[test]
fn only_the_owner_may_read_what_is_stored() {
    let folder = Folder::new("modes");
    let storage = folder.storage();
    let lock = locked(&storage);
    let (key, chain) = made(NAME);
    storage.write_certificate(NAME, &key, &chain, &lock).expect("a good pair");
    storage.write_record(NAME, &Record::default(), &lock).expect("written");
    storage.put_challenge(NAME, &[7; 32], &lock).expect("written");
    let mut paths = vec![folder.0.clone()];
    let mut files = 0;
    while let Some(path) = paths.pop() {
        let found = fs::metadata(&path).expect("it is there");
        let mode = found.permissions().mode() & 0o777;
        if found.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            paths.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else {
            files += 1;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
    assert_eq!(files, 4, "lock, certificate, record and challenge, and nothing that was left over");
}

#[test]
fn the_lock_belongs_to_one_until_it_is_dropped() {
    let folder = Folder::new("lock");
    let storage = folder.storage();
    let lock = locked(&storage);
    assert!(folder.storage().try_lock().expect("a folder").is_none());
    drop(lock);
    assert!(storage.try_lock().expect("a folder").is_some());
}

#[test]
fn a_certificate_that_does_not_fit_leaves_the_stored_one() {
    let folder = Folder::new("fits");
    let storage = folder.storage();
    let lock = locked(&storage);
    let (key, chain) = made(NAME);
    let good = storage.write_certificate(NAME, &key, &chain, &lock).expect("a good pair");
    assert!(good.facts.by_acme);
    let (other_key, other_chain) = made("b.example");
    for (key, chain) in [(&key, &other_chain), (&other_key, &chain), (&other_key, &other_chain), (&key, &key)]
    {
        let trouble = storage.write_certificate(NAME, key, chain, &lock).expect_err("it does not fit");
        assert_eq!(trouble.kind, Kind::Refused);
        assert!(!trouble.to_string().contains("PRIVATE KEY-----"), "{trouble}");
    }
    let Stored::Good(stored) = storage.read(NAME) else { panic!("the first one is stored") };
    assert_eq!(stored.key.cert, good.key.cert);
}

#[test]
fn a_file_that_is_cut_anywhere_is_damaged_and_set_aside() {
    let folder = Folder::new("cut");
    let storage = folder.storage();
    let lock = locked(&storage);
    let (key, chain) = made(NAME);
    // a chain of two
    storage.write_certificate(NAME, &key, &format!("{chain}{}", made("ca.example").1), &lock).expect("good");
    let path = storage.certificate_path(NAME);
    let whole = fs::read(&path).expect("stored");
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).expect("written");
        assert!(matches!(storage.read(NAME), Stored::Damaged(_)), "cut after {end} bytes");
    }
    storage.set_aside_damaged(NAME, &lock);
    assert!(matches!(storage.read(NAME), Stored::Missing));
    assert!(path.with_extension("pem.damaged").is_file());
    fs::write(&path, &whole).expect("written");
    storage.set_aside_damaged(NAME, &lock);
    assert!(matches!(storage.read(NAME), Stored::Good(_)), "a good one stays");
}

#[test]
fn a_damaged_record_or_account_is_set_aside() {
    let folder = Folder::new("damaged");
    let storage = folder.storage();
    let lock = locked(&storage);
    let mut record = Record::default();
    record.begin(now());
    storage.write_record(NAME, &record, &lock).expect("written");
    assert_eq!(storage.record(NAME), record);
    let long = "x".repeat(usize::try_from(FILE_MAX).expect("a small number") + 1);
    for text in ["", "{", "7", "\0", &long] {
        fs::write(storage.record_path(NAME), text).expect("written");
        assert_eq!(storage.record(NAME), Record::default());
        storage.set_aside_damaged(NAME, &lock);
        assert!(!storage.record_path(NAME).exists());
        fs::write(storage.account_path(), text).expect("written");
        assert_eq!(storage.account::<Renewal>(&lock), None);
        assert!(!storage.account_path().exists());
    }
}

#[test]
fn challenges_are_read_by_others_until_they_are_taken_back_or_old() {
    let folder = Folder::new("challenges");
    let storage = folder.storage();
    assert!(folder.storage().read_challenges().is_empty(), "without a folder");
    let lock = locked(&storage);
    let digest: Digest = std::array::from_fn(|n| u8::try_from(n * 8).expect("below 256"));
    storage.put_challenge(NAME, &digest, &lock).expect("written");
    assert_eq!(folder.storage().read_challenges(), [(NAME.to_owned(), digest)]);
    // what is no challenge is left out
    for (name, text) in [
        ("old.example", format!("{{\"digest\":\"{}\",\"until\":1}}", "00".repeat(32))),
        ("short.example", format!("{{\"digest\":\"00\",\"until\":{}}}", i64::MAX)),
        ("letters.example", format!("{{\"digest\":\"{}\",\"until\":{}}}", "é".repeat(32), i64::MAX)),
        ("UPPER.example", format!("{{\"digest\":\"{}\",\"until\":{}}}", "00".repeat(32), i64::MAX)),
        ("garbage.example", "\0".to_owned()),
    ] {
        fs::write(storage.challenges().join(name), text).expect("written");
    }
    assert_eq!(folder.storage().read_challenges(), [(NAME.to_owned(), digest)]);
    storage.take_back_challenges(&lock);
    assert!(storage.read_challenges().is_empty());
    assert_eq!(fs::read_dir(storage.challenges()).expect("a folder").count(), 0);
}
