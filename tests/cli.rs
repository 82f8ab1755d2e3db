//! Tests the program as an operator runs it: its exit codes, and one sentence that names the cause and the next step.
#![cfg(feature = "gateway")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with a certificate, its key and a configuration; removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
        fs::write(path.join("c.pem"), made.cert.pem()).expect("written");
        fs::write(path.join("k.pem"), made.signing_key.serialize_pem()).expect("written");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a configuration with the required keys and the lines of `more`.
    fn config(&self, more: &str) -> PathBuf {
        let (chain, key, path) = (self.path("c.pem"), self.path("k.pem"), self.path("t.toml"));
        let text = format!(
            "{more}\n[stream_manager]\nurl = \"http://127.0.0.1:5080\"\nauthorization = \"hunter2\"\n\
             [[tls.certificates]]\nchain = {chain:?}\nkey = {key:?}\n"
        );
        fs::write(&path, text).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tidegate(arguments: &[&str]) -> Output {
    // no test here lets the gateway serve: `timeout` ends one that serves although it should have refused
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_tidegate")]).args(arguments);
    command.env_remove("TIDEGATE_TEST_SECRET").output().expect("the program starts")
}

fn with_config(command: &str, config: &Path, more: &[&str]) -> Output {
    tidegate(&[&[command, "--config", config.to_str().expect("UTF-8")], more].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32, text: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(text), "{}", stderr(output));
}

#[test]
fn a_usage_error_exits_64_and_help_exits_0() {
    assert_exit(&tidegate(&[]), 64, "Usage: tidegate");
    assert_exit(&tidegate(&["serve"]), 64, "unrecognized subcommand");
    assert_exit(&tidegate(&["run", "--confg", "x"]), 64, "--config");
    assert_exit(&tidegate(&["status", "--admin", "nowhere"]), 64, "an address with its port");
    assert_exit(&tidegate(&["completions", "tcsh"]), 64, "bash");
    for flag in ["--help", "--version"] {
        assert_eq!(tidegate(&[flag]).status.code(), Some(0));
    }
    assert_eq!(stdout(&tidegate(&["--version"])), format!("tidegate {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn check_reports_a_valid_configuration_as_good() {
    let folder = Folder::new("good");
    let checked = with_config("check", &folder.config(""), &[]);
    assert_exit(&checked, 0, "");
    assert!(
        stdout(&checked).contains("good: serves a.example on 0.0.0.0:443, [::]:443"),
        "{}",
        stdout(&checked)
    );
}

#[test]
fn every_problem_is_printed_with_file_and_line() {
    let folder = Folder::new("problems");
    let config = folder.config("[gateway]\nwokers = 2\ndrain = 30\n[origins]\nport = 0");
    for command in ["check", "run"] {
        let output = with_config(command, &config, &[]);
        assert_exit(&output, 78, "has 3 problems, listed above; correct them");
        for line in [
            "t.toml:2: gateway.wokers: expected a known key (the nearest is gateway.workers), found an unknown key",
            "t.toml:3: gateway.drain: expected a duration with its unit from \"1ms\" to \"8760h\"",
            "t.toml:5: origins.port: expected a whole number from 1 to 65535, found 0",
        ] {
            assert!(stderr(&output).contains(line), "{}", stderr(&output));
        }
        assert!(!stderr(&output).contains("hunter2"));
    }
}

#[test]
fn the_effective_configuration_is_valid_and_masks_the_secret() {
    let folder = Folder::new("effective");
    let printed = with_config("check", &folder.config("[limits]\nsessions = \"off\""), &["--effective"]);
    assert_exit(&printed, 0, "");
    let printed = stdout(&printed);
    assert!(printed.contains("authorization = \"***\"") && !printed.contains("hunter2"), "{printed}");
    assert!(
        printed.contains("sessions = \"off\"") && printed.contains("upgrade_timeout = \"1500ms\""),
        "{printed}"
    );
    let again = folder.path("again.toml");
    fs::write(&again, &printed).expect("written");
    assert_eq!(stdout(&with_config("check", &again, &["--effective"])), printed);
}

#[test]
fn a_missing_file_exits_71_and_a_wrong_one_78() {
    let folder = Folder::new("files");
    let none = folder.path("none.toml");
    assert_exit(&with_config("run", &none, &[]), 71, "name the right file with --config");
    assert_exit(&with_config("check", &none, &[]), 71, "name the right file with --config");

    let config = folder.config("");
    fs::rename(folder.path("k.pem"), folder.path("away.pem")).expect("renamed");
    assert_exit(&with_config("run", &config, &[]), 71, "tls.certificates.0.key: expected the path of a file");
    assert_exit(
        &with_config("check", &config, &[]),
        78,
        "t.toml:7: tls.certificates.0.key: expected the path of a file",
    );

    let other = rcgen::generate_simple_self_signed(["b.example".to_owned()]).expect("a certificate");
    fs::write(folder.path("k.pem"), other.signing_key.serialize_pem()).expect("written");
    assert_exit(&with_config("run", &config, &[]), 78, "is not the key of that certificate");
}

#[test]
fn the_access_log_and_the_ca_bundle_are_checked_too() {
    let folder = Folder::new("others");
    // a path below a file can't be opened, not even by root
    let log = folder.path("c.pem").join("access.log");
    let log = log.to_str().expect("UTF-8");
    let config = folder.config(&format!("[log]\naccess = \"{log}\""));
    let words = format!("found {log}, which can't be written");
    assert_exit(&with_config("run", &config, &[]), 71, &words);
    let config = folder.config("");
    let text = fs::read_to_string(&config).expect("readable");
    fs::write(&config, text.replacen("hunter2\"", "\"\nca = \"/nonexistent/ca.pem\"", 1)).expect("written");
    assert_exit(
        &with_config("check", &config, &[]),
        78,
        "t.toml:5: stream_manager.ca: expected the path of a file",
    );
}

#[test]
fn an_expired_certificate_gives_a_warning() {
    let folder = Folder::new("expired");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    fs::write(folder.path("c.pem"), params.self_signed(&key).expect("signed").pem()).expect("written");
    fs::write(folder.path("k.pem"), key.serialize_pem()).expect("written");
    assert_exit(
        &with_config("check", &folder.config(""), &[]),
        0,
        "which is expired; clients refuse it: renew it",
    );
}

#[test]
fn a_secret_is_read_from_the_variable_or_file_that_the_key_names() {
    let folder = Folder::new("secrets");
    let config = folder.config("");
    let text = fs::read_to_string(&config).expect("readable");
    let wrong = [
        ("env:TIDEGATE_TEST_SECRET", 78, "which is not set"),
        ("file:/nonexistent/secret", 71, "can't be read"),
    ];
    for (reference, code, words) in wrong {
        fs::write(&config, text.replace("hunter2", reference)).expect("written");
        assert_exit(&with_config("run", &config, &[]), code, words);
    }
    let secret = folder.path("secret");
    fs::write(&config, text.replace("hunter2", &format!("file:{}", secret.display()))).expect("written");
    fs::write(&secret, "Basic hunter2\n").expect("written");
    assert_exit(&with_config("check", &config, &[]), 0, "");
    fs::write(&secret, "Basic\nhunter2\n").expect("written");
    let split = with_config("check", &config, &[]);
    assert_exit(&split, 78, "found a value that no HTTP field can hold");
    assert!(!stderr(&split).contains("hunter2"));
}

#[test]
fn a_port_in_use_exits_71() {
    let folder = Folder::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let admin_off = "[admin]\nlisten = \"off\"";
    let config = folder.config(&format!("[gateway]\nlisten = [\"{address}\"]\n{admin_off}"));
    assert_exit(&with_config("run", &config, &[]), 71, "another program listens there");
    let config =
        folder.config(&format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"{address}\""));
    assert_exit(&with_config("run", &config, &[]), 71, "choose another one in [admin].listen");
    let status = tidegate(&["status", "--admin", "unix:/nonexistent/admin.sock"]);
    assert_exit(&status, 71, "no gateway answers on unix:/nonexistent/admin.sock");
}

#[test]
fn completions_and_the_manual_page_are_printed() {
    let completions = tidegate(&["completions", "bash"]);
    assert!(completions.status.success() && stdout(&completions).contains("_tidegate"));
    let manual = tidegate(&["man"]);
    assert!(manual.status.success() && stdout(&manual).contains(".TH tidegate 1"));
}
