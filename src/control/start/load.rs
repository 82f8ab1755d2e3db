//! Loads everything that a start needs from files: the configuration, certificates with their keys, the CA bundle, secrets.
//!
//! `tidegate run`, `tidegate check` and a reload share it, so that what `check` accepts also starts. It opens no port.

use crate::config;
use crate::config::{AccessLog, Acme, AdminListen, Config, Problem, Reading, Secret};
use crate::control::start::certs::{self, AcmeNames, Challenges};
use crate::control::start::host::{self, Ipv6};
use crate::control::start::otlp_headers;
use crate::control::start::secret::{self, Missing};
use crate::control::start::stored_certs::{self, Stored};
use rustix::fs::{Access, AtFlags, CWD};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that was loaded from a set of files without problems.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration as written, with references to secrets instead of secrets: it may be printed.
    pub written: Config,
    /// The configuration as used, with secrets resolved.
    pub config: Config,
    /// Those of `tls.certificates`.
    pub certificates: Vec<certs::Loaded>,
    /// Those that are stored for `tls.acme.names`, in the same order; `None` where there is none yet.
    pub stored: Vec<Option<certs::Loaded>>,
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
        Problem { key: key.to_owned(), line: self.line(key), found, expected }
    }

    /// The line of the file on which a key stands, or the table where it would stand.
    pub fn line(&self, key: &str) -> usize {
        config::locate(&self.text.0, key)
    }

    /// Whether the file has this key, given as `table.key`, so that its value is not the default.
    pub fn writes(&self, key: &str) -> bool {
        config::writes(&self.text.0, key)
    }

    /// The public facts of its certificates, in the order of the configuration: those in files, then those by ACME.
    pub fn facts(&self) -> Vec<certs::Facts> {
        self.certificates
            .iter()
            .chain(self.stored.iter().flatten())
            .map(|certificate| certificate.facts.clone())
            .collect()
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

/// What a process that serves brings into a load; empty for one that does not.
#[derive(Debug, Default)]
pub struct Carried {
    /// The answers of this process to challenges, which its TLS settings give.
    pub challenges: Arc<Challenges>,
    /// Certificates by ACME that are served now, by name. They are served on where none is stored: after a change of the CA, or
    /// while a damaged file waits for another one.
    pub by_acme: HashMap<String, certs::Loaded>,
}

/// Reads the configuration file at `path` and every file that it names. The error has all problems, not only the first.
pub fn load(path: &Path, carried: &Carried) -> Result<Loaded, Failure> {
    let text =
        fs::read_to_string(path).map_err(|error| Failure::Unreadable { path: path.to_owned(), error })?;
    let Reading { config: written, problems, mut warnings } =
        config::read_whole(&text).map_err(|problems| Failure::Problems { problems, only_missing: false })?;
    // files are looked at also if values are wrong, so that one check finds everything
    let mut findings = Findings { text: &text, only_missing: problems.is_empty(), problems };
    let loaded = certificates(&written, &mut findings);
    let stored = stored_certificates(&written.acme, carried, &mut findings, &mut warnings);
    let roots = ca(written.stream_manager.ca.as_deref(), "stream_manager.ca", &mut findings);
    acme(&written.acme, &mut findings);
    access_log(&written, &mut findings);
    let authorization = authorization(&written, &mut findings);
    let token = token(&written, &mut findings);
    let headers = tracing(&written, &mut findings);
    let mut config = written.clone();
    ipv6(&mut config, &host::ipv6(), &mut findings, &mut warnings);
    warnings.extend(certificate_warnings(&loaded, &findings));
    warnings.extend(key_warnings(&written, &findings));
    warnings.sort_by_key(|warning| warning.line);
    let all = loaded.iter().chain(stored.iter().flatten()).cloned().collect();
    let tls = certs::server_config(&written.tls, all, AcmeNames::of(&written.acme, &carried.challenges));
    let tls = tls
        .map_err(|error| findings.add("tls", error.to_string(), "other settings in [tls]".to_owned(), false));
    match tls {
        Ok(tls) if findings.problems.is_empty() => {
            config.stream_manager.authorization = authorization;
            config.admin.token = token;
            config.tracing.headers = headers;
            let text = Secret(text);
            Ok(Loaded { written, config, certificates: loaded, stored, tls, roots, warnings, text })
        }
        _ => {
            let Findings { mut problems, only_missing, .. } = findings;
            problems.sort_by_key(|problem| problem.line);
            Err(Failure::Problems { problems, only_missing })
        }
    }
}

/// Compares the addresses to listen on with what this machine has. Without IPv6 in the kernel an IPv6 address that the file
/// writes is a problem, and the one among the defaults is left out with a warning, so that a file without `gateway.listen`
/// serves on every machine.
fn ipv6(config: &mut Config, found: &Ipv6, findings: &mut Findings<'_>, warnings: &mut Vec<Problem>) {
    let key = "gateway.listen";
    let listen: Vec<_> = config.gateway.listen.iter().filter(|address| address.is_ipv6()).copied().collect();
    match found {
        Ipv6::Usable => {}
        Ipv6::WithoutAddress => {
            if let Some(any) = listen.iter().find(|address| address.ip().is_unspecified()) {
                let found = format!("{any}, but no interface has an IPv6 address: only IPv4 is served");
                let right =
                    "IPv6 on this machine (sysctl net.ipv6.conf.all.disable_ipv6), or IPv4 addresses only";
                warnings.push(findings.problem(key, found, right.to_owned()));
            }
        }
        Ipv6::Missing(error) => {
            let right = "IPv4 addresses, or a kernel with IPv6 (boot parameter ipv6.disable)".to_owned();
            let without = format!("but this kernel has no IPv6 ({error})");
            if !listen.is_empty() && !config::writes(findings.text, key) {
                config.gateway.listen.retain(SocketAddr::is_ipv4);
                let found = format!("the default {}, {without}: only IPv4 is served", listen[0]);
                warnings.push(findings.problem(key, found, right.clone()));
            } else {
                for address in &listen {
                    findings.add(key, format!("{address}, {without}"), right.clone(), true);
                }
            }
            let admin = match config.admin.listen {
                AdminListen::Tcp(address) => Some(address),
                _ => None,
            };
            for (key, address) in [("monitoring.listen", config.monitoring.listen), ("admin.listen", admin)] {
                if let Some(address @ SocketAddr::V6(_)) = address {
                    findings.add(key, format!("{address}, {without}"), right.clone(), true);
                }
            }
        }
    }
}

fn certificates(config: &Config, findings: &mut Findings<'_>) -> Vec<certs::Loaded> {
    let mut loaded = Vec::new();
    if !config::writes(findings.text, "tls.certificates") {
        // what the configuration has there is the example in the table of keys
        return loaded;
    }
    for (index, certificate) in config.tls.certificates.iter().enumerate() {
        match certs::load(certificate) {
            Ok(certificate) => loaded.push(certificate),
            Err(faults) => {
                // an empty path is one that the reader of the file reported
                let path = |entry| if entry == "chain" { &certificate.chain } else { &certificate.key };
                for fault in faults.into_iter().filter(|fault| !path(fault.entry).as_os_str().is_empty()) {
                    let key = format!("tls.certificates.{index}.{}", fault.entry);
                    findings.add(&key, fault.found, fault.expected, fault.missing);
                }
            }
        }
    }
    loaded
}

/// Warnings about certificates that can be served, but that clients refuse now or soon.
fn certificate_warnings(certificates: &[certs::Loaded], findings: &Findings<'_>) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for (index, certificate) in certificates.iter().enumerate() {
        let (key, facts) = (format!("tls.certificates.{index}.chain"), &certificate.facts);
        let chain = facts.chain.display();
        if let Some((concern, advice)) = facts.concern() {
            let expected = "a certificate that is valid now and for another week".to_owned();
            let found = format!("{chain}, which is {concern}; {advice}");
            warnings.push(findings.problem(&key, found, expected));
        }
        if facts.names.is_empty() {
            let expected = "a certificate with its names as subjectAltName".to_owned();
            let found = format!("{chain}, which is for no name and no address, so that clients refuse it");
            warnings.push(findings.problem(&key, found, expected));
        }
    }
    warnings
}

