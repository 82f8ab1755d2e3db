//! How far the orders of certificates are: written by `control/acme`, read by the admin listener. And the wake-up of the
//! orders after a reload.

use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// The state of all names that certificates are ordered for.
#[derive(Debug, Default)]
pub struct AcmeStatus {
    names: ArcSwap<Vec<NameStatus>>,
    reloads: AtomicU64,
    reloaded: Notify,
}

/// The state of one name. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameStatus {
    pub name: String,
    pub state: NameState,
    /// Why the last attempt failed; `None` after one that did not.
    pub error: Option<String>,
    pub error_at: Option<i64>,
    /// When the next attempt may begin; `None` while none is needed.
    pub next_attempt: Option<i64>,
    /// When the certificate is to be renewed; `None` without one.
    pub renew_at: Option<i64>,
}

/// What happens for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameState {
    /// A certificate is stored and not due.
    Issued,
    /// A certificate is being ordered.
    Ordering,
    /// A certificate is needed, and its time has not come: another name or another gateway is first, or this process does not
    /// serve.
    Waiting,
    /// The last attempt failed; the next one waits for its time.
    Failed,
}

impl NameState {
    /// The state as one lower-case word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Ordering => "ordering",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }
}

impl AcmeStatus {
    /// The names in the order of the configuration; none while ACME is off.
    pub fn names(&self) -> Arc<Vec<NameStatus>> {
        self.names.load_full()
    }

    /// Records the state of all names.
    pub fn set(&self, names: Vec<NameStatus>) {
        self.names.store(Arc::new(names));
    }

    /// Wakes the orders, because another configuration is served or the operator asked for a reload.
    pub fn note_reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.reloaded.notify_one();
    }

    /// How many reloads there were.
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Waits for the next reload.
    pub async fn reloaded(&self) {
        self.reloaded.notified().await;
    }
}
