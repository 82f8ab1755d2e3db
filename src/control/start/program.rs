//! The command line of this process, so that a newer binary at the same path can be started in the same way.
//!
//! This file does not know what the arguments mean.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernel appends this to the path of a binary that was replaced or removed (`/proc/self/exe`, proc_pid_exe(5)).
const REPLACED: &[u8] = b" (deleted)";

/// A program with its arguments, ready to be started.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// Argument 0, which `ps` shows.
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// The program that runs this code. Call it at the start: once the binary is replaced, the kernel does not know its path any
    /// more. It fails if the kernel does not tell the path.
    pub fn as_started() -> io::Result<Self> {
        let mut words = std::env::args_os();
        let name = words.next().unwrap_or_default();
        let path = resolve(Path::new(&name), std::env::current_exe()?);
        Ok(Self { path, name, arguments: words.collect() })
    }

    /// The path of its binary.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that starts it with the same arguments.
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

/// The path to start the program from: `name` as it was typed, if that is a path and leads to the `running` binary. With a
/// symlink to the current version the next version appears under the name of the link, and not under the name that the link
/// pointed to when this process started.
fn resolve(name: &Path, running: PathBuf) -> PathBuf {
    let running = match running.as_os_str().as_bytes().strip_suffix(REPLACED) {
        Some(before) => PathBuf::from(OsString::from_vec(before.to_vec())),
        None => running,
    };
    // a bare name was looked up in the PATH of the starting process, which is unknown here
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
    fn a_symlink_to_the_current_version_stays_the_path() {
        let folder = std::env::temp_dir().join(format!("tidegate-program-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (real, link, other) = (folder.join("real"), folder.join("link"), folder.join("other"));
        fs::write(&real, "").unwrap();
        fs::write(&other, "").unwrap();
        symlink(&real, &link).unwrap();
        assert_eq!(resolve(&link, real.clone()), link);
        assert_eq!(resolve(&other, real.clone()), real, "a name that leads to another file");
        assert_eq!(resolve(Path::new("tidegate"), real.clone()), real, "a bare name");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_replaced_binary_is_started_from_its_former_path() {
        let path = resolve(Path::new("tidegate"), PathBuf::from("/usr/bin/tidegate (deleted)"));
        assert_eq!(path, Path::new("/usr/bin/tidegate"));
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
