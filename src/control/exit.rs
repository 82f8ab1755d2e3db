//! How a command ends: texts of errors, and exit codes (sysexits.h).

use crate::config::Problem;
use crate::control::journal::{self, Prefix};
use crate::control::start::load::{self, Failure};
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// The gateway refused what a command asked for.
pub const NO: u8 = 1;
/// The command line is wrong (EX_USAGE).
pub const USAGE: u8 = 64;
/// Internal error: a bug (EX_SOFTWARE).
pub const SOFTWARE: u8 = 70;
/// A port, a file or another resource of the machine is not available (EX_OSERR).
pub const OS: u8 = 71;
/// The configuration is wrong (EX_CONFIG).
pub const CONFIG: u8 = 78;

/// Why a command ends without success.
#[derive(Debug, PartialEq, Eq)]
pub struct ExitError {
    pub code: u8,
    /// The cause and the next step, in one sentence.
    pub text: String,
}

impl ExitError {
    /// A port, a file or another resource of the machine is not available.
    pub fn os(text: String) -> Self {
        Self { code: OS, text }
    }

    /// Prints the text to stderr; returns the exit code.
    pub fn print(&self) -> ExitCode {
        print_lines(&format!("tidegate: {}", self.text));
        ExitCode::from(self.code)
    }
}

/// The problems of the file at `path` as lines `PATH:LINE: PROBLEM`, the form that compilers use.
pub fn lines(path: &Path, problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{}:{}: {problem}\n", path.display(), problem.line)).collect()
}

/// Prints lines to stderr; in the journal they are errors.
fn print_lines(text: &str) {
    let journal = journal::is_stderr();
    for line in text.lines() {
        match journal {
            true => eprintln!("{}{line}", Prefix::ERROR),
            false => eprintln!("{line}"),
        }
    }
}

/// Prints every problem of a configuration that could not be loaded to stderr; returns the error to end with.
pub fn failure(path: &Path, failure: &Failure) -> ExitError {
    match failure {
        Failure::Unreadable { path, error } => {
            let path = path.display();
            let next = match error.kind() {
                io::ErrorKind::PermissionDenied => "let this user read it and enter its folders",
                io::ErrorKind::InvalidData => "save it as UTF-8",
                _ => "name the right file with --config",
            };
            ExitError::os(format!("can't read the configuration {path} ({error}); {next}"))
        }
        Failure::Problems { problems, only_missing } => {
            print_lines(&lines(path, problems));
            let (count, path) = (load::count(problems.len()), path.display());
            let text = format!(
                "{path} has {count}, listed above; correct them and check again with `tidegate check --config {path}`"
            );
            ExitError { code: if *only_missing { OS } else { CONFIG }, text }
        }
    }
}
