//! The order in which a drain closes sessions: spread over the window, quiet relays first, relays that negotiate last.
//!
//! A Close costs this gateway some ten microseconds. The client that connects again costs the next gateway ten times as
//! much, and clients that get their Close at the same time connect again at the same time.

use crate::proto::millis::{Millis, millis};
use crate::shared::session_id::SessionId;
use crate::worker::io::runtime;
use crate::worker::local::state::Worker;
use crate::worker::local::wake::Wake;
use std::rc::Rc;
use std::time::Duration;

/// How often the drain chooses the relays to close next.
const STEP: Millis = 250;
/// Parts of a step; the relays chosen for a step are closed evenly over them.
const SLICES: usize = 25;
/// How long a client and a node need to agree on their media. A Close before the end of it costs the stream.
const NEGOTIATION_TIME: Millis = 5_000;
/// How long an idle connection stays: a request that is on its way gets a 503 instead of a reset.
const IDLE_GRACE: Millis = 2_000;

/// Idle connections closed at a time, and the pause after each batch.
const IDLE_BATCH: usize = 64;
const IDLE_BATCH_DELAY: Duration = Duration::from_millis(5);

/// How the window is used, in milliseconds since the drain began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// When connections that wait for a request are closed.
    idle: Millis,
    /// Relays younger than this are left for later while there is time.
    negotiation: Millis,
    /// When the last relay is closed, so that its closing handshake fits into the window.
    span: Millis,
}

impl Pace {
    /// The pace of a drain that may take `window`, with closing handshakes of at most `close_timeout`.
    fn new(window: Millis, close_timeout: Millis) -> Self {
        let span = window.saturating_sub(close_timeout).max(window / 2).min(window / 10 * 9);
        Self { idle: IDLE_GRACE.min(window / 4), negotiation: NEGOTIATION_TIME.min(span / 4), span }
    }

    /// How many of the `left` relays are closed in the step that begins at `elapsed`.
    fn share(self, elapsed: Millis, left: usize) -> usize {
        let steps = self.span.saturating_sub(elapsed).div_ceil(STEP).max(1);
        left.div_ceil(usize::try_from(steps).unwrap_or(usize::MAX))
    }
}

/// A relay that has not got its Close yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    id: SessionId,
    /// When it began to relay.
    since: Millis,
    /// When it carried data last.
    moved: Millis,
}

/// Chooses the relays for the next step, quietest first. While there is time, it leaves out those that still negotiate.
fn choose(mut left: Vec<Candidate>, pace: Pace, began: Millis, now: Millis) -> Vec<Candidate> {
    let elapsed = now.saturating_sub(began);
    let share = pace.share(elapsed, left.len());
    if elapsed < pace.span {
        left.retain(|relay| now.saturating_sub(relay.since) >= pace.negotiation);
    }
    if left.len() > share {
        left.select_nth_unstable_by_key(share, |relay| relay.moved);
        left.truncate(share);
    }
    left.sort_unstable_by_key(|relay| relay.moved);
    left
}

/// Begins a drain, unless one is under way: the worker stops accepting and closes its sessions within `window`. `may_undo` is
/// whether [`undo`] may follow.
pub(crate) fn begin(worker: &Rc<Worker>, window: Duration, may_undo: bool) {
    if worker.draining.is_set() {
        return;
    }
    worker.stops_listening.set(may_undo);
    worker.drain_changes.update(|changes| changes + 1);
    worker.draining.set();
    worker.closing.set();
    runtime::spawn(drain(worker.clone(), window));
}

/// Ends a drain: no more sessions are told, and the worker may accept again.
pub(crate) fn undo(worker: &Worker) {
    worker.drain_changes.update(|changes| changes + 1);
    worker.draining.clear();
    worker.closing.clear();
    worker.leaves_queues.set(false);
}

/// Closes every session of the worker within `window`, one step after the other, until none is left to be closed or the drain
/// is taken back.
async fn drain(worker: Rc<Worker>, window: Duration) {
    let config = worker.newest().config.clone();
    let pace = Pace::new(millis(window), millis(config.websocket.close_timeout));
    let began = worker.now();
    let drain = worker.drain_changes.get();
    let is_undone = |worker: &Worker| worker.drain_changes.get() != drain;
    runtime::spawn(close_idle(worker.clone(), pace.idle, drain));
    while !is_undone(&worker) {
        let step = worker.now();
        let left = worker.sessions.relays(|id, info| {
            Some(Candidate { id, since: info.relayed.get()?.since, moved: info.moved.get() })
        });
        if left.is_empty() {
            // no relay is added: requests for one are refused during a drain
            return;
        }
        let next = choose(left, pace, began, step);
        for slice in next.chunks(next.len().div_ceil(SLICES).max(1)) {
            if is_undone(&worker) {
                return;
            }
            for relay in slice {
                worker.sessions.wake(relay.id, Wake::Drain);
            }
            runtime::sleep(Duration::from_millis(STEP) / SLICES as u32).await;
        }
        let rest = STEP.saturating_sub(worker.now() - step);
        runtime::sleep(Duration::from_millis(rest)).await;
    }
}

