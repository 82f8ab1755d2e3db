//! What is said when something can't be: texts and exit codes (sysexits).

use crate::config::Problem;
use crate::control::start::load::Failure;
use std::path::Path;
use std::process::ExitCode;

/// What was asked was done, and the answer is no.
pub const NO: u8 = 1;
/// The command line is wrong (EX_USAGE).
pub const USAGE: u8 = 64;
/// Something in here is broken (EX_SOFTWARE).
pub const SOFTWARE: u8 = 70;
/// A port or a file can't be had (EX_OSERR).
pub const OS: u8 = 71;
/// The configuration is wrong (EX_CONFIG).
pub const CONFIG: u8 = 78;

/// The end of a command that could not do its work.
#[derive(Debug, PartialEq, Eq)]
pub struct ExitError {
    pub code: u8,
    /// The cause and the next step.
    pub text: String,
}

impl ExitError {
    /// A port or a file, or anything else of the machine, can't be had.
    pub fn os(text: String) -> Self {
        Self { code: OS, text }
    }

    /// Says it on stderr; the exit code to end with.
    pub fn say(&self) -> ExitCode {
        eprintln!("tidegate: {}", self.text);
        ExitCode::from(self.code)
    }
}

/// One line for each problem, as compilers write them.
pub fn lines(path: &Path, problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{}:{}: {problem}\n", path.display(), problem.line)).collect()
}

/// What a failed load means: every problem printed, and the sentence to end with.
pub fn failure(path: &Path, failure: &Failure) -> ExitError {
    match failure {
        Failure::Unreadable { path, error } => {
            let path = path.display();
            ExitError::os(format!(
                "can't read the configuration {path} ({error}); name the right file with --config"
            ))
        }
        Failure::Problems { problems, only_missing } => {
            eprint!("{}", lines(path, problems));
            let count = match problems.len() {
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            };
            let text = format!(
                "{} has {count}, listed above; correct them and look again with `tidegate check --config {}`",
                path.display(),
                path.display()
            );
            ExitError { code: if *only_missing { OS } else { CONFIG }, text }
        }
    }
}
