//! The watch over certificate files: it sees a renewal without a request to reload.
//!
//! It polls the files instead of waiting for inotify(7). A poll follows every symlink on the way, so it sees the links of
//! certbot's `live/` and of Kubernetes' `..data`. It also sees bind mounts, files whose folder was replaced, and NFS, where a
//! change on another machine causes no event. It costs two `stat` calls for each certificate every two seconds.
//!
//! Chain and key are two files and change at different moments. A pair is taken when neither file has changed from one poll to
//! the next and both belong together; until then the old pair is served.
//!
//! A certificate that the gateway ordered itself, or that another gateway put into a shared folder, comes the same way: as one
//! file that replaces another, so it is taken at once. While it is missing or damaged the old one is served, and
//! `control/acme` says so.

use crate::config::{Acme, Certificate, Config};
use crate::control::start::certs::{self, Loaded};
use crate::control::start::secret;
use crate::control::start::stored_certs::{self, Stored};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The certificates that are served, with stamps of their files.
#[derive(Debug)]
pub(crate) struct CertWatcher {
    pairs: Vec<Pair>,
    /// Where certificates by ACME are stored.
    acme: Acme,
}

#[derive(Debug)]
struct Pair {
    files: Certificate,
    /// The name that it is stored for, if it is one by ACME.
    name: Option<String>,
    /// `None` for a certificate by ACME that was not issued yet.
    served: Option<Loaded>,
    /// The stamps of the files when `served` was read; `None` if that is not known.
    read: Option<PairStamp>,
    /// The stamps at the last poll.
    last: Option<PairStamp>,
    /// What was reported about the files as they are now.
    complaint: Option<String>,
}

/// What a poll has seen.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// At least one certificate is another one than before.
    pub changed: bool,
    /// One text for each pair that can't be used as it is, reported once for each reason.
    pub complaints: Vec<String>,
    /// A pair that could not be used can be used again.
    pub recovered: bool,
}

/// The stamps of chain and key; `None` for a file that does not exist. A changed file has another stamp.
type PairStamp = [Option<FileStamp>; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    /// Device and inode.
    file: (u64, u64),
    size: u64,
    /// Seconds and nanoseconds, as the next field.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl CertWatcher {
    /// Watches the files of the certificates of `config`, of which `served` and, for names by ACME, `stored` was read. When they
    /// were read is not known, so the first polls read them once more.
    pub(crate) fn new(config: &Config, served: Vec<Loaded>, stored: Vec<Option<Loaded>>) -> Self {
        let pair =
            |files, name, served| Pair { files, name, served, read: None, last: None, complaint: None };
        let in_files = config.tls.certificates.iter().zip(served);
        let in_files = in_files.map(|(files, served)| pair(files.clone(), None, Some(served)));
        let by_acme = config.acme.names.iter().zip(stored);
        let by_acme = by_acme
            .map(|(name, stored)| pair(stored_certs::pair(&config.acme, name), Some(name.clone()), stored));
        let acme = config.acme.clone();
        Self { pairs: in_files.chain(by_acme).collect(), acme }
    }

    /// The certificates to serve, in the order of the configuration.
    pub(crate) fn served(&self) -> Vec<Loaded> {
        self.pairs.iter().filter_map(|pair| pair.served.clone()).collect()
    }

    /// The certificates by ACME among them, by name.
    pub(crate) fn by_acme(&self) -> HashMap<String, Loaded> {
        let by_name = |pair: &Pair| Some((pair.name.clone()?, pair.served.clone()?));
        self.pairs.iter().filter_map(by_name).collect()
    }

    /// Looks at all files, and reads the pairs that changed before the last poll and not since.
    pub(crate) fn poll(&mut self) -> Changes {
        let mut changes = Changes::default();
        for pair in &mut self.pairs {
            match pair.name.clone() {
                Some(name) => pair.poll_stored(&self.acme, &name, &mut changes),
                None => pair.poll(&mut changes),
            }
        }
        changes
    }
}

impl Pair {
    fn poll(&mut self, changes: &mut Changes) {
        let now = stamps(&self.files);
        let unchanged = self.last.replace(now) == Some(now);
        if !unchanged || self.read == Some(now) {
            return;
        }
        match certs::load(&self.files) {
            // a file changed while it was read
            _ if stamps(&self.files) != now => {}
            Ok(loaded) => {
                changes.recovered |= self.complaint.take().is_some();
                self.take(loaded, now, changes);
            }
            // read again at every poll
            Err(faults) => {
                let text = |fault: &certs::Fault| {
                    format!("{}: expected {}, found {}", fault.entry, fault.expected, fault.found)
                };
                let complaint = faults.iter().map(text).collect::<Vec<_>>().join("; ");
                if self.complaint.as_ref() != Some(&complaint) {
                    changes.complaints.push(complaint.clone());
                    self.complaint = Some(complaint);
                }
            }
        }
    }

    /// The same for a certificate by ACME: its file is whole whenever it is there.
    fn poll_stored(&mut self, acme: &Acme, name: &str, changes: &mut Changes) {
        let now = stamps(&self.files);
        if self.read != Some(now)
            && let Stored::Good(loaded) = stored_certs::read(acme, name)
            && stamps(&self.files) == now
        {
            self.take(loaded, now, changes);
        }
    }

    fn take(&mut self, loaded: Loaded, read: PairStamp, changes: &mut Changes) {
        changes.changed |= self.served.as_ref().is_none_or(|served| loaded.key.cert != served.key.cert);
        self.served = Some(loaded);
        self.read = Some(read);
    }
}

fn stamps(files: &Certificate) -> PairStamp {
    // a key in an environment variable does not change
    [stamp(&files.chain), secret::key_file(&files.key).and_then(|path| stamp(&path))]
}

fn stamp(path: &Path) -> Option<FileStamp> {
    // `metadata` follows all symlinks
    let file = fs::metadata(path).ok()?;
    Some(FileStamp {
        file: (file.dev(), file.ino()),
        size: file.size(),
        modified: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests;