/// Ends the connections that wait for a request, `after` milliseconds from now. Where a request is being answered, the
/// connection ends after it. `drain` is the value of `drain_changes` for as long as the drain is not taken back.
async fn close_idle(worker: Rc<Worker>, after: Millis, drain: u64) {
    runtime::sleep(Duration::from_millis(after)).await;
    for batch in worker.sessions.without_relay().chunks(IDLE_BATCH) {
        if worker.drain_changes.get() != drain {
            return;
        }
        for id in batch {
            worker.sessions.wake(*id, Wake::Drain);
        }
        runtime::sleep(IDLE_BATCH_DELAY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { idle: 2_000, negotiation: 5_000, span: 25_000 };

    /// Runs a drain of `left` at this pace: the ids of the relays with the time of their Close, in milliseconds since it began.
    fn closed(mut left: Vec<Candidate>, pace: Pace, began: Millis) -> Vec<(Millis, u64)> {
        let mut closed = Vec::new();
        let mut elapsed = 0;
        while !left.is_empty() {
            let next = choose(left.clone(), pace, began, began + elapsed);
            left.retain(|relay| !next.contains(relay));
            closed.extend(next.iter().map(|relay| (elapsed, relay.id.0)));
            elapsed += STEP;
        }
        closed
    }

    fn relays(count: u64, since: Millis) -> Vec<Candidate> {
        (0..count).map(|id| Candidate { id: SessionId(id), since, moved: since + count - id }).collect()
    }

    #[test]
    fn the_window_leaves_room_for_the_last_closing_handshake() {
        assert_eq!(Pace::new(30_000, 5_000), PACE);
        assert_eq!(Pace::new(5_000, 5_000).span, 2_500, "most of the window is used in any case");
        assert_eq!(Pace::new(10_000, 100).span, 9_000);
        assert_eq!(Pace::new(400, 1_000), Pace { idle: 100, negotiation: 50, span: 200 });
        assert_eq!(Pace::new(0, 0).span, 0);
    }

    #[test]
    fn many_relays_are_closed_evenly_over_the_span() {
        let closed = closed(relays(9_000, 0), PACE, 1_000_000);
        assert_eq!(closed.len(), 9_000);
        for second in 0..25 {
            let within = closed.iter().filter(|(at, _)| at / 1_000 == second).count();
            assert!((355..=365).contains(&within), "{within} in second {second}");
        }
    }

    #[test]
    fn a_few_relays_are_closed_soon_and_one_at_a_time() {
        assert_eq!(closed(relays(1, 0), PACE, 1_000_000), [(0, 0)]);
        assert_eq!(closed(relays(3, 0), PACE, 1_000_000), [(0, 2), (250, 1), (500, 0)]);
    }

    #[test]
    fn the_quietest_relays_are_closed_first() {
        let closed = closed(relays(1_000, 0), PACE, 1_000_000);
        assert!(closed.iter().map(|(_, id)| *id).eq((0..1_000).rev()), "the higher the id, the quieter");
    }

    #[test]
    fn a_relay_that_negotiates_is_closed_late_but_within_the_span() {
        let began = 1_000_000;
        // one relay began just before the drain
        let mut some = relays(200, 0);
        some.push(Candidate { id: SessionId(999), since: began - 10, moved: began - 10 });
        let at = closed(some, PACE, began).into_iter().find(|(_, id)| *id == 999).expect("it is closed").0;
        assert!(at >= 20_000, "it carried data last, so it is closed last: {at}");
        let young = closed(relays(10, began - 1_000), PACE, began);
        assert!(young.iter().all(|(at, _)| (4_000..8_000).contains(at)), "{young:?}");
        // relays that look young for ever, by a faulty clock, are closed all the same
        let ever = closed(relays(10, began + 90_000), PACE, began);
        assert!(ever.iter().all(|(at, _)| *at == 25_000), "{ever:?}");
    }
}
