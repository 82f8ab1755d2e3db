//! Everything a start needs from files: the configuration, certificates with their keys, CA bundle, secrets.
//!
//! `run` and `check` share it, so that what `check` accepts also starts. No port is touched here.

use super::certs;
use crate::config::{self, AccessLog, Config, Problem, Secret};
use rustls::ServerConfig;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a good set of files gives.
#[derive(Debug)]
pub struct Loaded {
    /// As written, references to secrets kept as they are: this one may be printed.
    pub written: Config,
    /// As used: secrets resolved.
    pub config: Config,
    pub certificates: Vec<certs::Facts>,
    pub tls: Arc<ServerConfig>,
    /// What does not keep the gateway from starting, but somebody should know.
    pub warnings: Vec<Problem>,
}

/// Why there is nothing to start with.
#[derive(Debug)]
pub enum Failure {
    /// The configuration file itself can't be had.
    Unreadable { path: PathBuf, error: io::Error },
    /// Every problem, in the order of the file.
    Problems {
        problems: Vec<Problem>,
        /// All of them are files that can't be had.
        only_missing: bool,
    },
}

/// Gathers problems that only show when files are opened.
struct Findings<'t> {
    text: &'t str,
    problems: Vec<Problem>,
    only_missing: bool,
}

impl Findings<'_> {
    fn problem(&self, key: &str, found: String, right: String) -> Problem {
        Problem { key: key.to_owned(), line: config::locate(self.text, key), found, right }
    }

    fn add(&mut self, key: &str, found: String, right: String, missing: bool) {
        self.problems.push(self.problem(key, found, right));
        self.only_missing &= missing;
    }
}

/// Reads the file and everything it names.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    let text = fs::read(path)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8")))
        .map_err(|error| Failure::Unreadable { path: path.to_owned(), error })?;
    let written =
        config::read(&text).map_err(|problems| Failure::Problems { problems, only_missing: false })?;
    let mut findings = Findings { text: &text, problems: Vec::new(), only_missing: true };
    let loaded = certificates(&written, &mut findings);
    ca(&written, &mut findings);
    access_log(&written, &mut findings);
    let authorization = authorization(&written, &mut findings);
    let facts: Vec<_> = loaded.iter().map(|certificate| certificate.facts.clone()).collect();
    let warnings = expired(&facts, &findings);
    let tls = certs::server_config(&written.tls, loaded);
    let tls = tls.map_err(|error| {
        findings.add("tls", error.to_string(), "right is another setting".to_owned(), false)
    });
    match tls {
        Ok(tls) if findings.problems.is_empty() => {
            let mut config = written.clone();
            config.stream_manager.authorization = authorization;
            Ok(Loaded { written, config, certificates: facts, tls, warnings })
        }
        _ => Err(Failure::Problems { problems: findings.problems, only_missing: findings.only_missing }),
    }
}

fn certificates(config: &Config, findings: &mut Findings<'_>) -> Vec<certs::Loaded> {
    let mut loaded = Vec::new();
    for (place, certificate) in config.tls.certificates.iter().enumerate() {
        match certs::load(certificate) {
            Ok(certificate) => loaded.push(certificate),
            Err(faults) => {
                for fault in faults {
                    let key = format!("tls.certificates.{place}.{}", fault.entry);
                    findings.add(&key, fault.found, fault.right, fault.missing);
                }
            }
        }
    }
    loaded
}

fn expired(facts: &[certs::Facts], findings: &Findings<'_>) -> Vec<Problem> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let warn = |(place, facts): (usize, &certs::Facts)| {
        let (found, right) = match facts {
            facts if facts.not_after < now => ("expired", "clients refuse it: renew it"),
            facts if facts.not_before > now => ("not valid yet", "look at the clock of this machine"),
            facts if facts.not_after < now + 7 * 86_400 => ("good for less than a week", "renew it soon"),
            _ => return None,
        };
        let found = format!("{}, which is {found}", facts.chain.display());
        Some(findings.problem(&format!("tls.certificates.{place}.chain"), found, right.to_owned()))
    };
    facts.iter().enumerate().filter_map(warn).collect()
}

fn ca(config: &Config, findings: &mut Findings<'_>) {
    let Some(path) = &config.stream_manager.ca else { return };
    if let Err(error) = certs::read_chain(path) {
        let fault = certs::pem_fault("ca", path, &error, "certificate");
        findings.add("stream_manager.ca", fault.found, fault.right, fault.missing);
    }
}

fn access_log(config: &Config, findings: &mut Findings<'_>) {
    let AccessLog::File(path) = &config.log.access else { return };
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // a check leaves no new file behind
    let error = match path.exists() {
        true => OpenOptions::new().append(true).open(path).err(),
        false => fs::read_dir(folder).err(),
    };
    if let Some(error) = error {
        let found = format!("{}, which can't be written ({error})", path.display());
        let right = "right is a file in a folder that is there and that tidegate's user may write".to_owned();
        findings.add("log.access", found, right, true);
    }
}

/// What `env:NAME` and `file:PATH` stand for. The value is never named in a problem.
fn authorization(config: &Config, findings: &mut Findings<'_>) -> Option<Secret> {
    let Secret(text) = config.stream_manager.authorization.as_ref()?;
    let key = "stream_manager.authorization";
    let value = if let Some(name) = text.strip_prefix("env:") {
        std::env::var(name)
            .map_err(|_| (format!("env:{name}, which is not set"), "right is a variable that is set", false))
    } else if let Some(path) = text.strip_prefix("file:") {
        fs::read_to_string(path).map_err(|error| {
            (
                format!("file:{path}, which can't be read ({error})"),
                "right is a file that tidegate's user may read",
                true,
            )
        })
    } else {
        Ok(text.clone())
    };
    match value {
        Ok(value) => {
            let value = value.trim_end_matches(['\r', '\n']);
            if !value.is_empty() && value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                return Some(Secret(value.to_owned()));
            }
            let right = "right is one line of printable characters".to_owned();
            findings.add(key, "a value that no HTTP field can hold".to_owned(), right, false);
        }
        Err((found, right, missing)) => findings.add(key, found, right.to_owned(), missing),
    }
    None
}
