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
        let key = path.join("k.pem");
        fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        // a key that other users may read gives a warning
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("its owner may");
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
    // not the default addresses: they give a warning where the machine has no IPv6
    let listen = "[gateway]\nlisten = [\"0.0.0.0:443\", \"127.0.0.1:8443\"]";
    let checked = with_config("check", &folder.config(listen), &[]);
    assert_exit(&checked, 0, "");
    assert!(
        stdout(&checked).contains("good: serves a.example on 0.0.0.0:443, 127.0.0.1:8443"),
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
        printed.contains("sessions = \"off\"") && printed.contains("upgrade_timeout = \"4s\""),
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
fn a_connect_timeout_below_the_first_retransmission_gives_a_warning() {
    let folder = Folder::new("connect");
    for (timeout, warned) in [("1s", true), ("1099ms", true), ("1100ms", false), ("3s", false)] {
        let config = folder.config(&format!("[origins]\nconnect_timeout = \"{timeout}\""));
        let output = with_config("check", &config, &[]);
        assert_exit(&output, 0, "");
        let says = stderr(&output).contains("origins.connect_timeout: expected \"1100ms\" or more");
        assert_eq!(says, warned, "{timeout}: {}", stderr(&output));
    }
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
        "which is expired (since 2020-01-01 00:00:00 UTC); clients refuse it: renew it",
    );
}

#[test]
fn one_wrong_value_hides_no_other_problem() {
    let folder = Folder::new("hidden");
    let config = folder.config("[gateway]\nlisten = [\"443\"]\n[log]\naccess = \"/nonexistent/a.log\"");
    let mut text = fs::read_to_string(&config).expect("readable");
    text = text.replacen("hunter2\"", "file:/nonexistent/secret\"\nca = \"/nonexistent/ca.pem\"", 1);
    // line 13: one entry that is no whole one, and whose other file is missing too
    text += "[[tls.certificates]]\nchain = 7\nkey = \"/nonexistent/other.pem\"\n";
    fs::write(&config, text).expect("written");
    fs::remove_file(folder.path("k.pem")).expect("removed");
    let checked = with_config("check", &config, &[]);
    assert_exit(&checked, 78, "has 7 problems, listed above");
    let lines: Vec<_> = stderr(&checked).lines().map(str::to_owned).collect();
    let wanted = [
        "t.toml:2: gateway.listen: ",
        "t.toml:4: log.access: ",
        "t.toml:7: stream_manager.authorization: expected the path of a file that is there",
        "t.toml:8: stream_manager.ca: ",
        "t.toml:11: tls.certificates.0.key: ",
        "t.toml:13: tls.certificates.chain: ",
        "t.toml:14: tls.certificates.1.key: ",
    ];
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.contains(wanted), "{line}, expected {wanted}");
    }
}

/// A certificate of X.509 version 1 for `a.example`, good for a hundred years: it has no place for subjectAltName.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBIzCBywIUYzLPa0PJ0NILbrVFU/jxGK1ELLUwCgYIKoZIzj0EAwIwFDESMBAG\n\
A1UEAwwJYS5leGFtcGxlMCAXDTI2MTEyODA2MDUzM1oYDzIxMjYxMTA0MDYwNTMz\n\
WjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
AATsOslI48Ea9rEqfwj8ZtgeEPcc7GqyF2OO4ecJOenSUF/0ue3uRm7gGrFQjZky\n\
lWPx4n2jh1k9Bip+nYjU844RMAoGCCqGSM49BAMCA0cAMEQCIEnXyHQ11jMKK0E5\n\
Gyk6JPRNgQggcRj3LMXo4RPDdX6WAiAc9uYXjtu6ASYklbWoX6wyZ2nLP7k+vlWQ\n\
kcO61Z/zRg==\n\
-----END CERTIFICATE-----\n";

#[test]
fn a_certificate_or_key_that_can_not_be_used_says_why() {
    let folder = Folder::new("unusable");
    let config = folder.config("");
    let key = fs::read_to_string(folder.path("k.pem")).expect("readable");
    let certificate = fs::read_to_string(folder.path("c.pem")).expect("readable");
    let checked = |chain: &str, key: &str| {
        fs::write(folder.path("c.pem"), chain).expect("written");
        fs::write(folder.path("k.pem"), key).expect("written");
        let checked = with_config("check", &config, &[]);
        assert_exit(&checked, 78, "has 1 problem, listed above");
        stderr(&checked)
    };
    let shown = checked(VERSION_1, &key);
    assert!(shown.contains("tls.certificates.0.chain: expected a certificate of version 3"), "{shown}");
    assert!(shown.contains("is of X.509 version 1") && !shown.contains("not the key"), "{shown}");

    let block = |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
    let encrypted = block("ENCRYPTED PRIVATE KEY", "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAc");
    let fields = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,6B646DAF013359896635579C171ECD9D\n\nIV6B5jDz";
    for encrypted in [encrypted, block("EC PRIVATE KEY", fields), block("RSA PRIVATE KEY", fields)] {
        let shown = checked(&certificate, &encrypted);
        assert!(shown.contains("k.pem, which is encrypted with a passphrase"), "{shown}");
        assert!(shown.contains("openssl pkey"), "{shown}");
    }
    let shown = checked(&certificate, &certificate);
    assert!(shown.contains("k.pem, which holds no private key, but CERTIFICATE"), "{shown}");
}

