//! The file as written: read into values, located by line, printed back.

use crate::config::address::AdminAddress;
use crate::config::cross_check;
use crate::config::keys;
use crate::config::model::{AdminListen, Config};
use crate::config::problem::{Problem, Report};
use crate::config::value::Scalar;

/// Reads a configuration file: the values as used, or every problem at once, in the order of the file.
pub fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let mut report = Report::new(text).knowing(keys::known());
    let (root, errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut problems: Vec<_> = errors.iter().map(|error| syntax(error, &report)).collect();
        problems.sort_by_key(|problem| problem.line);
        return Err(problems);
    }
    keys::unknowns(root.get_ref(), &mut report);
    let config = keys::read(root.get_ref(), &mut report);
    cross_check::check(&config, &mut report);
    if report.problems.is_empty() {
        return Ok(config);
    }
    report.problems.sort_by_key(|problem| problem.line);
    Err(report.problems)
}

/// A text that is no TOML. Only the first line of the message: the rest may quote the file.
fn syntax(error: &toml::de::Error, report: &Report<'_>) -> Problem {
    let message = error.message().lines().next().unwrap_or_default();
    Problem {
        key: String::new(),
        line: report.line(&error.span().unwrap_or_default()),
        found: format!("a mistake of syntax ({message})"),
        right: "right is TOML (https://toml.io)".to_owned(),
    }
}

/// Line of a key in a file, from 1; where the key is not written, that of what it stands in. Entries of a list are named
/// by their place, as in `tls.certificates.0.chain`.
pub fn locate(text: &str, key: &str) -> usize {
    let (root, _) = toml::de::DeTable::parse_recoverable(text);
    let report = Report::new(text);
    let mut parts = key.split('.');
    let first = parts.next().and_then(|part| root.get_ref().get(part));
    let Some(mut found) = first else { return 1 };
    for part in parts {
        let inner = match part.parse::<usize>() {
            Ok(place) => found.get_ref().get(place),
            Err(_) => found.get_ref().get(part),
        };
        let Some(inner) = inner else { break };
        found = inner;
    }
    report.line(&found.span())
}

/// Reads the address of an admin listener as `[admin].listen` has it, or says what would be right.
pub fn admin_address(text: &str) -> Result<AdminListen, String> {
    <AdminAddress as Scalar>::of(&toml::de::DeValue::String(text.into()))
}

/// Prints a configuration as used: every key, defaults included, secrets masked. It reads back to the same values, but
/// for the masked ones.
pub fn to_toml(config: &Config) -> String {
    keys::write(config)
}
