//! The reloader: reads configuration and certificates anew while the gateway serves, and hands a newer revision to the workers
//! only when all of it is good.
//!
//! It runs on a thread of its own and takes one request after the other. Files and the resolver may be slow, and neither a
//! worker nor the supervisor may wait for them. The same thread watches the files of the certificates. The report of an
//! attempt goes to the sender of the request, to the log, to systemd and to the status page.

use crate::config::{self, Config, Problem};
use crate::control::log::{self, Changer};
use crate::control::process::reload_report::{ReloadError, ReloadReport, ReloadRequest, Reloaded};
use crate::control::process::state::{Phase, ProcessState, Served};
use crate::control::reload::cert_watch::CertWatcher;
use crate::control::start::certs;
use crate::control::start::host;
use crate::control::start::load::{self, Carried, Failure, Loaded};
use crate::control::stream_manager::dns::{self, Resolved};
use crate::control::systemd;
use crate::control::workers::interface::Revise;
use crate::control::workers::parts::RevisionParts;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How often the files of the certificates are looked at.
const CERT_WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// How often the log warns of a certificate that expires soon.
const EXPIRY_WARNING_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything a reload needs. What is served now is read from the process state and from the workers' newest revision.
pub(crate) struct Reloader {
    path: PathBuf,
    state: Arc<ProcessState>,
    logs: Changer,
    workers: Box<dyn Revise>,
    cert_watcher: CertWatcher,
    expiry_warned: Instant,
}

impl Reloader {
    /// A reloader of the configuration file at `path`. `cert_watcher` watches the certificates that are served.
    pub(crate) fn new(
        path: PathBuf,
        state: Arc<ProcessState>,
        logs: Changer,
        workers: Box<dyn Revise>,
        cert_watcher: CertWatcher,
    ) -> Self {
        Self { path, state, logs, workers, cert_watcher, expiry_warned: Instant::now() }
    }

    /// Begins to take requests, on a thread of its own that ends with the process. It fails if no thread can be started.
    pub(crate) fn start(self) -> std::io::Result<()> {
        let (requests, inbox) = channel();
        // a process starts its reloader once, so nothing is set twice
        let _ = self.state.reload_requests.set(requests);
        thread::Builder::new().name("tidegate-reload".to_owned()).spawn(move || self.run(&inbox)).map(drop)
    }