#[test]
fn a_warning_has_its_line_and_such_a_configuration_is_not_called_good() {
    let folder = Folder::new("warnings");
    let config = folder.config(
        "[gateway]\ntrusted_proxies = [\"10.0.0.0/8\"]\n[origins]\nnetworks = [\n\"10.0.0.0/8\",\n\"224.0.0.0/4\"]\n\
         names = [\"localhost\",\n\"node2.invalid\"]",
    );
    let key = rcgen::KeyPair::generate().expect("a key");
    let nameless = rcgen::CertificateParams::default().self_signed(&key).expect("signed");
    fs::write(folder.path("c.pem"), nameless.pem()).expect("written");
    fs::write(folder.path("k.pem"), key.serialize_pem()).expect("written");
    let checked = with_config("check", &config, &[]);
    assert_exit(&checked, 0, "");
    for line in [
        "t.toml:2: warning: gateway.trusted_proxies: expected proxy_protocol",
        "t.toml:6: warning: origins.networks.1: expected addresses of nodes",
        "t.toml:7: warning: origins.names.0: expected a name of a node",
        "t.toml:8: warning: origins.names.1: expected a name that DNS knows, found node2.invalid",
        "t.toml:13: warning: tls.certificates.0.chain: expected a certificate with its names",
    ] {
        assert!(stderr(&checked).contains(line), "{}", stderr(&checked));
    }
    let shown = stdout(&checked);
    assert!(shown.contains("can start, with the") && !shown.contains("good"), "{shown}");
}

#[test]
fn stream_managers_are_a_list_or_one_and_each_unknown_name_has_its_line() {
    let folder = Folder::new("managers");
    let config = folder.config("");
    let text = fs::read_to_string(&config).expect("readable");
    let line = text.lines().find(|line| line.starts_with("url = ")).expect("the stream manager");
    let list = "urls = [\n\"http://10.0.0.2:5080\",\n\"http://sm2.invalid:5080\",\n]";
    fs::write(&config, text.replace(line, list)).expect("written");
    let checked = with_config("check", &config, &[]);
    assert_exit(&checked, 0, "");
    let warning = "warning: stream_manager.urls.1: expected a name that DNS knows, found sm2.invalid";
    assert!(stderr(&checked).contains(&format!("t.toml:5: {warning}")), "{}", stderr(&checked));
    fs::write(&config, text.replace(line, &format!("{line}\n{list}"))).expect("written");
    let both = "stream_manager.url: expected either urls, a list of stream managers, or url, the only one, found both";
    assert_exit(&with_config("check", &config, &[]), 78, both);
}

#[test]
fn the_path_of_the_api_is_no_part_of_the_managers_address() {
    let folder = Folder::new("api");
    let config = folder.config("");
    let text = fs::read_to_string(&config).expect("readable");
    for path in ["/streammanager/api", "/streammanager/api/4.0/", "/streammanager", "/as/v1"] {
        fs::write(&config, text.replace(":5080", &format!(":5080{path}"))).expect("written");
        let checked = with_config("check", &config, &[]);
        assert_exit(
            &checked,
            78,
            "t.toml:3: stream_manager.url: expected the address without the path of the API",
        );
    }
    fs::write(&config, text.replace(":5080", ":5080/cluster1")).expect("written");
    assert_exit(&with_config("check", &config, &[]), 0, "");
}

/// Runs the program as a user that has no right to a file of mode 0; `None` where that can't be had.
fn without_rights(arguments: &[&str]) -> Option<Output> {
    let plain = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) != 0);
    if plain {
        return Some(tidegate(arguments));
    }
    let drop = ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"];
    let has_setpriv = Command::new("setpriv").args(drop).arg("true").output();
    has_setpriv.is_ok_and(|output| output.status.success()).then(|| {
        let mut command = Command::new("setpriv");
        command.args(drop).args(["timeout", "60", env!("CARGO_BIN_EXE_tidegate")]).args(arguments);
        command.output().expect("setpriv")
    })
}

