//! The main loop of a worker: commands from outside, the sweep over deadlines, and the cut at the end.

use crate::shared::gateway::Gateway;
use crate::shared::revision::Revision;
use crate::worker::io::fairness;
use crate::worker::local::info::SessionSnapshot;
use crate::worker::local::state::Worker;
use crate::worker::local::wake::Wake;
use crate::worker::thread::WorkerSpec;
use crate::worker::{drain, listener};
use futures_channel::mpsc;
use futures_util::StreamExt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

/// What a worker is told from outside.
#[derive(Debug, Clone)]
pub enum Command {
    /// Begin to accept.
    Accept,
    /// Stop accepting and leave the queues to somebody else, who has the same sockets; sessions go on.
    Leave,
    /// Take over a newer revision, and say with the own index that it was done.
    Revise(Arc<Revision>, std::sync::mpsc::Sender<usize>),
    /// Stop accepting, and close what is open in an orderly way.
    Drain,
    /// Cut what is left, and end.
    Stop,
    /// List at most `limit` sessions, by id, that follow `after`.
    List { after: Option<u64>, limit: usize, reply: mpsc::UnboundedSender<Vec<SessionSnapshot>> },
    /// End one session well; says whether it was there.
    Kick { id: u64, reply: mpsc::UnboundedSender<bool> },
}

/// The worker's whole life. `ready` is called when it runs.
pub(crate) async fn serve(
    spec: WorkerSpec,
    gateway: Arc<Gateway>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    open_listeners: Arc<AtomicUsize>,
    ready: impl FnOnce(),
) {
    let worker = Rc::new(Worker::new(gateway, spec.index, open_listeners));
    let mut listeners = Some((spec.listeners, spec.draining_listeners));
    monoio::spawn(sweep(worker.clone()));
    monoio::spawn(fairness::renew(worker.budget.clone()));
    monoio::spawn(fairness::resume(worker.budget.clone()));
    ready();
    while let Some(command) = inbox.next().await {
        // a caller who does not wait any more needs no reply
        match command {
            Command::Accept => {
                let Some((listeners, draining_listeners)) = listeners.take() else { continue };
                if let Err(error) = listener::open(&worker, listeners, draining_listeners) {
                    // whoever sees to the workers notices the end of this one
                    return tracing::error!(%error, "a listener can't be waited for");
                }
            }
            Command::Leave => worker.closing.set(),
            Command::Revise(revision, taken) => {
                worker.newest.replace(Rc::new(revision));
                // who asked may have stopped waiting
                let _ = taken.send(spec.index);
            }
            Command::Drain if worker.draining.is_set() => {}
            Command::Drain => {
                worker.draining.set();
                worker.closing.set();
                monoio::spawn(drain::drain(worker.clone()));
            }
            Command::List { after, limit, reply } => {
                let _ = reply.unbounded_send(worker.sessions.page(after, limit, spec.index, worker.now()));
            }
            Command::Kick { id, reply } => {
                let _ = reply.unbounded_send(worker.sessions.wake(id, Wake::Kick));
            }
            Command::Stop => return cut(&worker).await,
        }
    }
}

/// How long sessions may take to note that they were cut.
const CUT: Duration = Duration::from_millis(500);

/// Ends every relay at once, each counted and logged like any other end.
async fn cut(worker: &Worker) {
    let deadline = Instant::now() + CUT;
    while worker.sessions.cut() > 0 && Instant::now() < deadline {
        monoio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How often deadlines of sessions are looked at.
const SWEEP: Duration = Duration::from_millis(250);

/// One timer for the whole core instead of one for each read: wakes the sessions whose deadline has come.
async fn sweep(worker: Rc<Worker>) {
    loop {
        let slept = Instant::now();
        monoio::time::sleep(SWEEP).await;
        let late = slept.elapsed().saturating_sub(SWEEP);
        worker.metrics.loop_lag_micros.set(i64::try_from(late.as_micros()).unwrap_or(i64::MAX));
        worker.metrics.heartbeat.add(1);
        worker.sessions.wake_due(worker.now());
    }
}