/// Warnings about keys that other users of this machine may read. A key that can't be read at all is a problem already.
fn key_warnings(config: &Config, findings: &Findings<'_>) -> Vec<Problem> {
    if !config::writes(findings.text, "tls.certificates") {
        return Vec::new();
    }
    let warning = |(index, certificate): (usize, &config::Certificate)| {
        let path = secret::key_file(&certificate.key)?;
        let readers = certs::exposure(&path)?;
        let found = format!("{}, which can be read by {readers}", path.display());
        let expected = format!("a key that only tidegate's user may read ({})", certs::close_key(&path));
        Some(findings.problem(&format!("tls.certificates.{index}.key"), found, expected))
    };
    config.tls.certificates.iter().enumerate().filter_map(warning).collect()
}

/// What is stored for each name. A file that can't be used is a warning: the gateway orders another certificate.
fn stored_certificates(
    acme: &Acme,
    carried: &Carried,
    findings: &mut Findings<'_>,
    warnings: &mut Vec<Problem>,
) -> Vec<Option<certs::Loaded>> {
    let mut read = |(index, name): (usize, &String)| {
        let (found, expected) = match stored_certs::read(acme, name) {
            Stored::Good(loaded) => return Some(loaded),
            Stored::Missing => return carried.by_acme.get(name).cloned(),
            Stored::Damaged(found) => (found, "a stored certificate with its key (another one is ordered)"),
            Stored::Unreadable(found) => (found, "a file that tidegate's user may read"),
        };
        warnings.push(findings.problem(&format!("tls.acme.names.{index}"), found, expected.to_owned()));
        carried.by_acme.get(name).cloned()
    };
    acme.names.iter().enumerate().map(&mut read).collect()
}