#[test]
fn a_file_that_this_user_may_not_read_gives_advice_about_rights() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("rights");
    let (logs, secret) = (folder.path("logs"), folder.path("secret"));
    fs::create_dir(&logs).expect("a folder");
    fs::write(&secret, "x").expect("written");
    let config = folder.config(&format!("[log]\naccess = {:?}", logs.join("a.log")));
    let text = fs::read_to_string(&config).expect("readable");
    fs::write(&config, text.replace("hunter2", &format!("file:{}", secret.display()))).expect("written");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its owner may");
    };
    for (path, closed) in [(folder.path("k.pem"), 0), (folder.path("c.pem"), 0), (secret, 0), (logs, 0o555)] {
        mode(&path, closed);
    }
    let path = config.to_str().expect("UTF-8");
    let Some(checked) = without_rights(&["check", "--config", path]) else { return };
    assert_exit(&checked, 78, "has 4 problems, listed above");
    for line in [
        "log.access: expected a file in a folder that is there and that tidegate's user may write",
        "stream_manager.authorization: expected a file that tidegate's user may read",
        "tls.certificates.0.chain: expected a file that tidegate's user may read",
        "tls.certificates.0.key: expected a file that tidegate's user may read",
    ] {
        assert!(stderr(&checked).contains(line), "{}", stderr(&checked));
    }
    mode(&config, 0);
    let checked = without_rights(&["check", "--config", path]).expect("as before");
    assert_exit(&checked, 71, "let this user read it");
    assert!(!stderr(&checked).contains("--config"), "{}", stderr(&checked));

    let closed = folder.path("closed");
    fs::create_dir(&closed).expect("a folder");
    mode(&closed, 0);
    let socket = format!("unix:{}", closed.join("admin.sock").display());
    let status = without_rights(&["status", "--admin", &socket]).expect("as before");
    assert_exit(&status, 71, "only its owner and its group");
    assert!(!stderr(&status).contains("no gateway answers"), "{}", stderr(&status));
    mode(&config, 0o600);
    let keys = "[gateway]\nlisten = [\"127.0.0.1:0\"]\n[monitoring]\nlisten = \"off\"\n[admin]\nlisten =";
    for path in [folder.path("k.pem"), folder.path("c.pem")] {
        mode(&path, 0o600);
    }
    folder.config(&format!("{keys} \"{socket}\""));
    let run = without_rights(&["run", "--config", path]).expect("as before");
    assert_exit(&run, 71, "let tidegate's user write to its folder");
    folder.config(&format!("{keys} \"unix:/nonexistent/admin.sock\""));
    assert_exit(&with_config("run", &config, &[]), 71, "make its folder");
    mode(&closed, 0o700);
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
fn secrets_and_keys_are_read_from_credentials_of_systemd() {
    let folder = Folder::new("credentials");
    let config = folder.config("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"credential:token\"");
    let text = fs::read_to_string(&config).expect("readable");
    let key = folder.path("k.pem");
    let text = text
        .replace("hunter2", "credential:manager")
        .replace(key.to_str().expect("UTF-8"), "credential:tls.key");
    fs::write(&config, &text).expect("written");
    let credentials = folder.path("credentials");
    fs::create_dir(&credentials).expect("a folder");
    let check = |change: &dyn Fn(&mut Command)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["check", "--config"]).arg(&config);
        change(&mut command);
        command.output().expect("the program starts")
    };
    let by_systemd = |command: &mut Command| {
        command.env("CREDENTIALS_DIRECTORY", &credentials).arg("--effective");
    };
    let none = check(&|command| {
        command.env_remove("CREDENTIALS_DIRECTORY");
    });
    assert_exit(&none, 78, "has 3 problems, listed above");
    assert!(stderr(&none).contains("LoadCredential=token:PATH in the unit"), "{}", stderr(&none));
    assert_exit(&check(&by_systemd), 78, "which can't be read");
    for (name, content) in [("token", "0123456789abcdef"), ("manager", "Basic hunter2")] {
        fs::write(credentials.join(name), format!("{content}\n")).expect("written");
    }
    fs::copy(&key, credentials.join("tls.key")).expect("copied");
    let good = check(&by_systemd);
    assert_exit(&good, 0, "");
    for reference in ["credential:token", "credential:manager", "credential:tls.key"] {
        assert!(stdout(&good).contains(reference), "{}", stdout(&good));
    }
    assert!(!stdout(&good).contains("hunter2") && !stdout(&good).contains("0123456789abcdef"));

    // a key may be in a variable too
    fs::write(&config, text.replace("credential:tls.key", "env:KEY_OF_TEST")).expect("written");
    let pem = fs::read_to_string(&key).expect("readable");
    let with_key = |pem: &str| {
        check(&|command| {
            by_systemd(command);
            command.env("KEY_OF_TEST", pem);
        })
    };
    assert_exit(&with_key(&pem), 0, "");
    assert_exit(&with_key("hunter3"), 78, "env:KEY_OF_TEST, which holds no private key");
}

#[test]
fn a_port_in_use_exits_71() {
    let folder = Folder::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let admin_off = "[monitoring]\nlisten = \"off\"\n[admin]\nlisten = \"off\"";
    let config = folder.config(&format!("[gateway]\nlisten = [\"{address}\"]\n{admin_off}"));
    assert_exit(&with_config("run", &config, &[]), 71, "another program listens there");
    let config = folder
        .config(&format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\n[monitoring]\nlisten = \"{address}\""));
    assert_exit(&with_config("run", &config, &[]), 71, "choose another one in [monitoring].listen");
    let status = tidegate(&["status", "--admin", "unix:/nonexistent/admin.sock"]);
    assert_exit(&status, 71, "no gateway answers on unix:/nonexistent/admin.sock");
}
