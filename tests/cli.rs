//! The binary from outside: exit codes, and one sentence that names the cause and the next step.
#![cfg(feature = "gateway")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a certificate, its key and a configuration; gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
        fs::write(path.join("c.pem"), made.cert.pem()).expect("written");
        fs::write(path.join("k.pem"), made.signing_key.serialize_pem()).expect("written");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a configuration with the required keys and some more lines.
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
    // one that serves where it should have refused is ended: no test here lets it serve
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_tidegate")]).args(arguments);
    command.env_remove("TIDEGATE_TEST_SECRET").output().expect("it starts")
}

fn with(command: &str, config: &Path, more: &[&str]) -> Output {
    tidegate(&[&[command, "--config", config.to_str().expect("UTF-8")], more].concat())
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn ends(output: &Output, code: i32, text: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", err(output));
    assert!(err(output).contains(text), "{}", err(output));
}

#[test]
fn usage_errors_are_64_and_help_is_none() {
    ends(&tidegate(&[]), 64, "Usage: tidegate");
    ends(&tidegate(&["serve"]), 64, "unrecognized subcommand");
    ends(&tidegate(&["run", "--confg", "x"]), 64, "--config");
    ends(&tidegate(&["status", "--admin", "nowhere"]), 64, "an address with its port");
    ends(&tidegate(&["completions", "tcsh"]), 64, "bash");
    for good in ["--help", "--version"] {
        assert_eq!(tidegate(&[good]).status.code(), Some(0));
    }
    assert_eq!(out(&tidegate(&["--version"])), format!("tidegate {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let folder = Folder::new("good");
    let checked = with("check", &folder.config(""), &[]);
    ends(&checked, 0, "");
    assert!(out(&checked).contains("good: serves a.example on 0.0.0.0:443, [::]:443"), "{}", out(&checked));
}

#[test]
fn every_problem_is_printed_with_file_and_line() {
    let folder = Folder::new("problems");
    let config = folder.config("[gateway]\nwokers = 2\ndrain = 30\n[origins]\nport = 0");
    for command in ["check", "run"] {
        let output = with(command, &config, &[]);
        ends(&output, 78, "has 3 problems, listed above; correct them");
        for line in [
            "t.toml:2: gateway.wokers: expected a known key (the nearest is gateway.workers), found an unknown key",
            "t.toml:3: gateway.drain: expected a duration with its unit from \"1ms\" to \"8760h\"",
            "t.toml:5: origins.port: expected a whole number from 1 to 65535, found 0",
        ] {
            assert!(err(&output).contains(line), "{}", err(&output));
        }
        assert!(!err(&output).contains("hunter2"));
    }
}

#[test]
fn what_is_printed_as_effective_is_a_good_configuration_without_the_secret() {
    let folder = Folder::new("effective");
    let printed = with("check", &folder.config("[limits]\nsessions = \"off\""), &["--effective"]);
    ends(&printed, 0, "");
    let printed = out(&printed);
    assert!(printed.contains("authorization = \"***\"") && !printed.contains("hunter2"), "{printed}");
    assert!(
        printed.contains("sessions = \"off\"") && printed.contains("upgrade_timeout = \"1500ms\""),
        "{printed}"
    );
    let again = folder.path("again.toml");
    fs::write(&again, &printed).expect("written");
    assert_eq!(out(&with("check", &again, &["--effective"])), printed);
}

#[test]
fn files_that_can_not_be_had_are_71_and_wrong_ones_78() {
    let folder = Folder::new("files");
    let none = folder.path("none.toml");
    ends(&with("run", &none, &[]), 71, "name the right file with --config");
    ends(&with("check", &none, &[]), 71, "name the right file with --config");

    let config = folder.config("");
    fs::rename(folder.path("k.pem"), folder.path("away.pem")).expect("renamed");
    ends(&with("run", &config, &[]), 71, "tls.certificates.0.key: expected the path of a file");
    ends(&with("check", &config, &[]), 78, "t.toml:7: tls.certificates.0.key: expected the path of a file");

    let other = rcgen::generate_simple_self_signed(["b.example".to_owned()]).expect("a certificate");
    fs::write(folder.path("k.pem"), other.signing_key.serialize_pem()).expect("written");
    ends(&with("run", &config, &[]), 78, "is not the key of that certificate");
}

#[test]
fn other_files_are_looked_at_too() {
    let folder = Folder::new("others");
    // below a file there is nothing, for root either
    let log = folder.path("c.pem").join("access.log");
    let log = log.to_str().expect("UTF-8");
    let config = folder.config(&format!("[log]\naccess = \"{log}\""));
    let words = format!("found {log}, which can't be written");
    ends(&with("run", &config, &[]), 71, &words);
    let config = folder.config("");
    let text = fs::read_to_string(&config).expect("readable");
    fs::write(&config, text.replacen("hunter2\"", "\"\nca = \"/nonexistent/ca.pem\"", 1)).expect("written");
    ends(&with("check", &config, &[]), 78, "t.toml:5: stream_manager.ca: expected the path of a file");
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let folder = Folder::new("expired");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    fs::write(folder.path("c.pem"), params.self_signed(&key).expect("signed").pem()).expect("written");
    fs::write(folder.path("k.pem"), key.serialize_pem()).expect("written");
    ends(&with("check", &folder.config(""), &[]), 0, "which is expired; clients refuse it: renew it");
}

#[test]
fn secrets_come_from_where_they_are_said_to_be() {
    let folder = Folder::new("secrets");
    let config = folder.config("");
    let text = fs::read_to_string(&config).expect("readable");
    let wrong = [
        ("env:TIDEGATE_TEST_SECRET", 78, "which is not set"),
        ("file:/nonexistent/secret", 71, "can't be read"),
    ];
    for (reference, code, words) in wrong {
        fs::write(&config, text.replace("hunter2", reference)).expect("written");
        ends(&with("run", &config, &[]), code, words);
    }
    let secret = folder.path("secret");
    fs::write(&config, text.replace("hunter2", &format!("file:{}", secret.display()))).expect("written");
    fs::write(&secret, "Basic hunter2\n").expect("written");
    ends(&with("check", &config, &[]), 0, "");
    fs::write(&secret, "Basic\nhunter2\n").expect("written");
    let split = with("check", &config, &[]);
    ends(&split, 78, "found a value that no HTTP field can hold");
    assert!(!err(&split).contains("hunter2"));
}

#[test]
fn a_port_that_is_taken_is_71() {
    let folder = Folder::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let admin_off = "[admin]\nlisten = \"off\"";
    let config = folder.config(&format!("[gateway]\nlisten = [\"{address}\"]\n{admin_off}"));
    ends(&with("run", &config, &[]), 71, "another program listens there");
    let config =
        folder.config(&format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"{address}\""));
    ends(&with("run", &config, &[]), 71, "choose another one in [admin].listen");
    let status = tidegate(&["status", "--admin", "unix:/nonexistent/admin.sock"]);
    ends(&status, 71, "no gateway answers on unix:/nonexistent/admin.sock");
}

#[test]
fn packagers_get_completions_and_a_manual_page() {
    let completions = tidegate(&["completions", "bash"]);
    assert!(completions.status.success() && out(&completions).contains("_tidegate"));
    let manual = tidegate(&["man"]);
    assert!(manual.status.success() && out(&manual).contains(".TH tidegate 1"));
}
