//! Who is told of a drain, and when: spread over the window, the quiet first, those that just negotiate last.
//!
//! A close costs us some ten microseconds, and the client that comes back costs the next gateway ten times as much: who is
//! told at once comes back at once.

use crate::proto::millis::{Millis, millis};
use crate::shared::session_id::SessionId;
use crate::worker::local::state::Worker;
use crate::worker::local::wake::Wake;
use std::rc::Rc;
use std::time::Duration;

/// How often it is decided who comes next.
const STEP: Millis = 250;
/// A step is told in so many slices.
const SLICES: usize = 25;
/// A client and a node need so long to agree on their media; a Close in between costs the stream.
const NEGOTIATION: Millis = 5_000;
/// A connection between two requests may have one on its way: it is answered, with 503, and then let go.
const WAITING: Millis = 2_000;

/// Connections that wait are let go so many at a time, with a pause between.
const BATCH: usize = 64;
const PAUSE: Duration = Duration::from_millis(5);

/// How the window is used, in milliseconds since the drain began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// Connections that wait for a request are let go then.
    waiting: Millis,
    /// A relay that is younger waits while there is time.
    negotiation: Millis,
    /// The last relay is told then, so that its closing handshake fits into the window.
    span: Millis,
}

impl Pace {
    fn new(window: Millis, close_timeout: Millis) -> Self {
        let span = window.saturating_sub(close_timeout).max(window / 2).min(window / 10 * 9);
        Self { waiting: WAITING.min(window / 4), negotiation: NEGOTIATION.min(span / 4), span }
    }

    /// How many of those that are left are told in the step that begins now.
    fn share(self, elapsed: Millis, left: usize) -> usize {
        let steps = self.span.saturating_sub(elapsed).div_ceil(STEP).max(1);
        left.div_ceil(usize::try_from(steps).unwrap_or(usize::MAX))
    }
}

/// A relay that was not told yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    id: SessionId,
    since: Millis,
    moved: Millis,
}

/// The next ones, quietest first. While there is time, those that just negotiate are left out.
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

/// Tells every session of the worker, until there is none left to be told.
pub(crate) async fn drain(worker: Rc<Worker>) {
    let config = worker.newest().config.clone();
    let pace = Pace::new(millis(config.gateway.drain), millis(config.websocket.close_timeout));
    let began = worker.now();
    monoio::spawn(let_go(worker.clone(), pace.waiting));
    loop {
        let step = worker.now();
        let left = worker.sessions.relays(|id, info| {
            Some(Candidate { id, since: info.relayed.get()?.since, moved: info.moved.get() })
        });
        if left.is_empty() {
            // none is added: a request for one is refused from now on
            return;
        }
        let next = choose(left, pace, began, step);
        for slice in next.chunks(next.len().div_ceil(SLICES).max(1)) {
            for relay in slice {
                worker.sessions.wake(relay.id, Wake::Drain);
            }
            monoio::time::sleep(Duration::from_millis(STEP) / SLICES as u32).await;
        }
        let rest = STEP.saturating_sub(worker.now() - step);
        monoio::time::sleep(Duration::from_millis(rest)).await;
    }
}

/// Ends connections that wait for a request, and tells the others that theirs is the last.
async fn let_go(worker: Rc<Worker>, after: Millis) {
    monoio::time::sleep(Duration::from_millis(after)).await;
    for batch in worker.sessions.without_relay().chunks(BATCH) {
        for id in batch {
            worker.sessions.wake(*id, Wake::Drain);
        }
        monoio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { waiting: 2_000, negotiation: 5_000, span: 25_000 };

    /// A drain of `left` at the given pace: who was told when, in milliseconds since it began.
    fn told(mut left: Vec<Candidate>, pace: Pace, began: Millis) -> Vec<(Millis, u64)> {
        let mut told = Vec::new();
        let mut elapsed = 0;
        while !left.is_empty() {
            let next = choose(left.clone(), pace, began, began + elapsed);
            left.retain(|relay| !next.contains(relay));
            told.extend(next.iter().map(|relay| (elapsed, relay.id.0)));
            elapsed += STEP;
        }
        told
    }

    fn relays(count: u64, since: Millis) -> Vec<Candidate> {
        (0..count).map(|id| Candidate { id: SessionId(id), since, moved: since + count - id }).collect()
    }

    #[test]
    fn the_window_leaves_room_for_the_last_closing_handshake() {
        assert_eq!(Pace::new(30_000, 5_000), PACE);
        assert_eq!(Pace::new(5_000, 5_000).span, 2_500, "but most of it is used in any case");
        assert_eq!(Pace::new(10_000, 100).span, 9_000);
        assert_eq!(Pace::new(400, 1_000), Pace { waiting: 100, negotiation: 50, span: 200 });
        assert_eq!(Pace::new(0, 0).span, 0);
    }

    #[test]
    fn a_crowd_is_spread_evenly_over_the_span() {
        let told = told(relays(9_000, 0), PACE, 1_000_000);
        assert_eq!(told.len(), 9_000);
        for second in 0..25 {
            let within = told.iter().filter(|(at, _)| at / 1_000 == second).count();
            assert!((355..=365).contains(&within), "{within} in second {second}");
        }
    }

    #[test]
    fn a_few_are_told_soon_and_not_all_at_once() {
        assert_eq!(told(relays(1, 0), PACE, 1_000_000), [(0, 0)]);
        assert_eq!(told(relays(3, 0), PACE, 1_000_000), [(0, 2), (250, 1), (500, 0)]);
    }

    #[test]
    fn the_quietest_are_told_first() {
        let told = told(relays(1_000, 0), PACE, 1_000_000);
        assert!(told.iter().map(|(_, id)| *id).eq((0..1_000).rev()), "the higher the id, the quieter");
    }

    #[test]
    fn those_that_negotiate_wait_for_their_time_but_not_for_ever() {
        let began = 1_000_000;
        // one of them came just before the drain
        let mut some = relays(200, 0);
        some.push(Candidate { id: SessionId(999), since: began - 10, moved: began - 10 });
        let at = told(some, PACE, began).into_iter().find(|(_, id)| *id == 999).expect("told").0;
        assert!(at >= 20_000, "last, as it moved last: {at}");
        let young = told(relays(10, began - 1_000), PACE, began);
        assert!(young.iter().all(|(at, _)| (4_000..8_000).contains(at)), "{young:?}");
        // a clock that makes them look young for ever does not keep them
        let ever = told(relays(10, began + 90_000), PACE, began);
        assert!(ever.iter().all(|(at, _)| *at == 25_000), "{ever:?}");
    }
}
