//! How this process was started, so that a newer binary in the same place can be started the same way.
//!
//! It knows nothing of what the arguments mean.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the kernel puts behind the path of a binary that was replaced or removed.
const REPLACED: &[u8] = b" (deleted)";

/// A program with its arguments.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// What stands in `ps`.
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// This very one. To be asked at the start: once the binary is replaced, the kernel does not know the way any more.
    pub fn as_started() -> io::Result<Self> {
        let mut words = std::env::args_os();
        let name = words.next().unwrap_or_default();
        let path = place(Path::new(&name), std::env::current_exe()?);
        Ok(Self { path, name, arguments: words.collect() })
    }

    /// Where the binary stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same command line again.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments);
        command
    }

    #[cfg(test)]
    pub(crate) fn of(path: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(OsString::from).collect();
        Self { path: path.into(), name: path.into(), arguments }
    }
}

/// The path that was typed, if it is one and leads here: behind a symlink to the current version the next one appears
/// under that name, and not under the one that the link stood for when we started.
fn place(name: &Path, running: PathBuf) -> PathBuf {
    let running = match running.as_os_str().as_bytes().strip_suffix(REPLACED) {
        Some(before) => PathBuf::from(OsString::from_vec(before.to_vec())),
        None => running,
    };
    // a bare name was looked up in PATH by somebody whose PATH we don't know
    let typed = name.as_os_str().as_bytes().contains(&b'/').then(|| std::path::absolute(name).ok()).flatten();
    typed
        .filter(|typed| {
            typed.canonicalize().is_ok_and(|same| running.canonicalize().is_ok_and(|r| r == same))
        })
        .unwrap_or(running)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_to_the_current_version_is_kept_as_a_link() {
        let folder = std::env::temp_dir().join(format!("tidegate-program-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (real, link, other) = (folder.join("real"), folder.join("link"), folder.join("other"));
        fs::write(&real, "").unwrap();
        fs::write(&other, "").unwrap();
        symlink(&real, &link).unwrap();
        assert_eq!(place(&link, real.clone()), link);
        assert_eq!(place(&other, real.clone()), real, "a name that lies");
        assert_eq!(place(Path::new("tidegate"), real.clone()), real, "a bare name");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_binary_that_was_replaced_is_found_in_its_old_place() {
        let place = place(Path::new("tidegate"), PathBuf::from("/usr/bin/tidegate (deleted)"));
        assert_eq!(place, Path::new("/usr/bin/tidegate"));
    }

    #[test]
    fn this_program_can_be_started_again() {
        let program = Program::as_started().unwrap();
        let itself = fs::canonicalize("/proc/self/exe").unwrap();
        assert_eq!(program.path().canonicalize().unwrap(), itself);
        let again: Vec<_> = program.command().get_args().map(OsString::from).collect();
        assert_eq!(again, std::env::args_os().skip(1).collect::<Vec<_>>());
    }
}
