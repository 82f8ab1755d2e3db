//! What an order needs, in one hand.

use super::http::Http;
use super::storage::{Lock, Storage};
use crate::config::Acme;
use crate::control::start::certs::Challenges;
use std::sync::Arc;

/// Everything for one order. It holds the lock, so while it lives no other process orders. All of it is owned, so that parts can
/// go to the threads that touch files.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) acme: Acme,
    pub(super) http: Http,
    pub(super) storage: Storage,
    pub(super) lock: Arc<Lock>,
    pub(super) challenges: Arc<Challenges>,
}

impl Setup {
    /// Uses the folder on a thread where that may block.
    pub(super) async fn storage<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Storage, &Lock) -> T + Send + 'static,
    ) -> T {
        let (storage, lock) = (self.storage.clone(), Arc::clone(&self.lock));
        beside(move || work(&storage, &lock)).await
    }
}

/// Runs what may block, such as work on files, on a thread beside the control thread.
pub(super) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // the control thread ends its tasks only with the process
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
