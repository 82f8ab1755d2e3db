//! A certificate that expires soon, a full disk, a refused reload.

use super::{assert_calm, assert_has, line, lines, said};
use crate::harness::certs::Identity;
use crate::harness::gateway::{CONFIG_FILE, write_pair};
use crate::harness::{ClientBuilder, Config, Gateway, Workspace, eventually, skipped};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[test]
fn a_certificate_that_expires_soon() {
    let workspace = Workspace::claim();
    let config = Config::new(&workspace);
    write_pair(&workspace, "ecdsa", &Identity::valid_for(Duration::from_hours(80)));
    let gateway = Gateway::start(&workspace, &config);
    let chain = workspace.file("ecdsa.chain.pem");
    let warning = line(&gateway, "WARN", &["is good for less than a week (until "]);
    assert_has(&warning, &[chain.to_str().unwrap(), "; renew it soon"]);
    // TidegateCertificateExpiresIn7Days
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let until = gateway.metric("tidegate_certificate_not_after_seconds", &[("name", "gateway.test")]);
    assert!((3.3..=3.34).contains(&((until - now) / 86_400.0)), "{until}");
    assert_has(&said(&gateway, &["status"]), &["certificate gateway.test, 127.0.0.1, 3 days left"]);
    let doctor = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["doctor", "--config"])
        .arg(workspace.file(CONFIG_FILE))
        .output()
        .expect("the program starts");
    let doctor = String::from_utf8(doctor.stdout).expect("UTF-8");
    assert!(doctor.contains("3 days") && doctor.contains(chain.to_str().unwrap()), "{doctor}");
    // the renewed one is served without a command, and the log says so
    write_pair(&workspace, "ecdsa", &Identity::renewed());
    eventually("the renewed one is served", || {
        !lines(&gateway, &["changed certificates are served"]).is_empty()
    });
    assert!(gateway.metric("tidegate_certificate_not_after_seconds", &[("name", "gateway.test")]) > until);
    assert_calm(&gateway);
}

#[test]
fn a_disk_that_is_full() {
    if !rustix::process::geteuid().is_root() {
        return skipped("a_disk_that_is_full", "a file system of its own needs root");
    }
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    let folder = workspace.file("logs");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("access.log");
    config.set("log.access", file.to_str().unwrap());
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=8k none \"$1\" && shift && exec \"$@\"";
    command.args(["--mount", "--propagation=private", "sh", "-c", script, "sh"]).arg(&folder);
    command.arg(env!("CARGO_BIN_EXE_tidegate"));
    let gateway = Gateway::spawn_by(command, &workspace, &config).wait_until_ready();
    let inside = format!("/proc/{}/root{}", gateway.pid(), file.display());
    let mut client = ClientBuilder::to(workspace.gateway()).connect_tls();
    for _ in 0..100 {
        assert_eq!(client.get("/nowhere").status(), 404, "clients notice nothing");
    }
    let error = line(&gateway, "ERROR", &["the access log can't be written, its lines are dropped"]);
    assert_has(&error, &[file.to_str().unwrap(), "No space left on device"]);
    // TidegateLogLinesLost
    assert!(gateway.metric("tidegate_log_lines_dropped_total", &[]) > 10.0);
    // the operator makes room, and nothing has to be restarted
    std::fs::File::options().write(true).truncate(true).open(&inside).unwrap();
    assert_eq!(client.get("/nowhere").status(), 404);
    let again = line(&gateway, "WARN", &["the access log is written again; "]);
    assert_has(&again, &["lines were lost", file.to_str().unwrap()]);
    assert_calm(&gateway);
}

#[test]
fn a_reload_that_is_refused() {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    let gateway = Gateway::start(&workspace, &config);
    config.set("origins.strickt", true);
    config.write(&workspace);
    let (code, told) = gateway.reload();
    assert_eq!(code, Some(78), "{told}");
    // a colleague that comes later finds the same in the log, in the status and in the metrics
    let words = ["tidegate.toml:", "origins.strickt", "the nearest is origins.strict"];
    assert_has(&told, &words);
    assert_has(&line(&gateway, "ERROR", &["expected a known key"]), &words);
    let refused = line(&gateway, "ERROR", &["reload refused, revision 1 stays in use"]);
    assert_has(&refused, &["has 1 problem"]);
    assert_has(&said(&gateway, &["status"]), &["reload      refused: ", words[0], words[1], words[2]]);
    assert_eq!(gateway.metric("tidegate_config_last_reload_successful", &[]), 0.0, "TidegateReloadFailed");
    config.unset("origins.strickt");
    config.write(&workspace);
    assert_eq!(gateway.reload().0, Some(0));
    assert_eq!(gateway.metric("tidegate_config_last_reload_successful", &[]), 1.0);
    assert!(!said(&gateway, &["status"]).contains("reload      refused"));
    assert_calm(&gateway);
}
