//! Where the admin listener asks the workers: who is there, end this one, forget the answers.
//!
//! Each worker answers for its own sessions, a page at a time, so that no question stops a core for long.

use crate::shared::gateway::Gateway;
use crate::worker::SessionSnapshot;
use crate::worker::{Command, Mailbox};
use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// Most sessions that one question lists.
pub const PAGE_MAX: usize = 1000;

/// A worker that takes longer stands still.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way to all workers.
pub struct WorkerQueries {
    mailboxes: Vec<Mailbox>,
    gateway: Arc<Gateway>,
}

/// A worker did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerTimeout;

impl WorkerQueries {
    /// A way to these workers and what they share.
    pub const fn new(mailboxes: Vec<Mailbox>, gateway: Arc<Gateway>) -> Self {
        Self { mailboxes, gateway }
    }

    /// At most `limit` sessions of all workers whose ids follow `after`, by id.
    pub async fn sessions(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<SessionSnapshot>, WorkerTimeout> {
        let limit = limit.min(PAGE_MAX);
        let pages = self.ask(|reply| Command::List { after, limit, reply }).await?;
        let mut rows: Vec<SessionSnapshot> = pages.into_iter().flatten().collect();
        rows.sort_unstable_by_key(|row| row.id);
        rows.truncate(limit);
        Ok(rows)
    }

    /// Ends one session well; whether it was there.
    pub async fn kick(&self, id: u64) -> Result<bool, WorkerTimeout> {
        Ok(self.ask(|reply| Command::Kick { id, reply }).await?.contains(&true))
    }

    /// Forgets all stored answers; how many there were, about.
    pub fn forget_answers(&self) -> u64 {
        let stored = self.gateway.answers.count();
        self.gateway.answers.forget_all();
        stored
    }

    /// The answers of all workers.
    async fn ask<T>(&self, command: impl Fn(UnboundedSender<T>) -> Command) -> Result<Vec<T>, WorkerTimeout> {
        let (reply, replies) = unbounded();
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(command(reply.clone())));
        drop(reply);
        // a worker that ended drops its sender, and has no sessions
        tokio::time::timeout(PATIENCE, replies.collect()).await.map_err(|_| WorkerTimeout)
    }
}
