//! An /etc/hosts of the program's own, so that a test says what names resolve to.

use super::skipped;
use std::path::Path;
use std::process::Command;

/// Whether the program can get an /etc/hosts of its own. Reports the test as skipped if not.
pub fn can_mount(test: &str) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--map-root-user", "true"]);
    let can = unshare.output().is_ok_and(|output| output.status.success());
    if !can {
        skipped(test, "no mount namespaces here (they need root or user namespaces, and `unshare`)");
    }
    can
}

/// A command that runs the program with this file as its /etc/hosts.
pub fn with_hosts(hosts: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
    command.arg(hosts).arg(env!("CARGO_BIN_EXE_tidegate"));
    command
}