    fn run(mut self, inbox: &Receiver<ReloadRequest>) {
        loop {
            match inbox.recv_timeout(CERT_WATCH_INTERVAL) {
                Ok(request) => {
                    let report = self.handle(request.by);
                    if let Some(reply) = request.reply {
                        // it fails if the connection to the admin listener is gone
                        let _ = reply.send(report);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.look_at_certificates(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// One reload and its report. While the gateway does not serve it is refused, and systemd is not told.
    fn handle(&mut self, by: &'static str) -> Arc<ReloadReport> {
        let (phase, successor) = (self.state.phase.get(), self.state.successor.get());
        if phase != Phase::Serving || successor.is_some() {
            let reason = match successor {
                Some(pid) => format!("process {pid} serves now, this one ends; ask that one for a reload"),
                None => format!("the gateway is {}; it reloads only while it is serving", phase.word()),
            };
            tracing::warn!(by, "reload refused: {reason}");
            let outcome = Err(ReloadError { reason, problems: Vec::new() });
            return Arc::new(ReloadReport { at: SystemTime::now(), by, outcome });
        }
        systemd::reloading();
        let outcome = self.reload();
        match &outcome {
            Ok(reloaded) => {
                reloaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                tracing::info!(revision = reloaded.revision, by, "reloaded");
            }
            Err(ReloadError { reason, problems }) => {
                problems.iter().for_each(|problem| tracing::error!("{problem}"));
                let revision = self.state.served().revision;
                tracing::error!(by, "reload refused, revision {revision} stays in use: {reason}");
            }
        }
        systemd::reloaded();
        self.record(by, outcome)
    }

    fn record(&self, by: &'static str, outcome: Result<Reloaded, ReloadError>) -> Arc<ReloadReport> {
        let report = Arc::new(ReloadReport { at: SystemTime::now(), by, outcome });
        self.state.set_last_reload(Arc::clone(&report));
        report
    }

    /// First everything that can fail, then everything that can't: a reload is either complete or changes nothing.
    fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let served = self.state.served();
        let (challenges, by_acme) = (Arc::clone(&self.state.challenges), self.cert_watcher.by_acme());
        let loaded = load::load(&self.path, &Carried { challenges, by_acme });
        let mut loaded = loaded.map_err(|failure| self.load_error(&failure))?;
        let needs_restart = config::keep_restart_only(&served.config, &mut loaded.config);
        let (resolved, unresolved) = self.resolve(&loaded, &served.config)?;
        let opened = log::open(&loaded.config.log).map_err(|error| {
            let found = format!("a file that can't be opened ({error})");
            let expected = "a file that tidegate's user may write".to_owned();
            self.problems(&[loaded.problem("log.access", found, expected)])
        })?;

        let mut warnings: Vec<_> = loaded.warnings.iter().map(|warning| self.line(warning)).collect();
        warnings.extend(unresolved);
        let at = |key: &str| format!("{}:{}: {key}", self.path.display(), loaded.line(key));
        warnings.extend(
            needs_restart.iter().map(|key| format!("{} differs: it needs a restart to change", at(key))),
        );
        if loaded.config.limits.sessions != served.config.limits.sessions {
            host::raise_file_limit(loaded.config.limits.sessions);
        }
        let certificates = loaded.facts();
        self.cert_watcher = CertWatcher::new(&loaded.config, loaded.certificates, loaded.stored);
        self.logs.change(opened);
        let parts = RevisionParts {
            number: served.revision + 1,
            config: Arc::new(loaded.config),
            tls: loaded.tls,
            roots: loaded.roots,
            self_addresses: resolved.self_addresses,
            names: resolved.names,
        };
        let revision = self.serve(parts, certificates, needs_restart.clone());
        self.state.acme.note_reload();
        Ok(Reloaded { revision, needs_restart, warnings })
    }

    /// Hands a good revision to the workers and records that it is served. Nothing in here can fail. Returns its number.
    fn serve(
        &self,
        mut parts: RevisionParts,
        certificates: Vec<certs::Facts>,
        needs_restart: Vec<&'static str>,
    ) -> u64 {
        let before = self.state.served();
        let names = |certificates: &[certs::Facts]| -> Vec<String> {
            certificates.iter().flat_map(|facts| facts.names.clone()).collect()
        };
        let names_now = names(&certificates);
        let may_resume = names(&before.certificates).iter().all(|name| names_now.contains(name))
            && before.config.tls.min_version == parts.config.tls.min_version;
        certs::keep_tickets(&mut parts.tls, &self.workers.newest().tls, may_resume);
        let (revision, config) = (parts.number, Arc::clone(&parts.config));
        for worker in self.workers.revise(parts) {
            tracing::error!(worker, revision, "worker unresponsive, it has not taken over the revision yet");
        }
        self.state.set_served(Served { revision, config, certificates, needs_restart });
        revision
    }

    /// Resolves the names in a new configuration. A name that is new has to resolve. One that was served before keeps its
    /// addresses if it does not resolve now; the second value has a warning for each of these.
    fn resolve(&self, loaded: &Loaded, before: &Config) -> Result<(Resolved, Vec<String>), ReloadError> {
        let newest = self.workers.newest();
        let resolved =
            dns::resolve(&loaded.config).keep_former(before, &newest.admission().own, &newest.names.load());
        let resolved = resolved.map_err(|unresolved| {
            let problem = |name: &dns::Unresolved| {
                let found = format!("{}, which does not resolve now ({})", name.name, name.error);
                loaded.problem(&name.path(&loaded.config), found, "a name that DNS knows".to_owned())
            };
            self.problems(&unresolved.iter().map(problem).collect::<Vec<_>>())
        })?;
        let warning = |name: &dns::Unresolved| {
            format!(
                "{}:{}: {}: {} does not resolve now ({}); its former addresses stay in use",
                self.path.display(),
                loaded.line(&name.path(&loaded.config)),
                name.key,
                name.name,
                name.error
            )
        };
        let warnings = resolved.unresolved.iter().map(warning).collect();
        Ok((resolved, warnings))
    }

    fn load_error(&self, failure: &Failure) -> ReloadError {
        match failure {
            Failure::Unreadable { path, error } => ReloadError {
                reason: format!("can't read the configuration {} ({error})", path.display()),
                problems: Vec::new(),
            },
            Failure::Problems { problems, .. } => self.problems(problems),
        }
    }

    fn problems(&self, problems: &[Problem]) -> ReloadError {
        let reason = format!("{} has {}", self.path.display(), load::count(problems.len()));
        ReloadError { reason, problems: problems.iter().map(|problem| self.line(problem)).collect() }
    }

    fn line(&self, problem: &Problem) -> String {
        format!("{}:{}: {problem}", self.path.display(), problem.line)
    }

    /// Serves certificates whose files changed, and reports those that changed and can't be used.
    fn look_at_certificates(&mut self) {
        if self.state.phase.get() != Phase::Serving {
            return;
        }
        if self.expiry_warned.elapsed() >= EXPIRY_WARNING_INTERVAL {
            self.expiry_warned = Instant::now();
            self.warn_of_expiry();
        }
        let changes = self.cert_watcher.poll();
        if !changes.complaints.is_empty() {
            for complaint in &changes.complaints {
                tracing::warn!("changed certificate can't be used, the former one stays in use: {complaint}");
            }
            let reason = "a changed certificate can't be used; it is read again every 2 seconds".to_owned();
            self.record("certificates", Err(ReloadError { reason, problems: changes.complaints }));
        } else if changes.changed {
            let outcome = self.renew();
            self.record("certificates", outcome);
        } else if changes.recovered {
            self.state.last_reload.store(None);
        }
    }

    /// Serves the certificates that are in the files now, and everything else as before.
    fn renew(&self) -> Result<Reloaded, ReloadError> {
        let served = self.state.served();
        let loaded = self.cert_watcher.served();
        let certificates: Vec<_> = loaded.iter().map(|certificate| certificate.facts.clone()).collect();
        let acme = certs::AcmeNames::of(&served.config.acme, &self.state.challenges);
        let tls = certs::server_config(&served.config.tls, loaded, acme).map_err(|error| {
            tracing::error!(%error, "changed certificate can't be used, the former one stays in use");
            ReloadError { reason: error.to_string(), problems: Vec::new() }
        })?;
        let parts = RevisionParts::with_tls(&self.workers.newest(), tls);
        let needs_restart = served.needs_restart.clone();
        let revision = self.serve(parts, certificates, needs_restart.clone());
        tracing::info!(revision, "changed certificates are served");
        self.warn_of_expiry();
        Ok(Reloaded { revision, needs_restart, warnings: Vec::new() })
    }

    /// Logs which certificates expire soon, have expired or are not valid yet.
    fn warn_of_expiry(&self) {
        for facts in &self.state.served().certificates {
            if let Some((found, right)) = facts.concern() {
                tracing::warn!("{} is {found}; {right}", facts.chain.display());
            }
        }
    }
}
