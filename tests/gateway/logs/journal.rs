//! Under systemd each line has its level for the journal, and the time only once.

use crate::harness::{
    Config, DEADLINE, Gateway, HttpPeer, Request, Workspace, client::ClientBuilder, journal, skipped,
};
use std::process::Command;
use std::time::Instant;

/// A shell that connects the program to its own stderr as if that were the journal.
fn behind_a_pipe() -> Command {
    let script = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); export JOURNAL_STREAM; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_tidegate")]);
    command
}

#[test]
fn a_stream_of_the_journal_gets_levels_and_no_times() {
    let workspace = Workspace::claim();
    for format in ["text", "json"] {
        let mut config = Config::new(&workspace);
        config.set("log.format", format);
        config.set("log.access", "stderr");
        config.set("origins.connect_timeout", "1s");
        let mut gateway = Gateway::spawn_by(behind_a_pipe(), &workspace, &config).wait_until_ready();
        let asked = ClientBuilder::to(workspace.gateway()).connect_tls().get("/nowhere?x=%0a%3c3%3e");
        assert_eq!(asked.status(), 404);
        gateway.terminate();
        assert!(gateway.wait_for_exit().success(), "{}", gateway.stderr());
        let log = gateway.stderr();
        for line in log.lines() {
            let (prefix, rest) = line.split_at(3);
            assert!(["<3>", "<4>", "<6>", "<7>"].contains(&prefix), "{line}");
            let begin = rest.split_whitespace().next().unwrap_or_default();
            let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
            assert!(levels.contains(&begin) || begin.starts_with("{\"level\":"), "a level, no time: {line}");
            assert!(!rest.contains("\"timestamp\""), "{line}");
        }
        let access = log.lines().find(|line| line.contains("/nowhere") && line.contains("access"));
        assert!(access.is_some_and(|line| line.starts_with("<6>")), "{log}");
    }
}

#[test]
fn a_start_that_fails_is_an_error_in_the_journal() {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    config.set("origins.strickt", true);
    let mut gateway = Gateway::spawn_by(behind_a_pipe(), &workspace, &config);
    assert_eq!(gateway.wait_for_exit().code(), Some(78));
    let log = gateway.stderr();
    assert!(log.lines().count() >= 2 && log.lines().all(|line| line.starts_with("<3>")), "{log}");
}

#[test]
fn a_real_journal_shows_warnings_only_where_it_is_asked_for_them() {
    if !journal::is_possible() {
        return skipped("a_real_journal", "journald in a mount namespace needs root and systemd");
    }
    let workspace = Workspace::claim();
    let out = workspace.file("journal.json");
    let mut config = Config::new(&workspace);
    config.set("log.access", "stderr");
    // a warning of the configuration
    config.set("origins.connect_timeout", "1s");
    let _manager = HttpPeer::start(workspace.manager());
    let mut gateway = Gateway::spawn_by(journal::command(&out), &workspace, &config).wait_until_ready();
    let mut client = ClientBuilder::to(workspace.gateway()).connect_tls();
    assert_eq!(client.exchange(&Request::get("/nowhere")).status(), 404);
    drop(client);
    gateway.terminate();
    let began = Instant::now();
    assert!(gateway.wait_for_exit().success() && began.elapsed() < DEADLINE, "{}", gateway.stderr());
    let (all, warnings) = journal::written(&out);
    journal::assert_levels(&all);
    assert!(all.iter().any(|entry| entry.priority == 6 && entry.text.contains("/nowhere")), "{all:?}");
    assert!(all.iter().all(|entry| !entry.text.contains('\u{1b}')), "{all:?}");
    let expected: Vec<_> = all.iter().filter(|entry| entry.priority <= 4).collect();
    assert!(!expected.is_empty() && expected.len() < all.len(), "{all:?}");
    assert_eq!(warnings.iter().collect::<Vec<_>>(), expected);
}
