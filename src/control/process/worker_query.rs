//! Queries of the admin listener to the workers: list sessions, end one, forget the stored answers.
//!
//! Each worker replies for its own sessions, one page at a time, so that no query stops a core for long.

use crate::shared::gateway::Gateway;
use crate::shared::node_list::NodeList;
use crate::shared::record::archive::Archived;
use crate::shared::session_id::SessionId;
use crate::worker::{Command, EndedWhip, Found, Mailbox, Page, PageQuery, SessionFilter, SessionSnapshot};
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

/// How long a node may take to answer the DELETE of a WHIP session that an operator ends. It goes on behind that.
const NODE_TIMEOUT: Duration = Duration::from_secs(4);

/// What became of the order to end a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kicked {
    /// There is no such session.
    Unknown,
    /// It gets a Close.
    Closed,
    /// It is a WHIP session, which was deleted at its node, with this status if the node has answered.
    Deleted(Option<u16>),
}

/// A worker did not reply within 2 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerTimeout;

impl WorkerQueries {
    /// Queries to the workers with these mailboxes, which share `gateway`.
    pub const fn new(mailboxes: Vec<Mailbox>, gateway: Arc<Gateway>) -> Self {
        Self { mailboxes, gateway }
    }

    /// The first sessions of all workers, and WHIP sessions, that the query accepts, ordered by id: at most [`PAGE_MAX`].
    pub async fn sessions(&self, query: PageQuery) -> Result<Page, WorkerTimeout> {
        let limit = query.limit.min(PAGE_MAX);
        let query = PageQuery { limit, ..query };
        let mut pages = self.query(|reply| Command::List { query: query.clone(), reply }).await?;
        pages.push(self.whip_page(&query));
        // what lies behind the first end of a worker's part may be incomplete
        let mut seen_to = pages.iter().filter_map(|page| page.seen_to).min();
        let mut rows: Vec<SessionSnapshot> = pages.into_iter().flat_map(|page| page.rows).collect();
        rows.retain(|row| seen_to.is_none_or(|seen_to| row.id <= seen_to));
        rows.sort_unstable_by_key(|row| row.id);
        if rows.len() > limit {
            rows.truncate(limit);
            seen_to = rows.last().map(|row| row.id);
        }
        Ok(Page { rows, seen_to })
    }

    /// The part of a list that WHIP and WHEP sessions have.
    fn whip_page(&self, query: &PageQuery) -> Page {
        let mut above = self.gateway.whip_sessions.above(query.after);
        above.sort_unstable_by_key(|(session, _)| session.id);
        let rows = above
            .iter()
            .filter_map(|(session, newest)| SessionSnapshot::of_whip(session, *newest, &query.filter));
        let rows: Vec<_> = rows.take(query.limit).collect();
        let seen_to = rows.last().filter(|_| rows.len() == query.limit).map(|row| row.id);
        Page { rows, seen_to }
    }

    /// What is known of a session that is open, or is one of the last tens of thousands that have ended.
    pub async fn find(&self, id: SessionId) -> Result<Option<Found>, WorkerTimeout> {
        if let Some((session, is_newest)) = self.gateway.whip_sessions.by_id(id) {
            let any = SessionFilter::default();
            let archived = Archived { id, began: session.began(), record: session.record().clone() };
            return Ok(Some(Found { archived, open: SessionSnapshot::of_whip(&session, is_newest, &any) }));
        }
        Ok(self.query(|reply| Command::Find { id, reply }).await?.pop())
    }

    /// Sessions that have ended, the last ones first: at most `limit`, and at most [`PAGE_MAX`].
    pub async fn ended(&self, filter: SessionFilter, limit: usize) -> Result<Vec<Archived>, WorkerTimeout> {
        let limit = limit.min(PAGE_MAX);
        let command = |reply| Command::Ended { filter: filter.clone(), limit, reply };
        let mut all: Vec<_> = self.query(command).await?.into_iter().flatten().collect();
        all.sort_by_key(|archived| std::cmp::Reverse(archived.ended()));
        all.truncate(limit);
        Ok(all)
    }

    /// Ends one session in an orderly way.
    pub async fn kick(&self, id: SessionId) -> Result<Kicked, WorkerTimeout> {
        if self.query(|reply| Command::Kick { id, reply }).await?.contains(&true) {
            return Ok(Kicked::Closed);
        }
        let session = self.gateway.whip_sessions.by_id(id);
        let forgotten = session.filter(|(session, _)| self.gateway.whip_sessions.forget(session));
        let Some((session, _)) = forgotten else {
            return Ok(Kicked::Unknown);
        };
        let worker = usize::try_from(id.0).unwrap_or_default() % self.mailboxes.len().max(1);
        let (reply, mut replies) = unbounded();
        if let Some(mailbox) = self.mailboxes.get(worker) {
            mailbox.send(Command::EndWhip { session: EndedWhip(session), reply });
        }
        let status = tokio::time::timeout(NODE_TIMEOUT, replies.next()).await;
        Ok(Kicked::Deleted(status.ok().flatten().flatten()))
    }

    /// What is known of the nodes.
    pub(crate) fn nodes(&self) -> NodeList {
        NodeList::of(&self.gateway)
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
