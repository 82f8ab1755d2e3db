//! A reload as the rest of the process sees it: the request, and the report of its result.

use futures_channel::oneshot;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A request to read the configuration and the certificates anew.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Where it came from: `signal` or `admin`.
    pub(crate) by: &'static str,
    /// Takes the report, if something waits for it.
    pub(crate) reply: Option<oneshot::Sender<Arc<ReloadReport>>>,
}

impl ReloadRequest {
    /// A request by SIGHUP. The report goes only to the log, the status page and systemd.
    pub fn by_signal() -> Self {
        Self { by: "signal", reply: None }
    }

    /// A request by the admin listener, and the receiver of its report. The receiver fails if the request is dropped
    /// because nothing reloads now.
    pub fn by_admin() -> (Self, oneshot::Receiver<Arc<ReloadReport>>) {
        let (reply, report) = oneshot::channel();
        (Self { by: "admin", reply: Some(reply) }, report)
    }
}

/// The result of one attempt to serve a newer revision.
#[derive(Debug)]
pub struct ReloadReport {
    /// When the attempt ended.
    pub at: SystemTime,
    /// What caused it: `signal`, `admin`, or a change of the files of `certificates`.
    pub by: &'static str,
    pub outcome: Result<Reloaded, ReloadError>,
}

/// A newer revision is served.
#[derive(Debug)]
pub struct Reloaded {
    /// Its number.
    pub revision: u64,
    /// Keys whose new values in the file need a restart.
    pub needs_restart: Vec<&'static str>,
    /// One line each: what does not prevent serving, but needs attention.
    pub warnings: Vec<String>,
}

/// A reload was refused: the former revision is still served.
#[derive(Debug, PartialEq, Eq)]
pub struct ReloadError {
    /// The cause, in one sentence.
    pub reason: String,
    /// Every problem, one line each, as `tidegate check` prints it.
    pub problems: Vec<String>,
}

impl ReloadReport {
    /// The report as the status page and `tidegate reload --json` show it. `at` is in seconds since 1970.
    pub fn to_json(&self) -> Value {
        let at = self.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match &self.outcome {
            Ok(Reloaded { revision, needs_restart, warnings }) => json!({
                "at": at, "by": self.by, "good": true,
                "revision": revision, "needs_restart": needs_restart, "warnings": warnings,
            }),
            Err(ReloadError { reason, problems }) => {
                json!({ "at": at, "by": self.by, "good": false, "error": reason, "problems": problems })
            }
        }
    }
}
