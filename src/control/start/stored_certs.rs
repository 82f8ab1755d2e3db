//! Certificates that the gateway ordered itself: where they stand below `tls.acme.storage`, and how they are read.
//!
//! ```text
//! STORAGE/CA/certificates/NAME.pem   private key and chain in one file, so that a reader never sees half a renewal
//! ```
//!
//! `CA` is made of the URL of the directory: another CA has another account and other certificates. What else is in the
//! folder is known to `control/acme/storage` alone.

use crate::config::{Acme, Certificate};
use crate::control::start::certs::{self, Loaded};
use rustix::fs::{Access, AtFlags, CWD};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The last line of each file: PEM that is cut between two certificates would look whole.
pub(crate) const LAST_LINE: &str = "# end of this file\n";

/// What is stored for a name.
#[derive(Debug)]
pub(crate) enum Stored {
    /// There is no file.
    Missing,
    /// A certificate for the name with its key.
    Good(Loaded),
    /// A file that can't be used, and why. It has to be replaced.
    Damaged(String),
    /// A file that may be good, but can't be read now, and why.
    Unreadable(String),
}

/// The folder of the CA that `acme` names: scheme left out, what no file name should hold as a dash.
pub(crate) fn folder(acme: &Acme) -> PathBuf {
    let url = acme.directory.strip_prefix("https://").unwrap_or(&acme.directory);
    let fits = |byte: char| byte.is_ascii_alphanumeric() || matches!(byte, '.' | '-' | '_');
    let name: String = url.chars().map(|byte| if fits(byte) { byte } else { '-' }).collect();
    acme.storage.join(name)
}

/// The file of a name, as a pair whose chain and key are the same file.
pub(crate) fn pair(acme: &Acme, name: &str) -> Certificate {
    let path = folder(acme).join("certificates").join(format!("{name}.pem"));
    Certificate { chain: path.clone(), key: path }
}

/// Reads what is stored for a name.
pub(crate) fn read(acme: &Acme, name: &str) -> Stored {
    let pair = pair(acme, name);
    let path = pair.chain.display();
    match fs::read(&pair.chain) {
        Ok(text) if text.ends_with(LAST_LINE.as_bytes()) => {}
        Ok(_) => return Stored::Damaged(format!("{path}, which has no end")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Stored::Missing,
        Err(error) => return Stored::Unreadable(format!("{path}, which can't be read ({error})")),
    }
    let loaded = certs::load(&pair).map_err(|mut faults| faults.swap_remove(0).found);
    match loaded {
        Ok(loaded) if loaded.facts.names.iter().any(|found| found == name) => {
            let facts = certs::Facts { by_acme: true, ..loaded.facts };
            Stored::Good(Loaded { facts, ..loaded })
        }
        Ok(_) => Stored::Damaged(format!("{path}, which is for other names")),
        Err(found) => Stored::Damaged(found),
    }
}

/// Why a process of this user could not write into the folder, if it could not. A folder that is missing is one if its nearest
/// parent can't be written. Nothing is created.
pub(crate) fn storage_fault(storage: &Path) -> Option<io::Error> {
    for folder in storage.ancestors() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match fs::metadata(folder) {
            Ok(found) if !found.is_dir() => return Some(io::ErrorKind::NotADirectory.into()),
            Ok(_) => {
                let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
                return rustix::fs::accessat(CWD, folder, access, AtFlags::EACCESS).err().map(Into::into);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Some(error),
        }
    }
    None
}
