//! Loads everything that a start needs from files: the configuration, certificates with their keys, the CA bundle, secrets.
//!
//! `tidegate run`, `tidegate check` and a reload share it, so that what `check` accepts also starts. It opens no port.

use crate::config;
use crate::config::{AccessLog, Config, Problem, Secret};
use crate::control::start::certs;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that was loaded from a set of files without problems.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration as written, with references to secrets instead of secrets: it may be printed.
    pub written: Config,
    /// The configuration as used, with secrets resolved.
    pub config: Config,
    pub certificates: Vec<certs::Loaded>,
    pub tls: Arc<ServerConfig>,
    /// Certificates of `stream_manager.ca`.
    pub roots: Vec<CertificateDer<'static>>,
    /// What does not prevent a start, but needs attention.
    pub warnings: Vec<Problem>,
    /// The text of the file, for the lines of problems that show later.
    text: Secret,
}

impl Loaded {
    /// A problem of the key `key`, with its line. `found` is what the key has, `expected` what it needs.
    pub fn problem(&self, key: &str, found: String, expected: String) -> Problem {
        Problem { key: key.to_owned(), line: config::locate(&self.text.0, key), found, expected }
    }

    /// The public facts of its certificates, in the order of the configuration.
    pub fn facts(&self) -> Vec<certs::Facts> {
        self.certificates.iter().map(|certificate| certificate.facts.clone()).collect()
    }
}

/// Why nothing could be loaded.
#[derive(Debug)]
pub enum Failure {
    /// The configuration file can't be read.
    Unreadable { path: PathBuf, error: io::Error },
    /// Every problem, in the order of the file.
    Problems {
        problems: Vec<Problem>,
        /// All of them are files that can't be read.
        only_missing: bool,
    },
}

/// The number of problems in words: `1 problem`, `2 problems`.
pub fn count(problems: usize) -> String {
    match problems {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    }
}

/// Gathers the problems of files that the configuration names.
struct Findings<'t> {
    text: &'t str,
    problems: Vec<Problem>,
    only_missing: bool,
}

impl Findings<'_> {
    fn problem(&self, key: &str, found: String, expected: String) -> Problem {
        Problem { key: key.to_owned(), line: config::locate(self.text, key), found, expected }
    }

    fn add(&mut self, key: &str, found: String, expected: String, missing: bool) {
        self.problems.push(self.problem(key, found, expected));
        self.only_missing &= missing;
    }
}

/// Reads the configuration file at `path` and every file that it names. The error has all problems, not only the first.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    let text = fs::read(path)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8")))
        .map_err(|error| Failure::Unreadable { path: path.to_owned(), error })?;
    let written =
        config::read(&text).map_err(|problems| Failure::Problems { problems, only_missing: false })?;
    let mut findings = Findings { text: &text, problems: Vec::new(), only_missing: true };
    let loaded = certificates(&written, &mut findings);
    let roots = ca(&written, &mut findings);
    access_log(&written, &mut findings);
    let authorization = authorization(&written, &mut findings);
    let warnings = expired(&loaded, &findings);
    let tls = certs::server_config(&written.tls, loaded.clone());
    let tls = tls
        .map_err(|error| findings.add("tls", error.to_string(), "other settings in [tls]".to_owned(), false));
    match tls {
        Ok(tls) if findings.problems.is_empty() => {
            let mut config = written.clone();
            config.stream_manager.authorization = authorization;
            Ok(Loaded { written, config, certificates: loaded, tls, roots, warnings, text: Secret(text) })
        }
        _ => Err(Failure::Problems { problems: findings.problems, only_missing: findings.only_missing }),
    }
}

fn certificates(config: &Config, findings: &mut Findings<'_>) -> Vec<certs::Loaded> {
    let mut loaded = Vec::new();
    for (index, certificate) in config.tls.certificates.iter().enumerate() {
        match certs::load(certificate) {
            Ok(certificate) => loaded.push(certificate),
            Err(faults) => {
                for fault in faults {
                    let key = format!("tls.certificates.{index}.{}", fault.entry);
                    findings.add(&key, fault.found, fault.expected, fault.missing);
                }
            }
        }
    }
    loaded
}

fn expired(certificates: &[certs::Loaded], findings: &Findings<'_>) -> Vec<Problem> {
    let warn = |(index, certificate): (usize, &certs::Loaded)| {
        let (concern, advice) = certificate.facts.concern()?;
        let found = format!("{}, which is {concern}; {advice}", certificate.facts.chain.display());
        let expected = "a certificate that is valid now and for another week".to_owned();
        Some(findings.problem(&format!("tls.certificates.{index}.chain"), found, expected))
    };
    certificates.iter().enumerate().filter_map(warn).collect()
}

fn ca(config: &Config, findings: &mut Findings<'_>) -> Vec<CertificateDer<'static>> {
    let Some(path) = &config.stream_manager.ca else { return Vec::new() };
    certs::read_chain(path).unwrap_or_else(|error| {
        let fault = certs::pem_fault("ca", path, &error, "certificate");
        findings.add("stream_manager.ca", fault.found, fault.expected, fault.missing);
        Vec::new()
    })
}

fn access_log(config: &Config, findings: &mut Findings<'_>) {
    let AccessLog::File(path) = &config.log.access else { return };
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // a file that does not exist is not created: a check leaves nothing behind
    let error = match path.exists() {
        true => OpenOptions::new().append(true).open(path).err(),
        false => fs::read_dir(folder).err(),
    };
    if let Some(error) = error {
        let found = format!("{}, which can't be written ({error})", path.display());
        let right = "a file in a folder that is there and that tidegate's user may write".to_owned();
        findings.add("log.access", found, right, true);
    }
}

/// The value that `env:NAME` or `file:PATH` refers to. A problem never quotes it, because it is a secret.
fn authorization(config: &Config, findings: &mut Findings<'_>) -> Option<Secret> {
    let Secret(text) = config.stream_manager.authorization.as_ref()?;
    let key = "stream_manager.authorization";
    let value = if let Some(name) = text.strip_prefix("env:") {
        std::env::var(name)
            .map_err(|_| (format!("env:{name}, which is not set"), "a variable that is set", false))
    } else if let Some(path) = text.strip_prefix("file:") {
        fs::read_to_string(path).map_err(|error| {
            (
                format!("file:{path}, which can't be read ({error})"),
                "a file that tidegate's user may read",
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
            let right = "one line of printable characters".to_owned();
            findings.add(key, "a value that no HTTP field can hold".to_owned(), right, false);
        }
        Err((found, right, missing)) => findings.add(key, found, right.to_owned(), missing),
    }
    None
}
