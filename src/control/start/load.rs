//! Everything a start needs from files: the configuration, certificates with their keys, CA bundle, secrets.
//!
//! `run` and `check` share it, so that what `check` accepts also starts. No port is touched here.

use crate::config;
use crate::config::{AccessLog, Config, Problem, Secret};
use crate::control::start::certs;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a good set of files gives.
#[derive(Debug)]
pub struct Loaded {
    /// As written, references to secrets kept as they are: this one may be printed.
    pub written: Config,
    /// As used: secrets resolved.
    pub config: Config,
    pub certificates: Vec<certs::Loaded>,
    pub tls: Arc<ServerConfig>,
    /// Certificates of the configured CA bundle.
    pub roots: Vec<CertificateDer<'static>>,
    /// What does not keep the gateway from starting, but somebody should know.
    pub warnings: Vec<Problem>,
    /// The file, for places of problems that show later.
    text: Secret,
}

impl Loaded {
    /// A problem of a key, with its line.
    pub fn problem(&self, key: &str, found: String, expected: String) -> Problem {
        Problem { key: key.to_owned(), line: config::locate(&self.text.0, key), found, expected }
    }

    /// What people may know of its certificates.
    pub fn facts(&self) -> Vec<certs::Facts> {
        self.certificates.iter().map(|certificate| certificate.facts.clone()).collect()
    }
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
    fn problem(&self, key: &str, found: String, expected: String) -> Problem {
        Problem { key: key.to_owned(), line: config::locate(self.text, key), found, expected }
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

fn expired(certificates: &[certs::Loaded], findings: &Findings<'_>) -> Vec<Problem> {
    let warn = |(place, certificate): (usize, &certs::Loaded)| {
        let (concern, advice) = certificate.facts.concern()?;
        let found = format!("{}, which is {concern}; {advice}", certificate.facts.chain.display());
        let expected = "a certificate that is valid now and for another week".to_owned();
        Some(findings.problem(&format!("tls.certificates.{place}.chain"), found, expected))
    };
    certificates.iter().enumerate().filter_map(warn).collect()
}

fn ca(config: &Config, findings: &mut Findings<'_>) -> Vec<CertificateDer<'static>> {
    let Some(path) = &config.stream_manager.ca else { return Vec::new() };
    certs::read_chain(path).unwrap_or_else(|error| {
        let fault = certs::pem_fault("ca", path, &error, "certificate");
        findings.add("stream_manager.ca", fault.found, fault.right, fault.missing);
        Vec::new()
    })
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
        let right = "a file in a folder that is there and that tidegate's user may write".to_owned();
        findings.add("log.access", found, right, true);
    }
}

/// What `env:NAME` and `file:PATH` stand for. The value is never named in a problem.
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
