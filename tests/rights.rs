//! Tests how `tidegate check` judges rights: files that the service's user may not read, and keys that other users may.
#![cfg(feature = "gateway")]

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A user of every Debian without rights, in place of the service's own.
const USER: &str = "daemon";

/// A folder with a certificate, its key and a configuration, which every user may enter; removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-rights-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        let folder = Self(path);
        folder.set_mode("", 0o755);
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
        let (chain, key) = (folder.path("c.pem"), folder.path("k.pem"));
        fs::write(&chain, made.cert.pem()).expect("written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let text = format!(
            "[gateway]\nlisten = [\"127.0.0.1:8443\"]\n[stream_manager]\nurl = \"http://127.0.0.1:5080\"\n\
             [[tls.certificates]]\nchain = {chain:?}\nkey = {key:?}\n"
        );
        fs::write(folder.config(), text).expect("written");
        folder.set_mode("t.toml", 0o644);
        folder.set_mode("c.pem", 0o644);
        folder.set_mode("k.pem", 0o600);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("t.toml")
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("its owner may");
    }

    /// Runs `tidegate check` with more words.
    fn check(&self, more: &[&str]) -> Output {
        check_by(&mut Command::new(env!("CARGO_BIN_EXE_tidegate")), &self.config(), more)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn check_by(command: &mut Command, config: &Path, more: &[&str]) -> Output {
    command.arg("check").arg("--config").arg(config).args(more).output().expect("the program starts")
}

#[track_caller]
fn assert_exit(output: &Output, code: i32, text: &str) {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(text), "expected {text:?} in {said}");
}

/// Whether this is root; if not, says that the test was skipped.
fn is_root(test: &str) -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !is_root {
        let _ = std::io::stderr().write_fmt(format_args!("SKIPPED {test}: only root may\n"));
    }
    is_root
}

#[test]
fn a_key_that_other_users_may_read_gives_a_warning_with_its_line_and_a_command() {
    let folder = Folder::new("exposed");
    assert_exit(&folder.check(&[]), 0, "good: serves a.example");
    folder.set_mode("k.pem", 0o644);
    let warned = folder.check(&[]);
    let key = folder.path("k.pem");
    let key = key.display();
    assert_exit(&warned, 0, "can start, with the warning above");
    let line = format!(
        "t.toml:7: warning: tls.certificates.0.key: expected a key that only tidegate's user may read (`chmod 600 {key}`"
    );
    assert_exit(&warned, 0, &line);
    assert_exit(
        &warned,
        0,
        &format!("found {key}, which can be read by every user of this machine (mode 0644)"),
    );
    // the same file by a reference
    let text = fs::read_to_string(folder.config()).expect("readable");
    let reference = text.replace(&format!("key = \"{key}"), &format!("key = \"file:{key}"));
    assert_ne!(reference, text);
    fs::write(folder.config(), reference).expect("written");
    assert_exit(&folder.check(&[]), 0, &line);
    // a folder that other users may not enter protects what is in it
    folder.set_mode("", 0o700);
    assert_exit(&folder.check(&[]), 0, "good: serves a.example");
}

#[test]
fn a_key_of_a_foreign_group_gives_a_warning_and_one_of_the_checked_user_none() {
    if !is_root("a key of a group") {
        return;
    }
    let folder = Folder::new("group");
    let group = |user: &str| {
        let output = Command::new("id").args(["-g", user]).output().expect("id");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().expect("a number")
    };
    folder.set_mode("k.pem", 0o640);
    assert_exit(&folder.check(&[]), 0, "good: serves a.example");
    chown(folder.path("k.pem"), None, Some(group(USER))).expect("root may");
    assert_exit(
        &folder.check(&[]),
        0,
        "can be read by the group daemon, which is not of tidegate's user (mode 0640)",
    );
    assert_exit(&folder.check(&["--user", USER]), 0, "good: serves a.example");
}

#[test]
fn check_as_the_services_user_finds_what_root_does_not() {
    if !is_root("check as another user") {
        return;
    }
    let folder = Folder::new("user");
    assert_exit(&folder.check(&[]), 0, "good: serves a.example");
    let denied = folder.check(&["--user", USER]);
    assert_exit(
        &denied,
        78,
        "t.toml:7: tls.certificates.0.key: expected a file that tidegate's user may read",
    );
    folder.set_mode("t.toml", 0o600);
    assert_exit(&folder.check(&["--user", USER]), 71, "let this user read it");
}

#[test]
fn check_as_another_user_drops_every_group_and_uid_of_root() {
    if !is_root("the user of a check") {
        return;
    }
    // a file that only root's group may read: one group that is kept would show
    let folder = Folder::new("groups");
    folder.set_mode("k.pem", 0o640);
    assert_exit(&folder.check(&["--user", USER]), 78, "expected a file that tidegate's user may read");
    // and a user may check as itself, but as no other one
    let by_user = |more: &[&str]| {
        let program = folder.path("tidegate");
        fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).expect("copied");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
        check_by(&mut command, &folder.config(), more)
    };
    folder.set_mode("k.pem", 0o644);
    assert_exit(&by_user(&["--user", USER]), 0, "can be read by every user");
    assert_exit(
        &by_user(&["--user", "root"]),
        71,
        "only root may change its user: start the command with sudo",
    );
}

#[test]
fn a_user_that_does_not_exist_is_a_usage_error() {
    let folder = Folder::new("unknown");
    assert_exit(&folder.check(&["--user", "no-such-user"]), 64, "there is no user no-such-user");
}
