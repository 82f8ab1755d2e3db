//! Certificates that change under us: a renewal is seen by looking at the files, without anybody asking for a reload.
//!
//! It looks instead of listening (inotify): a look follows every symlink on the way, so it sees certbot's `live/` and the
//! `..data` of Kubernetes alike; it sees bind mounts, files whose folder was replaced, and NFS, where a change on another
//! machine wakes nobody. It costs two `stat` for each certificate every two seconds.
//!
//! Chain and key are two files and change at different moments. A pair is taken when both have stood still from one look
//! to the next and belong together; until then the old pair is served.

use crate::config::Certificate;
use crate::control::start::certs;
use crate::control::start::certs::Loaded;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The certificates that are served, and what their files looked like.
#[derive(Debug, Default)]
pub(crate) struct CertWatcher {
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    files: Certificate,
    served: Loaded,
    /// What the files looked like when it was read.
    read: Option<PairStamp>,
    last: Option<PairStamp>,
    /// What was said of the present state of the files.
    complaint: Option<String>,
}

/// What a look saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Some certificate is another one than before.
    pub changed: bool,
    /// Pairs that can't be used as they are, said once for each reason.
    pub complaints: Vec<String>,
    /// What was complained about is no more.
    pub recovered: bool,
}

/// What tells two states of the files apart without reading them.
type PairStamp = [Option<FileStamp>; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl CertWatcher {
    /// Follows these pairs. They were read by somebody else, who knows when: so they are read once more.
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

    /// What is to be served, in the order of the configuration.
    pub(crate) fn served(&self) -> Vec<Loaded> {
        self.pairs.iter().map(|pair| pair.served.clone()).collect()
    }

    /// Looks at all files, and reads those that changed and stand still again.
    pub(crate) fn look(&mut self) -> Seen {
        let mut seen = Seen::default();
        for pair in &mut self.pairs {
            pair.look(&mut seen);
        }
        seen
    }
}

impl Pair {
    fn look(&mut self, seen: &mut Seen) {
        let now = look(&self.files);
        let still = self.last.replace(now) == Some(now);
        if !still || self.read == Some(now) {
            return;
        }
        match certs::load(&self.files) {
            // it changed while it was read
            _ if look(&self.files) != now => {}
            Ok(loaded) => {
                seen.changed |= loaded.key.cert != self.served.key.cert;
                seen.recovered |= self.complaint.take().is_some();
                self.served = loaded;
                self.read = Some(now);
            }
            // tried again with every look
            Err(faults) => {
                let text = |fault: &certs::Fault| {
                    format!("{}: expected {}, found {}", fault.entry, fault.right, fault.found)
                };
                let complaint = faults.iter().map(text).collect::<Vec<_>>().join("; ");
                if self.complaint.as_ref() != Some(&complaint) {
                    seen.complaints.push(complaint.clone());
                    self.complaint = Some(complaint);
                }
            }
        }
    }
}

fn look(files: &Certificate) -> PairStamp {
    [&files.chain, &files.key].map(|path| mark(path))
}

fn mark(path: &Path) -> Option<FileStamp> {
    // follows symlinks, all of them
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
