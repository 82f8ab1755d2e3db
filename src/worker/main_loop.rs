//! The main loop of a worker: commands from outside, the sweep over deadlines, and the cut at the end.

use crate::proto::refusal::Refusal;
use crate::shared::evictions::Eviction;
use crate::shared::record::archive::Archived;
use crate::shared::revision::Revision;
use crate::shared::session_id::SessionId;
use crate::shared::whip_sessions::WhipSession;
use crate::worker::http::whip;
use crate::worker::io::{fairness, runtime};
use crate::worker::listener::ReopenedListener;
use crate::worker::local::filter::SessionFilter;
use crate::worker::local::registry::{Found, Page, PageQuery};
use crate::worker::local::state::Worker;
use crate::worker::local::wake::Wake;
use crate::worker::session::refusal_line::{self, Refused};
use crate::worker::{drain, listener};
use futures_channel::mpsc;
use futures_util::StreamExt;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the control side tells a worker.
#[derive(Debug)]
pub enum Command {
    /// Start to accept.
    Accept,
    /// Stop accepting and leave the queues to another process that has the same sockets; sessions go on.
    Leave,
    /// Take over a newer revision, and confirm it with the index of this worker.
    Revise(Arc<Revision>, std::sync::mpsc::Sender<usize>),
    /// Stop accepting, and end every session with a Close within `window`. `may_undo` is whether [`Command::Reopen`] may follow.
    Drain { window: Duration, may_undo: bool },
    /// Take back a drain: accept from these listeners, and tell no more sessions to end.
    Reopen(Vec<ReopenedListener>),
    /// End the sessions that are left at once, then end the worker.
    Stop,
    /// List a part of the sessions.
    List { query: PageQuery, reply: mpsc::UnboundedSender<Page> },
    /// Say what is known of a session; replies only if it is this worker's.
    Find { id: SessionId, reply: mpsc::UnboundedSender<Found> },
    /// List at most `limit` ended sessions, the newest first.
    Ended { filter: SessionFilter, limit: usize, reply: mpsc::UnboundedSender<Vec<Archived>> },
    /// Delete a WHIP session, which no table has any more, at its node; replies with the node's status if it answers.
    EndWhip { session: EndedWhip, reply: mpsc::UnboundedSender<Option<u16>> },
    /// End one session with a Close; replies whether the worker has it.
    Kick { id: SessionId, reply: mpsc::UnboundedSender<bool> },
}

/// A WHIP session that an operator ends.
#[derive(Debug, Clone)]
pub struct EndedWhip(pub(crate) Arc<WhipSession>);

/// Runs a worker until it is told to stop: takes commands, and sees to its deadlines and its shares meanwhile. Accepts from
/// `listeners` once [`Command::Accept`] has come; empties the queues of `draining_listeners` and closes them.
pub(crate) async fn run(
    worker: Rc<Worker>,
    index: usize,
    listeners: Vec<TcpListener>,
    draining_listeners: Vec<TcpListener>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
) {
    let mut listeners = Some((listeners, draining_listeners));
    runtime::spawn(sweep(worker.clone()));
    runtime::spawn(evict(worker.clone()));
    runtime::spawn(fairness::renew(worker.budget.clone()));
    runtime::spawn(fairness::resume(worker.budget.clone()));
    while let Some(command) = inbox.next().await {
        // a reply to a caller that has stopped waiting is dropped
        match command {
            Command::Accept => {
                let Some((listeners, draining_listeners)) = listeners.take() else { continue };
                if let Err(error) = listener::open(&worker, listeners, draining_listeners) {
                    // the supervisor notices that this worker has ended
                    return tracing::error!(%error, "can't wait for connections on a listener");
                }
            }
            Command::Leave => {
                worker.leaves_queues.set(true);
                worker.closing.set();
            }
            Command::Revise(revision, taken) => {
                worker.newest.replace(Rc::new(revision));
                // the reloader may have stopped waiting
                let _ = taken.send(index);
            }
            Command::Drain { window, may_undo } => drain::begin(&worker, window, may_undo),
            Command::Reopen(listeners) => {
                drain::undo(&worker);
                if let Err(error) = listener::reopen(&worker, listeners) {
                    // the supervisor notices that this worker does not accept, and lets the drain go on
                    tracing::error!(%error, "can't listen again");
                }
            }
            Command::List { query, reply } => {
                let _ = reply.unbounded_send(worker.sessions.page(&query, index, worker.now()));
            }
            Command::Find { id, reply } => {
                if let Some(found) = worker.sessions.find(id, index, worker.now()) {
                    let _ = reply.unbounded_send(found);
                }
            }
            Command::Ended { filter, limit, reply } => {
                let _ = reply.unbounded_send(worker.sessions.ended(&filter, limit));
            }
            Command::EndWhip { session, reply } => whip::kick(&worker, session.0, reply),
            Command::Kick { id, reply } => {
                let _ = reply.unbounded_send(worker.sessions.wake(id, Wake::Kick));
            }
            Command::Stop => return abort_relays(&worker).await,
        }
    }
}

/// How long sessions may take to count and log their end after an abort.
const ABORT_TIMEOUT: Duration = Duration::from_millis(500);

/// Ends every relay at once. Each is counted and logged like any other end.
async fn abort_relays(worker: &Worker) {
    let deadline = Instant::now() + ABORT_TIMEOUT;
    while worker.sessions.abort_relays() > 0 && Instant::now() < deadline {
        runtime::sleep(Duration::from_millis(1)).await;
    }
}

/// Closes the connections of the worker that have lost their slots to others.
async fn evict(worker: Rc<Worker>) {
    let Some(mut evicted) = worker.evicted.take() else { return };
    while let Some(eviction) = evicted.next().await {
        match eviction {
            Eviction::Handshake(id) if worker.sessions.evict_handshake(id) => {
                let refusal = Refusal::Overloaded;
                let refused = Refused { refusal, session: Some(id), client: None, asked: None };
                refused.note(&worker, &worker.newest());
            }
            // its head came meanwhile, or it has ended
            Eviction::Handshake(_) => {}
            Eviction::Idle(id) => {
                worker.metrics.idle_evictions.add(1);
                worker.sessions.wake(id, Wake::Evict);
            }
        }
    }
}

/// How often the worker checks the deadlines of its sessions.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// Wakes the sessions whose deadline has passed. One timer serves the whole worker, instead of one for each read.
async fn sweep(worker: Rc<Worker>) {
    loop {
        let slept = Instant::now();
        runtime::sleep(SWEEP_INTERVAL).await;
        let late = slept.elapsed().saturating_sub(SWEEP_INTERVAL);
        worker.metrics.loop_lag_micros.set(i64::try_from(late.as_micros()).unwrap_or(i64::MAX));
        worker.metrics.heartbeat.add(1);
        worker.sessions.wake_due(worker.now());
        refusal_line::write_waiting(&worker);
        worker.gateway.node_faults.write_due();
    }
}
