//! Questions to the stream manager from inside a worker: the stored answers first, then a flight of this worker for the key.

use crate::metrics::AnswerOutcome;
use crate::proto::red5::route::{EventKind, Keep};
use crate::proto::refusal::Refusal;
use crate::shared::answers::CacheLookup;
use crate::shared::answers::Key;
use crate::shared::questions::{Asking, CacheStatus, Outcome, Reply};
use crate::shared::record::Event;
use crate::worker::io::runtime;
use crate::worker::local::flights::FlightKey;
use crate::worker::local::state::Worker;
use crate::worker::session::context::Session;
use futures_channel::oneshot;
use std::rc::Rc;
use std::time::Instant;

/// Asks the question `key` for the client of `session` and counts the outcome. The result is the answer, or the refusal if there is none, and how it
/// was obtained. Dropping the future does not end the flight: other sessions may wait for it.
pub(crate) async fn ask(session: &Session, key: &str, kind: EventKind, keep: Keep) -> (CacheStatus, Outcome) {
    let started = Instant::now();
    let worker = &session.worker;
    let (by, outcome) = find(session, key, kind, keep).await;
    let count = |outcome: AnswerOutcome| worker.metrics.answers[outcome as usize].add(1);
    match outcome {
        // the bound of `answers.waiters` has its own sentence
        Err(Refusal::Overloaded) if by != CacheStatus::Collapsed => session
            .note_limit("no key changes that: as many questions to the stream manager as there may be are under way"),
        Err(Refusal::TooMany) => session.note_limit(
            "its address has its share of the questions to the stream manager under way; limits.sessions_per_ip = \"off\" \
             lifts it",
        ),
        _ => {}
    }
    match (&outcome, by) {
        (Err(_), _) => count(AnswerOutcome::Failed),
        (Ok(answer), CacheStatus::Hit) if answer.is_missing() => count(AnswerOutcome::MissingHit),
        (Ok(_), CacheStatus::Hit) => count(AnswerOutcome::Hit),
        (Ok(_), CacheStatus::Miss) => count(AnswerOutcome::Miss),
        (Ok(_), CacheStatus::Collapsed) => count(AnswerOutcome::Collapsed),
        (Ok(_), CacheStatus::Bypass) => count(AnswerOutcome::Bypass),
    }
    let mut took = 0;
    if by != CacheStatus::Hit {
        let asked = started.elapsed();
        worker.metrics.lookup.observe(asked);
        took = u64::try_from(asked.as_micros()).unwrap_or(u64::MAX);
    }
    let (status, nodes) = match &outcome {
        Ok(answer) => (answer.status, u16::try_from(answer.nodes.len()).unwrap_or(u16::MAX)),
        Err(_) => (0, 0),
    };
    session.note(&Event::Asked { by, status, nodes, took });
    (by, outcome)
}

async fn find(session: &Session, key: &str, kind: EventKind, keep: Keep) -> (CacheStatus, Outcome) {
    let worker = &session.worker;
    let answers = &worker.gateway.answers;
    if keep == Keep::Never {
        let reply = worker.gateway.questions.ask(question(session, key, kind, keep)).await;
        return (CacheStatus::Bypass, reply.map_or(Err(Refusal::ManagerFailed), |(_, outcome)| outcome));
    }
    match answers.look(key) {
        CacheLookup::Hit(answer) => return (CacheStatus::Hit, Ok(answer)),
        CacheLookup::Miss => {}
        CacheLookup::Invalidated => worker.metrics.answers[AnswerOutcome::Invalidated as usize].add(1),
    }
    let (mine, reply) = oneshot::channel();
    // a flight of an earlier generation may ask a stream manager that a reload has replaced
    let flight = (answers.generation(), Key::from(key));
    let by = match join(worker, &flight, mine) {
        Err(refusal) => {
            session.note_limit("answers.waiters sessions wait for this question");
            return (CacheStatus::Collapsed, Err(refusal));
        }
        Ok(CacheStatus::Miss) => {
            runtime::spawn(fly(worker.clone(), flight, question(session, key, kind, keep)));
            CacheStatus::Miss
        }
        Ok(by) => by,
    };
    let (flown, outcome) = reply.await.unwrap_or((CacheStatus::Miss, Err(Refusal::ManagerFailed)));
    if by == CacheStatus::Collapsed && matches!(outcome, Err(Refusal::TooMany)) {
        // the client that opened the flight had its share of questions; this one asks for itself
        let reply = worker.gateway.questions.ask(question(session, key, kind, keep)).await;
        return reply.unwrap_or((CacheStatus::Miss, Err(Refusal::ManagerFailed)));
    }
    // the first waiting session of this worker may have joined the flight of another worker
    let by = if by == CacheStatus::Miss { flown } else { by };
    if by == CacheStatus::Collapsed
        && let Ok(answer) = &outcome
    {
        // each session that shares a placement uses it up by one; a session beyond the last use is served too
        answer.uses.take();
    }
    (by, outcome)
}

/// What is asked for the present request of a session.
fn question(session: &Session, key: &str, kind: EventKind, keep: Keep) -> Asking {
    Asking { key: key.into(), kind, keep, client: session.peer.ip(), trace: session.trace_fields() }
}

/// Lets `waiter` wait for a flight. `Miss`: there is none, and the caller has to start it. `Collapsed`: it is
/// under way. Fails with [`Refusal::Overloaded`] when this worker's share of `answers.waiters` waits for it already.
fn join(worker: &Worker, flight: &FlightKey, waiter: oneshot::Sender<Reply>) -> Result<CacheStatus, Refusal> {
    let mut flights = worker.flights.0.borrow_mut();
    let Some(waiting) = flights.get_mut(flight) else {
        flights.insert(flight.clone(), vec![waiter]);
        return Ok(CacheStatus::Miss);
    };
    let share = worker.newest().config.answers.waiters.div_ceil(worker.gateway.metrics.len().max(1));
    if waiting.len() >= share {
        // sessions whose client left wait no more
        waiting.retain(|waiter| !waiter.is_canceled());
    }
    if waiting.len() >= share {
        return Err(Refusal::Overloaded);
    }
    waiting.push(waiter);
    Ok(CacheStatus::Collapsed)
}

/// The flight: a task of the worker that ends without being cancelled, since the control thread answers within its timeout.
async fn fly(worker: Rc<Worker>, flight: FlightKey, question: Asking) {
    let reply = worker.gateway.questions.ask(question).await;
    let reply = reply.unwrap_or((CacheStatus::Miss, Err(Refusal::ManagerFailed)));
    let waiting = worker.flights.0.borrow_mut().remove(&flight).unwrap_or_default();
    for waiter in waiting {
        // a session whose client left needs no reply
        let _ = waiter.send(reply.clone());
    }
}
