//! Queries of the admin listener to the workers: list sessions, end one, forget the stored answers.
//!
//! Each worker replies for its own sessions, one page at a time, so that no query stops a core for long.

use crate::shared::gateway::Gateway;
use crate::shared::session_id::SessionId;
use crate::worker::SessionSnapshot;
use crate::worker::{Command, Mailbox};
use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// Most sessions that one query lists.
pub const PAGE_MAX: usize = 1000;

/// How long the workers may take to reply. A worker that takes longer is unresponsive.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends queries to all workers and gathers their replies.
pub struct WorkerQueries {
    mailboxes: Vec<Mailbox>,
    gateway: Arc<Gateway>,
}

/// A worker did not reply within 2 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerTimeout;

impl WorkerQueries {
    /// Queries to the workers with these mailboxes, which share `gateway`.
    pub const fn new(mailboxes: Vec<Mailbox>, gateway: Arc<Gateway>) -> Self {
        Self { mailboxes, gateway }
    }

    /// The first sessions of all workers whose ids follow `after`, ordered by id: at most `limit`, and at most [`PAGE_MAX`].
    pub async fn sessions(
        &self,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionSnapshot>, WorkerTimeout> {
        let limit = limit.min(PAGE_MAX);
        let pages = self.query(|reply| Command::List { after, limit, reply }).await?;
        let mut rows: Vec<SessionSnapshot> = pages.into_iter().flatten().collect();
        rows.sort_unstable_by_key(|row| row.id);
        rows.truncate(limit);
        Ok(rows)
    }

    /// Ends one session in an orderly way. Returns whether it existed.
    pub async fn kick(&self, id: SessionId) -> Result<bool, WorkerTimeout> {
        Ok(self.query(|reply| Command::Kick { id, reply }).await?.contains(&true))
    }

    /// How many WHIP and WHEP sessions are remembered, in this order.
    pub fn whip_sessions(&self) -> [usize; 2] {
        self.gateway.whip_sessions.count()
    }

    /// Forgets all stored answers. Returns about how many there were.
    pub fn forget_answers(&self) -> u64 {
        let stored = self.gateway.answers.count();
        self.gateway.answers.forget_all();
        stored
    }

    /// Sends the command to all workers and waits for the replies of all.
    async fn query<T>(
        &self,
        command: impl Fn(UnboundedSender<T>) -> Command,
    ) -> Result<Vec<T>, WorkerTimeout> {
        let (reply, replies) = unbounded();
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(command(reply.clone())));
        drop(reply);
        // a worker that has ended has no sessions; its sender is dropped, so it is not waited for
        tokio::time::timeout(REPLY_TIMEOUT, replies.collect()).await.map_err(|_| WorkerTimeout)
    }
}
