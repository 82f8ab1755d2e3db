//! The journal of systemd: a journald of a test's own, and what its entries have to be.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Starts journald where no other process sees it, runs the program with stderr connected to it as systemd connects it, and
/// writes the entries to a file once the program has ended. SIGTERM goes to the program.
const SCRIPT: &str = r#"
out=$1; shift
mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal || exit 99
setpriv --pdeathsig KILL /lib/systemd/systemd-journald 2>/dev/null & journald=$!
tries=0
until [ -S /run/systemd/journal/stdout ]; do
  tries=$((tries + 1)); [ $tries -lt 500 ] || exit 99; sleep 0.02
done
setpriv --pdeathsig KILL systemd-cat --identifier=tidegate sh -c \
  'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); export JOURNAL_STREAM; exec "$@"' sh "$@" & program=$!
trap 'kill -TERM $program' TERM
wait $program; wait $program; code=$?
journalctl --sync
journalctl --directory=/run/log/journal --identifier=tidegate --output=json >"$out"
journalctl --directory=/run/log/journal --identifier=tidegate --priority=warning --output=json >"$out.warnings"
kill $journald
exit $code
"#;

/// One entry of the journal.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its level as a number of syslog: 3 error, 4 warning, 6 info, 7 debug.
    pub priority: u8,
    pub text: String,
}

/// Whether this machine can run a journald for a test: it needs root and systemd.
pub fn is_possible() -> bool {
    let has = |path| Path::new(path).exists();
    rustix::process::geteuid().is_root()
        && has("/lib/systemd/systemd-journald")
        && has("/usr/bin/systemd-cat")
        && Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|done| done.success())
}

/// The command under which a program writes to a journal; the entries are in `out` when it has ended.
pub fn command(out: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", SCRIPT, "sh"]);
    command.arg(out).arg(env!("CARGO_BIN_EXE_tidegate"));
    command
}

/// All entries behind [`command`], and those of `journalctl --priority=warning`.
pub fn written(out: &Path) -> (Vec<Entry>, Vec<Entry>) {
    let mut warnings = out.as_os_str().to_owned();
    warnings.push(".warnings");
    let read = |path: PathBuf| entries(&std::fs::read_to_string(path).expect("what journalctl wrote"));
    (read(out.to_owned()), read(warnings.into()))
}

/// The entries in the output of `journalctl --output=json`.
pub fn entries(json: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        let text =
            |field: &str| entry[field].as_str().unwrap_or_else(|| panic!("{field} in {line}")).to_owned();
        Entry { priority: text("PRIORITY").parse().expect("a number"), text: text("MESSAGE") }
    };
    json.lines().map(entry).collect()
}

/// Checks that each entry of a gateway with the text format has the priority of its level, and no time of its own. What systemd
/// itself says of a unit must not be among the entries.
#[track_caller]
pub fn assert_levels(entries: &[Entry]) {
    assert!(!entries.is_empty(), "the gateway has logged");
    for Entry { priority, text } in entries {
        let level = text.split_whitespace().next().unwrap_or_default();
        let expected = match level {
            "ERROR" | "tidegate:" => 3,
            "WARN" => 4,
            "INFO" => 6,
            "DEBUG" | "TRACE" => 7,
            _ => panic!("expected a level first, found {text:?}"),
        };
        assert_eq!(*priority, expected, "{text:?}");
    }
}
