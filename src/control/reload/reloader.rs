//! Reload: everything is read anew, and only when all of it is good do the workers hear of it.
//!
//! A thread of its own does it, one wish after the other: files and the resolver may be slow, and neither a worker nor
//! the supervisor waits for them. The same thread follows the certificates. What a wish came to is told to whoever asked,
//! to the log, to systemd and to the status page.

use crate::config;
use crate::control::log;
use crate::control::log::Changer;
use crate::control::process::state::{Current, Phase, ProcessState};
use crate::control::reload::cert_watch::CertWatcher;
use crate::control::start::certs;
use crate::control::start::host;
use crate::control::start::load;
use crate::control::start::load::{Failure, Loaded};
use crate::control::stream_manager::dns;
use crate::control::stream_manager::dns::Resolved;
use crate::control::systemd;
use crate::control::workers::interface::Revise;
use crate::control::workers::parts::RevisionParts;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use futures_channel::oneshot;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often files of certificates are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How often somebody is reminded that a certificate is about to end.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);

/// Somebody wants a reload.
#[derive(Debug)]
pub struct ReloadRequest {
    by: &'static str,
    tell: Option<oneshot::Sender<Arc<ReloadReport>>>,
}

impl ReloadRequest {
    /// Nobody waits for what becomes of it.
    pub fn by_signal() -> Self {
        Self { by: "signal", tell: None }
    }
}

/// What became of a wish.
#[derive(Debug)]
pub struct ReloadReport {
    pub at: SystemTime,
    /// Who wanted it: `signal`, `admin`, or the files of `certificates`.
    pub by: &'static str,
    pub outcome: Result<Done, ReloadError>,
}

/// A newer revision is served.
#[derive(Debug)]
pub struct Done {
    pub revision: u64,
    /// Keys that the file has other values for, which need a restart.
    pub needs_restart: Vec<&'static str>,
    /// What somebody should know.
    pub warnings: Vec<String>,
}

/// Nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub struct ReloadError {
    /// One sentence.
    pub reason: String,
    /// Every problem, as `check` prints it.
    pub problems: Vec<String>,
}

impl ReloadReport {
    /// For the status page and for commands.
    pub fn to_json(&self) -> Value {
        let at = self.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match &self.outcome {
            Ok(Done { revision, needs_restart, warnings }) => json!({
                "at": at, "by": self.by, "good": true,
                "revision": revision, "needs_restart": needs_restart, "warnings": warnings,
            }),
            Err(ReloadError { reason, problems }) => {
                json!({ "at": at, "by": self.by, "good": false, "error": reason, "problems": problems })
            }
        }
    }
}

/// Passes a wish on to whoever reloads. It is lost when nobody does: before all workers listen, and at the end.
pub fn wish(shared: &ProcessState, wish: ReloadRequest) {
    if shared.reload.get().is_none_or(|reload| reload.send(wish).is_err()) {
        tracing::warn!("nothing can be reloaded now");
    }
}

/// `POST /api/reload`: answers when it is done, or why it is not.
pub async fn answer(State(shared): State<Arc<ProcessState>>) -> Response {
    let (tell, told) = oneshot::channel();
    wish(&shared, ReloadRequest { by: "admin", tell: Some(tell) });
    let Ok(attempt) = told.await else {
        let text = json!({ "error": "the gateway is not serving", "problems": [] });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(text)).into_response();
    };
    let status = match &attempt.outcome {
        Ok(_) => StatusCode::OK,
        Err(_) if shared.phase.get() != Phase::Serving => StatusCode::SERVICE_UNAVAILABLE,
        Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, Json(attempt.to_json())).into_response()
}

/// Everything a reload needs.
pub(crate) struct Reloader {
    path: PathBuf,
    shared: Arc<ProcessState>,
    logs: Changer,
    workers: Box<dyn Revise>,
    /// As it was given to the workers last.
    served: RevisionParts,
    cert_watcher: CertWatcher,
    reminded: Instant,
}

impl Reloader {
    /// Reloads this file. `served` was made of `loaded`.
    pub(crate) fn new(
        path: PathBuf,
        shared: Arc<ProcessState>,
        logs: Changer,
        workers: Box<dyn Revise>,
        served: RevisionParts,
        certificates: Vec<certs::Loaded>,
    ) -> Self {
        let cert_watcher = CertWatcher::new(&served.config.tls.certificates, certificates);
        Self { path, shared, logs, workers, served, cert_watcher, reminded: Instant::now() }
    }

