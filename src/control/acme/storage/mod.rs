//! The folder `tls.acme.storage`: what stands in it, with which modes, and what becomes of a damaged file.
//!
//! ```text
//! STORAGE/CA/                        0700, one for each directory URL
//!   lock                             held (flock) by the one process that orders
//!   account.json                     0600, key of the account
//!   certificates/NAME.pem            0600, private key and chain
//!   certificates/NAME.json           attempts, see `record`
//!   challenges/NAME                  digest of a challenge that is under way: every process answers it
//! ```
//!
//! Files are written beside their place, flushed, and renamed, always under the lock. One that can't be read as what it should
//! be is renamed to `….damaged`, which overwrites an earlier one.

use crate::config::Acme;
use crate::control::acme::record::Record;
use crate::control::acme::time::now;
use crate::control::acme::trouble::{Kind, Trouble};
use crate::control::start::certs::{self, Digest, Loaded};
use crate::control::start::stored_certs::{self, LAST_LINE, Stored};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How long a challenge counts that was not taken back, in seconds: longer than any order.
const CHALLENGE_LIFE: i64 = 15 * 60;

/// The most challenges that are read. One order is under way at a time, and each has one.
const CHALLENGES_MAX: usize = 16;

/// Bytes of the largest file that is read, certificates aside.
const FILE_MAX: u64 = 64 * 1024;

/// The folder of one CA.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    acme: Acme,
    folder: PathBuf,
}

/// The right to order, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held until it is closed")] File);

/// A challenge as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Challenge {
    /// In hexadecimal digits.
    digest: String,
    until: i64,
}

impl Storage {
    pub(super) fn new(acme: &Acme) -> Self {
        Self { acme: acme.clone(), folder: stored_certs::folder(acme) }
    }

    /// What is stored for a name.
    pub(super) fn read(&self, name: &str) -> Stored {
        stored_certs::read(&self.acme, name)
    }

    /// The record of a name; an empty one if there is none that can be read.
    pub(super) fn record(&self, name: &str) -> Record {
        read_json(&self.record_path(name)).ok().flatten().unwrap_or_default()
    }

