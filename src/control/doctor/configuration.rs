//! The configuration that the machine is judged against: read as a start reads it, with a finding for each problem in it.

use crate::config::{self, Config, Problem};
use crate::control::doctor::finding::{Finding, Level};
use crate::control::start::load::{self, Carried, Failure, Loaded};
use std::io;
use std::path::Path;

/// What is known of a configuration.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// Everything, if a gateway could start with it.
    pub(crate) loaded: Option<Loaded>,
    /// The values, as far as the file can be read; defaults take the place of the rest.
    pub(crate) config: Config,
    pub(crate) findings: Vec<Finding>,
}

/// The smallest configuration, for its defaults. Nothing of it is asked or served.
const SMALLEST: &str =
    "stream_manager.url = \"http://192.0.2.1\"\ntls.certificates = [{ chain = \"none\", key = \"none\" }]\n";

/// Reads the configuration at `path` and every file that it names.
pub(crate) fn read(path: &Path) -> Configuration {
    match load::load(path, &Carried::default()) {
        Ok(loaded) => {
            let mut findings: Vec<_> = loaded
                .warnings
                .iter()
                .filter(|warning| !is_of_certificates(warning))
                .map(|warning| of_key(path, warning, Level::Warning))
                .collect();
            if findings.is_empty() {
                findings.push(Finding::ok("configuration", format!("{} is valid", path.display())));
            }
            Configuration { config: loaded.config.clone(), loaded: Some(loaded), findings }
        }
        Err(failure) => {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let reading = config::read_whole(&text).ok().map(|reading| reading.config);
            let config = reading
                .unwrap_or_else(|| config::read(SMALLEST).expect("the smallest configuration is valid"));
            Configuration { loaded: None, config, findings: of_failure(path, &failure) }
        }
    }
}

/// Certificates have checks of their own.
fn is_of_certificates(warning: &Problem) -> bool {
    warning.key.starts_with("tls.certificates")
}

fn of_failure(path: &Path, failure: &Failure) -> Vec<Finding> {
    match failure {
        Failure::Unreadable { path, error } => {
            let path = path.display();
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run `tidegate doctor` as root or as the gateway's user".to_owned()
                }
                io::ErrorKind::InvalidData => format!("save {path} as UTF-8"),
                _ => format!(
                    "write {path} (examples/tidegate.toml has every key), or name another file with --config"
                ),
            };
            vec![Finding::problem("configuration", format!("{path} can't be read ({error})"), remedy)]
        }
        Failure::Problems { problems, .. } => {
            problems.iter().map(|problem| of_key(path, problem, Level::Problem)).collect()
        }
    }
}

/// A finding for a problem or a warning of one key.
fn of_key(path: &Path, problem: &Problem, level: Level) -> Finding {
    let Problem { key, line, found, expected } = problem;
    let key = if key.is_empty() { "no TOML" } else { key };
    let (check, path) = ("configuration", path.display());
    let remedy = format!("correct line {line} of {path}: expected {expected}");
    Finding { level, check, found: format!("{key}: found {found}"), remedy: Some(remedy) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_file_with_problems_gives_a_finding_for_each_and_its_good_values() {
        let path: PathBuf = std::env::temp_dir().join(format!("tidegate-doctor-{}.toml", std::process::id()));
        std::fs::write(&path, "[limits]\nsessions = 7\nhandshakes = \"many\"\n").expect("written");
        let configuration = read(&path);
        std::fs::remove_file(&path).expect("removed");
        assert!(configuration.loaded.is_none());
        assert_eq!(configuration.config.limits.sessions, Some(7));
        let finding = configuration
            .findings
            .iter()
            .find(|finding| finding.found.starts_with("limits.handshakes: found"));
        let finding = finding.expect("a finding for the wrong value");
        assert_eq!(finding.level, Level::Problem);
        assert!(finding.remedy.as_ref().is_some_and(|remedy| remedy.starts_with("correct line 3 of ")));
    }

    #[test]
    fn without_a_file_the_defaults_count() {
        let configuration = read(Path::new("/nonexistent/tidegate.toml"));
        assert_eq!(configuration.config.limits.sessions, Some(100_000));
        assert_eq!(configuration.findings.len(), 1);
        assert!(configuration.findings[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("--config")));
    }
}