    /// Begins to take wishes, on a thread of its own that ends with the process.
    pub(crate) fn start(self) -> std::io::Result<()> {
        let (wishes, inbox) = channel();
        // the first and only start of this process sets it
        let _ = self.shared.reload.set(wishes);
        thread::Builder::new().name("tidegate-reload".to_owned()).spawn(move || self.work(&inbox)).map(drop)
    }

    fn work(mut self, inbox: &Receiver<ReloadRequest>) {
        loop {
            match inbox.recv_timeout(LOOK) {
                Ok(wish) => {
                    let attempt = self.take(wish.by);
                    if let Some(tell) = wish.tell {
                        // who asked may have left
                        let _ = tell.send(attempt);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// One reload, and what is said of it.
    fn take(&mut self, by: &'static str) -> Arc<ReloadReport> {
        if self.shared.phase.get() != Phase::Serving {
            let phase = self.shared.phase.get().word();
            let reason = format!("the gateway is {phase} and takes no other configuration now");
            tracing::warn!("no reload: {reason}");
            let outcome = Err(ReloadError { reason, problems: Vec::new() });
            return Arc::new(ReloadReport { at: SystemTime::now(), by, outcome });
        }
        systemd::reloading();
        let outcome = self.reload();
        match &outcome {
            Ok(done) => {
                done.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                tracing::info!(revision = done.revision, by, "reloaded");
            }
            Err(refused) => {
                refused.problems.iter().for_each(|problem| tracing::error!("{problem}"));
                tracing::error!(
                    by,
                    "reload refused, revision {} is served on: {}",
                    self.served.number,
                    refused.reason
                );
            }
        }
        systemd::reloaded();
        self.note(by, outcome)
    }

    fn note(&self, by: &'static str, outcome: Result<Done, ReloadError>) -> Arc<ReloadReport> {
        let attempt = Arc::new(ReloadReport { at: SystemTime::now(), by, outcome });
        self.shared.last_reload.store(Some(Arc::clone(&attempt)));
        attempt
    }

    /// All that can fail comes first; then all that can't.
    fn reload(&mut self) -> Result<Done, ReloadError> {
        let mut loaded = load::load(&self.path).map_err(|failure| self.refuse(&failure))?;
        let needs_restart = config::keep_restart_only(&self.served.config, &mut loaded.config);
        let (resolved, lost) = self.resolve(&loaded)?;
        let opened = log::open(&loaded.config.log).map_err(|error| {
            let found = format!("a file that can't be opened ({error})");
            let right = "a file that tidegate's user may write".to_owned();
            self.problems(vec![loaded.problem("log.access", found, right)])
        })?;

        let mut warnings: Vec<_> = loaded.warnings.iter().map(|warning| self.line(warning)).collect();
        warnings.extend(lost);
        warnings
            .extend(needs_restart.iter().map(|key| format!("{key} differs: it needs a restart to change")));
        if loaded.config.limits.sessions != self.served.config.limits.sessions {
            host::raise_files(loaded.config.limits.sessions);
        }
        let facts = loaded.facts();
        self.cert_watcher = CertWatcher::new(&loaded.config.tls.certificates, loaded.certificates);
        self.logs.change(opened);
        let parts = RevisionParts {
            number: self.served.number + 1,
            config: Arc::new(loaded.config),
            tls: loaded.tls,
            roots: loaded.roots,
            self_addresses: resolved.self_addresses,
            names: resolved.names,
        };
        self.serve(parts, facts, needs_restart.clone());
        Ok(Done { revision: self.served.number, needs_restart, warnings })
    }

    /// Hands what is good to the workers. Nothing in here can fail.
    fn serve(
        &mut self,
        mut parts: RevisionParts,
        facts: Vec<certs::Facts>,
        needs_restart: Vec<&'static str>,
    ) {
        let before = self.shared.current();
        let names = |facts: &[certs::Facts]| -> Vec<String> {
            facts.iter().flat_map(|facts| facts.names.clone()).collect()
        };
        let now = names(&facts);
        let still_good = names(&before.certificates).iter().all(|name| now.contains(name))
            && before.config.tls.min_version == parts.config.tls.min_version;
        certs::keep_tickets(&mut parts.tls, &self.served.tls, still_good);
        self.served = parts.clone();
        let (revision, config) = (parts.number, Arc::clone(&parts.config));
        for worker in self.workers.revise(parts) {
            tracing::error!(worker, "a worker stands still and has not taken over revision {revision} yet");
        }
        self.shared.replace(Current { revision, config, certificates: facts, needs_restart });
    }

    /// Resolves what the configuration names. A name that is new has to resolve; one that was served before keeps what it
    /// had, and is told of.
    fn resolve(&self, loaded: &Loaded) -> Result<(Resolved, Vec<String>), ReloadError> {
        let resolved = dns::resolve(&loaded.config);
        let resolved =
            resolved.after(&self.served.config, &self.served.self_addresses, &self.workers.names());
        let resolved = resolved.map_err(|unknown| {
            let problem = |lost: &dns::Unresolved| {
                let found = format!("{}, which does not resolve now ({})", lost.name, lost.error);
                loaded.problem(lost.key, found, "a name that DNS knows".to_owned())
            };
            self.problems(unknown.iter().map(problem).collect())
        })?;
        let text = |lost: &dns::Unresolved| {
            format!("{} does not resolve now ({}); its former addresses stay", lost.name, lost.error)
        };
        let warnings = resolved.lost.iter().map(text).collect();
        Ok((resolved, warnings))
    }

    fn refuse(&self, failure: &Failure) -> ReloadError {
        match failure {
            Failure::Unreadable { path, error } => ReloadError {
                reason: format!("can't read the configuration {} ({error})", path.display()),
                problems: Vec::new(),
            },
            Failure::Problems { problems, .. } => self.problems(problems.clone()),
        }
    }

    fn problems(&self, problems: Vec<config::Problem>) -> ReloadError {
        let count = match problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        let reason = format!("{} has {count}", self.path.display());
        ReloadError { reason, problems: problems.iter().map(|problem| self.line(problem)).collect() }
    }

    fn line(&self, problem: &config::Problem) -> String {
        format!("{}:{}: {problem}", self.path.display(), problem.line)
    }

    /// Looks whether certificates changed under us.
    fn look(&mut self) {
        if self.shared.phase.get() != Phase::Serving {
            return;
        }
        if self.reminded.elapsed() >= REMIND {
            self.reminded = Instant::now();
            self.remind();
        }
        let seen = self.cert_watcher.look();
        if !seen.complaints.is_empty() {
            for complaint in &seen.complaints {
                tracing::warn!(
                    "a certificate changed and can't be used; the old one is served on: {complaint}"
                );
            }
            let reason = "a certificate changed and can't be used; it is tried again".to_owned();
            self.note("certificates", Err(ReloadError { reason, problems: seen.complaints }));
        } else if seen.changed {
            let outcome = self.renew();
            self.note("certificates", outcome);
        } else if seen.recovered {
            self.shared.last_reload.store(None);
        }
    }

    /// Serves the certificates that stand in the files now, and everything else as before.
    fn renew(&mut self) -> Result<Done, ReloadError> {
        let certificates = self.cert_watcher.served();
        let facts: Vec<_> = certificates.iter().map(|certificate| certificate.facts.clone()).collect();
        let tls = certs::server_config(&self.served.config.tls, certificates).map_err(|error| {
            tracing::error!(%error, "a certificate changed and can't be used; the old one is served on");
            ReloadError { reason: error.to_string(), problems: Vec::new() }
        })?;
        let names = self.workers.names().as_ref().clone();
        let parts = RevisionParts { number: self.served.number + 1, tls, names, ..self.served.clone() };
        let needs_restart = self.shared.current().needs_restart.clone();
        self.serve(parts, facts, needs_restart.clone());
        tracing::info!(revision = self.served.number, "certificates changed, and are served");
        self.remind();
        Ok(Done { revision: self.served.number, needs_restart, warnings: Vec::new() })
    }

    /// Says which certificates are about to end, or did.
    fn remind(&self) {
        for facts in &self.shared.current().certificates {
            if let Some((found, right)) = facts.concern() {
                tracing::warn!("{} is {found}; {right}", facts.chain.display());
            }
        }
    }
}