/// Looks whether certificates could be ordered and stored.
fn acme(acme: &Acme, findings: &mut Findings<'_>) {
    if acme.names.is_empty() {
        return;
    }
    ca(acme.ca.as_deref(), "tls.acme.ca", findings);
    if let Some(error) = stored_certs::storage_fault(&acme.storage) {
        let found = format!("{}, which can't be written ({error})", acme.storage.display());
        let right = "a folder that tidegate's user may write, or may make";
        findings.add("tls.acme.storage", found, right.to_owned(), true);
    }
}

/// Reads the CA certificates of the file at `path`, which is the value of `key`.
fn ca(path: Option<&Path>, key: &str, findings: &mut Findings<'_>) -> Vec<CertificateDer<'static>> {
    let Some(path) = path else { return Vec::new() };
    certs::read_chain(path).unwrap_or_else(|error| {
        let fault = certs::pem_fault("ca", path, &error, "certificate");
        findings.add(key, fault.found, fault.expected, fault.missing);
        Vec::new()
    })
}

fn access_log(config: &Config, findings: &mut Findings<'_>) {
    let AccessLog::File(path) = &config.log.access else { return };
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let writable =
        |path, access| rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).map_err(io::Error::from);
    // a file that does not exist is not created: a check leaves nothing behind
    let result = match fs::metadata(path) {
        Ok(file) if file.is_file() => OpenOptions::new().append(true).open(path).map(drop),
        Ok(file) if file.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        // to open a pipe without a reader would wait
        Ok(_) => writable(path.as_path(), Access::WRITE_OK),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            writable(folder, Access::WRITE_OK | Access::EXEC_OK)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        let found = format!("{}, which can't be written ({error})", path.display());
        let right = "a file in a folder that is there and that tidegate's user may write".to_owned();
        findings.add("log.access", found, right, true);
    }
}

/// The value of `stream_manager.authorization`. A problem never quotes it, because it is a secret.
fn authorization(config: &Config, findings: &mut Findings<'_>) -> Option<Secret> {
    let key = "stream_manager.authorization";
    let value = secret::read(&config.stream_manager.authorization.as_ref()?.0);
    let value = value.and_then(|value| {
        if !value.is_empty() && value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Ok(value);
        }
        let (found, expected) = ("a value that no HTTP field can hold", "one line of printable characters");
        Err(Missing { found: found.to_owned(), expected: expected.to_owned(), is_file: false })
    });
    found_or_problem(key, value, findings)
}

/// The value of `admin.token`.
fn token(config: &Config, findings: &mut Findings<'_>) -> Option<Secret> {
    found_or_problem("admin.token", secret::read_token(&config.admin.token.as_ref()?.0), findings)
}

/// The value of `tracing.headers`; and whether this program can do what `tracing.endpoint` asks for.
fn tracing(config: &Config, findings: &mut Findings<'_>) -> Option<Secret> {
    if let Some(endpoint) = config.tracing.endpoint.as_ref().filter(|_| !cfg!(feature = "otel")) {
        let found = format!("{endpoint}, but this program was built without the feature otel");
        let expected = "\"\", or a program that was built with cargo build --features otel".to_owned();
        findings.add("tracing.endpoint", found, expected, false);
    }
    found_or_problem("tracing.headers", otlp_headers::read(&config.tracing.headers.as_ref()?.0), findings)
}

fn found_or_problem(
    key: &str,
    value: Result<String, Missing>,
    findings: &mut Findings<'_>,
) -> Option<Secret> {
    let problem = |Missing { found, expected, is_file }| findings.add(key, found, expected, is_file);
    value.map_err(problem).ok().map(Secret)
}
