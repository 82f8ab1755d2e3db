//! The file as a whole: read into values, printed back, and where in it a key stands.

use crate::config::address::AdminAddress;
use crate::config::concerns;
use crate::config::cross_check;
use crate::config::keys;
use crate::config::model::{AdminListen, Config};
use crate::config::problem::{Problem, Report};
use crate::config::value::Scalar;

/// Reads the text of a configuration file: the values as used, with defaults filled in.
///
/// Fails with every problem at once, in the order of the file. Files that the configuration names are not opened.
pub fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let reading = read_whole(text)?;
    if reading.problems.is_empty() { Ok(reading.config) } else { Err(reading.problems) }
}

/// What a file says, right or wrong.
#[derive(Debug)]
pub struct Reading {
    /// The values. Where one is wrong its default takes the place, and a wrong path of a certificate is empty: with problems it
    /// must not be used, except to look for more problems in the files that it names.
    pub config: Config,
    /// Every problem, in the order of the file.
    pub problems: Vec<Problem>,
    /// What is allowed but has no effect, or not the wanted one.
    pub warnings: Vec<Problem>,
}

/// Reads the text of a configuration file as far as it can be read. Fails only where the text is no TOML, with every problem.
pub fn read_whole(text: &str) -> Result<Reading, Vec<Problem>> {
    let mut report = Report::new(text).knowing(keys::known());
    let (root, errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut problems: Vec<_> = errors.iter().map(|error| syntax(error, &report)).collect();
        problems.sort_by_key(|problem| problem.line);
        return Err(problems);
    }
    keys::find_unknown(root.get_ref(), &mut report);
    let config = keys::read(root.get_ref(), &mut report);
    cross_check::check(&config, &mut report);
    report.problems.sort_by_key(|problem| problem.line);
    let mut warnings = concerns::find(&config, |key| writes(text, key));
    for warning in &mut warnings {
        warning.line = locate(text, &warning.key);
    }
    warnings.sort_by_key(|warning| warning.line);
    Ok(Reading { config, problems: report.problems, warnings })
}

/// Whether the text of a file writes this key, given as `table.key`, so that its value is not the default.
pub fn writes(text: &str, key: &str) -> bool {
    let (root, _) = toml::de::DeTable::parse_recoverable(text);
    let mut parts = key.split('.');
    let first = parts.next().and_then(|part| root.get_ref().get(part));
    parts.try_fold(first, |value, part| Some(value?.get_ref().get(part))).flatten().is_some()
}

/// The problem of a text that is no TOML. It has only the first line of the message, because the rest may quote the file.
fn syntax(error: &toml::de::Error, report: &Report<'_>) -> Problem {
    let message = error.message().lines().next().unwrap_or_default();
    Problem {
        key: String::new(),
        line: report.line(&error.span().unwrap_or_default()),
        found: format!("a syntax error ({message})"),
        expected: "TOML (https://toml.io)".to_owned(),
    }
}

/// Finds the line of a key in the text of a file, from 1. For a key that the file does not write it is the line of the entry
/// or the table around it, or else line 1. Entries of a list have a number from 0, as in `tls.certificates.0.chain`.
pub fn locate(text: &str, key: &str) -> usize {
    let (root, _) = toml::de::DeTable::parse_recoverable(text);
    let report = Report::new(text);
    let mut parts = key.split('.');
    let first = parts.next().and_then(|part| root.get_ref().get(part));
    let Some(mut found) = first else { return 1 };
    for part in parts {
        let inner = match part.parse::<usize>() {
            Ok(index) => found.get_ref().get(index),
            Err(_) => found.get_ref().get(part),
        };
        let Some(inner) = inner else { break };
        found = inner;
    }
    report.line(&found.span())
}

/// Reads the address of a listener of the gateway as a command gets it: `ADDRESS:PORT` or `unix:/PATH`. Fails with a sentence
/// that says what was expected.
pub fn listener_address(text: &str) -> Result<AdminListen, String> {
    match AdminAddress::parse(&toml::de::DeValue::String(text.into())) {
        Ok(address @ (AdminListen::Tcp(_) | AdminListen::Unix(_))) => Ok(address),
        _ => {
            Err("expected an address with its port such as \"127.0.0.1:9180\", or \"unix:/PATH\"".to_owned())
        }
    }
}

/// Prints a configuration as used, as TOML: every key, defaults included, secrets masked. [`read`] makes the same values of
/// it, except for the masked ones.
pub fn to_toml(config: &Config) -> String {
    keys::write(config)
}