    /// Takes the lock; `None` while another process has it. Makes the folders if they are missing.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>, Trouble> {
        for folder in [self.folder.join("certificates"), self.folder.join("challenges")] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(|error| Trouble::storage(&folder, "made", &error))?;
        }
        let path = self.folder.join("lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(|error| Trouble::storage(&path, "opened", &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Trouble::storage(&path, "locked", &error)),
        }
    }

    /// Sets aside what is damaged for a name, so that it can be looked at.
    pub(super) fn set_aside_damaged(&self, name: &str, _: &Lock) {
        let certificate = self.certificate_path(name);
        if let Stored::Damaged(found) = self.read(name) {
            set_aside(&certificate, &found);
        }
        let record = self.record_path(name);
        if let Err(found) = read_json::<Record>(&record) {
            set_aside(&record, &found);
        }
    }

    pub(super) fn write_record(&self, name: &str, record: &Record, _: &Lock) -> Result<(), Trouble> {
        let path = self.record_path(name);
        write_json(&path, record)
    }

    /// Stores a private key and its chain, both PEM, if they belong together and are for this name; else the stored ones stay.
    pub(super) fn write_certificate(
        &self,
        name: &str,
        key: &str,
        chain: &str,
        _: &Lock,
    ) -> Result<Loaded, Trouble> {
        let path = self.certificate_path(name);
        let next = next_to(&path);
        let text = format!("{}\n{}\n{LAST_LINE}", key.trim_end(), chain.trim());
        write_file(&next, text.as_bytes()).map_err(|error| Trouble::storage(&next, "written", &error))?;
        let pair = crate::config::Certificate { chain: next.clone(), key: next.clone() };
        let unusable = match certs::load(&pair) {
            Ok(loaded) if loaded.facts.names.iter().any(|found| found == name) => None,
            Ok(loaded) => Some(format!("it is for {}", loaded.facts.names.join(", "))),
            Err(mut faults) => Some(faults.swap_remove(0).found),
        };
        if let Some(reason) = unusable {
            let _ = fs::remove_file(&next);
            let text = format!("the CA issued a certificate that can't be used: {reason}");
            return Err(Trouble::new(Kind::Refused, text));
        }
        put(&next, &path).map_err(|error| Trouble::storage(&path, "written", &error))?;
        match self.read(name) {
            Stored::Good(loaded) => Ok(loaded),
            _ => Err(Trouble::new(Kind::Storage, format!("{} changed while it was written", path.display()))),
        }
    }

    /// The stored account; `None` if there is none. A damaged one is set aside.
    pub(super) fn account<T: DeserializeOwned>(&self, _: &Lock) -> Option<T> {
        let path = self.account_path();
        read_json(&path).unwrap_or_else(|found| {
            set_aside(&path, &found);
            None
        })
    }

    pub(super) fn write_account(&self, account: &impl Serialize, _: &Lock) -> Result<(), Trouble> {
        write_json(&self.account_path(), account)
    }

    /// Lets every process that shares the folder answer a challenge.
    pub(super) fn put_challenge(&self, name: &str, digest: &Digest, _: &Lock) -> Result<(), Trouble> {
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        write_json(&self.challenges().join(name), &Challenge { digest, until: now() + CHALLENGE_LIFE })
    }

    /// Takes back the challenge of a name, and those that a process left which ended in the middle of an order.
    pub(super) fn take_back_challenges(&self, _: &Lock) {
        let Ok(entries) = fs::read_dir(self.challenges()) else { return };
        // under the lock no other order is under way
        entries.flatten().for_each(|entry| drop(fs::remove_file(entry.path())));
    }

    /// The challenges that are under way, of this process and of others.
    pub(super) fn read_challenges(&self) -> Vec<(String, Digest)> {
        let Ok(entries) = fs::read_dir(self.challenges()) else { return Vec::new() };
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
            if !name.bytes().all(fits) || name.starts_with('.') {
                return None;
            }
            let challenge: Challenge = read_json(&entry.path()).ok()??;
            (challenge.until > now()).then_some((name, digest(&challenge.digest)?))
        };
        entries.flatten().take(4 * CHALLENGES_MAX).filter_map(read).take(CHALLENGES_MAX).collect()
    }

    fn challenges(&self) -> PathBuf {
        self.folder.join("challenges")
    }

    fn certificate_path(&self, name: &str) -> PathBuf {
        stored_certs::pair(&self.acme, name).chain
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.folder.join("certificates").join(format!("{name}.json"))
    }

    fn account_path(&self) -> PathBuf {
        self.folder.join("account.json")
    }
}

/// The 32 bytes of 64 hexadecimal digits.
fn digest(text: &str) -> Option<Digest> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let mut digest = Digest::default();
    for (byte, digits) in digest.iter_mut().zip(bytes.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// Reads a file of JSON; `None` if there is no such file. The error says what is wrong and never quotes the file.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let size = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}, which can't be read ({error})", path.display())),
    };
    if size > FILE_MAX {
        return Err(format!("{}, which has {size} bytes", path.display()));
    }
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| format!("{}, which is damaged at line {}", path.display(), error.line())),
        Err(error) => Err(format!("{}, which can't be read ({error})", path.display())),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Trouble> {
    let written = serde_json::to_vec_pretty(value).map_err(io::Error::from).and_then(|text| {
        let next = next_to(path);
        write_file(&next, &text)?;
        put(&next, path)
    });
    written.map_err(|error| Trouble::storage(path, "written", &error))
}

/// Where the next content of a file is written. Only the process that has the lock writes, so one name is enough.
fn next_to(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.next"))
}

/// Writes a new file that only its owner may read, down to the disk.
fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Puts a written file in the place of another, so that a reader sees the one or the other, also after a loss of power.
fn put(next: &Path, path: &Path) -> io::Result<()> {
    fs::rename(next, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Renames a damaged file, and says so. `found` is the file and what is wrong with it.
fn set_aside(path: &Path, found: &str) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    match fs::rename(path, &aside) {
        Ok(()) => tracing::warn!("ACME storage: {found}; it is set aside as {}", Path::new(&aside).display()),
        Err(error) => tracing::warn!("ACME storage: {found}; it can't be set aside ({error})"),
    }
}

#[cfg(test)]
mod tests;
