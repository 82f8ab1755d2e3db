//! The watch over certificate files: it sees a renewal without a request to reload.
//!
//! It polls the files instead of waiting for inotify(7). A poll follows every symlink on the way, so it sees the links of
//! certbot's `live/` and of Kubernetes' `..data`. It also sees bind mounts, files whose folder was replaced, and NFS, where a
//! change on another machine causes no event. It costs two `stat` calls for each certificate every two seconds.
//!
//! Chain and key are two files and change at different moments. A pair is taken when neither file has changed from one poll to
//! the next and both belong together; until then the old pair is served.

use crate::config::Certificate;
use crate::control::start::certs::{self, Loaded};
use crate::control::start::secret;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The certificates that are served, with stamps of their files.
#[derive(Debug, Default)]
pub(crate) struct CertWatcher {
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    files: Certificate,
    served: Loaded,
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
    /// Watches the files of these certificates, of which `served` was read. When they were read is not known, so the first polls read
    /// them once more.
    pub(crate) fn new(certificates: &[Certificate], served: Vec<Loaded>) -> Self {
        let pair = |(files, served): (&Certificate, Loaded)| Pair {
            files: files.clone(),
            served,
            read: None,
            last: None,
            complaint: None,
        };
        Self { pairs: certificates.iter().zip(served).map(pair).collect() }
    }

    /// The certificates to serve, in the order of the configuration.
    pub(crate) fn served(&self) -> Vec<Loaded> {
        self.pairs.iter().map(|pair| pair.served.clone()).collect()
    }

    /// Looks at all files, and reads the pairs that changed before the last poll and not since.
    pub(crate) fn poll(&mut self) -> Changes {
        let mut changes = Changes::default();
        for pair in &mut self.pairs {
            pair.poll(&mut changes);
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
                changes.changed |= loaded.key.cert != self.served.key.cert;
                changes.recovered |= self.complaint.take().is_some();
                self.served = loaded;
                self.read = Some(now);
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
