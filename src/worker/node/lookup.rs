//! Asking for an answer from inside a worker: memory first, then the worker's own flight for that key.

use crate::metrics::AnswerOutcome;
use crate::proto::red5::route::{EventKind, Keep};
use crate::proto::refusal::Refusal;
use crate::shared::answers::CacheLookup;
use crate::shared::answers::Key;
use crate::shared::questions::{CacheStatus, Outcome, Reply};
use crate::worker::io::runtime;
use crate::worker::local::state::Worker;
use futures_channel::oneshot;
use std::rc::Rc;
use std::time::Instant;

/// Asks for the answer to `key`. Dropping the future leaves the flight in the air for the others.
pub(crate) async fn ask(
    worker: &Rc<Worker>,
    key: &str,
    kind: EventKind,
    keep: Keep,
) -> (CacheStatus, Outcome) {
    let started = Instant::now();
    let (by, outcome) = find(worker, key, kind, keep).await;
    let count = |outcome: AnswerOutcome| worker.metrics.answers[outcome as usize].add(1);
    match (&outcome, by) {
        (Err(_), _) => count(AnswerOutcome::Failed),
        (Ok(answer), CacheStatus::Hit) if answer.is_missing() => count(AnswerOutcome::MissingHit),
        (Ok(_), CacheStatus::Hit) => count(AnswerOutcome::Hit),
        (Ok(_), CacheStatus::Miss) => count(AnswerOutcome::Miss),
        (Ok(_), CacheStatus::Collapsed) => count(AnswerOutcome::Collapsed),
        (Ok(_), CacheStatus::Bypass) => count(AnswerOutcome::Bypass),
    }
    if by != CacheStatus::Hit {
        worker.metrics.lookup.observe(started.elapsed());
    }
    (by, outcome)
}

async fn find(worker: &Rc<Worker>, key: &str, kind: EventKind, keep: Keep) -> (CacheStatus, Outcome) {
    let answers = &worker.gateway.answers;
    if keep == Keep::Never {
        let reply = worker.gateway.questions.ask(key.into(), kind, keep).await;
        return (CacheStatus::Bypass, reply.map_or(Err(Refusal::ManagerFailed), |(_, outcome)| outcome));
    }
    match answers.look(key) {
        CacheLookup::Hit(answer) => return (CacheStatus::Hit, Ok(answer)),
        CacheLookup::Miss => {}
        CacheLookup::Invalidated => worker.metrics.answers[AnswerOutcome::Invalidated as usize].add(1),
    }
    let (mine, reply) = oneshot::channel();
    let by = match join(worker, key, mine) {
        Err(refusal) => return (CacheStatus::Collapsed, Err(refusal)),
        Ok(CacheStatus::Miss) => {
            let key: Key = key.into();
            runtime::spawn(fly(worker.clone(), key, kind, keep));
            CacheStatus::Miss
        }
        Ok(by) => by,
    };
    let (flown, outcome) = reply.await.unwrap_or((CacheStatus::Miss, Err(Refusal::ManagerFailed)));
    // this worker's first caller may have joined another worker's flight
    let by = if by == CacheStatus::Miss { flown } else { by };
    if by == CacheStatus::Collapsed
        && let Ok(answer) = &outcome
    {
        // a placement handed to a crowd is used up by the crowd, though none of it is sent away
        answer.uses.take();
    }
    (by, outcome)
}

/// Joins the flight for `key`, or opens one.
fn join(worker: &Worker, key: &str, waiter: oneshot::Sender<Reply>) -> Result<CacheStatus, Refusal> {
    let mut flights = worker.flights.0.borrow_mut();
    let Some(waiting) = flights.get_mut(key) else {
        flights.insert(key.into(), vec![waiter]);
        return Ok(CacheStatus::Miss);
    };
    let share = worker.newest().config.answers.waiters.div_ceil(worker.gateway.metrics.len().max(1));
    if waiting.len() >= share {
        // those who left wait no more
        waiting.retain(|waiter| !waiter.is_canceled());
    }
    if waiting.len() >= share {
        return Err(Refusal::Overloaded);
    }
    waiting.push(waiter);
    Ok(CacheStatus::Collapsed)
}

/// The flight itself: belongs to the worker and ends by itself, since the control thread answers within its timeout.
async fn fly(worker: Rc<Worker>, key: Key, kind: EventKind, keep: Keep) {
    let reply = worker.gateway.questions.ask(key.clone(), kind, keep).await;
    let reply = reply.unwrap_or((CacheStatus::Miss, Err(Refusal::ManagerFailed)));
    let waiting = worker.flights.0.borrow_mut().remove(&key).unwrap_or_default();
    for waiter in waiting {
        // a caller who left is no reason to tell the others less
        let _ = waiter.send(reply.clone());
    }
}
