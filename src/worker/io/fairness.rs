//! How much one turn of the worker's loop takes in large pieces.
//!
//! Large pieces are cheaper for each byte, but while one is worked off every other session of the core waits. So the first
//! of a turn may be as large as the core's buffer, and when together they have had their share, the rest of the turn is
//! served in small ones. Small messages never come near it and pay nothing for it.
//!
//! Bytes are not all alike: a client may send records of nothing, frames of two bytes, new keys again and again, and then a
//! large piece is work for a tenth of a second. So each leg has an read_size as well, which shrinks while its pieces take long.

use crate::worker::io::buffers::RECEIVE_MAX;
use crate::worker::io::runtime;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What a session gets in any turn: four of the largest TLS records.
const PIECE_SMALL: usize = 64 * 1024;

/// What one turn gives away in larger pieces: some five milliseconds on a slow core, and room for sixteen sessions that
/// take all they can.
const TURN_MAX: usize = 16 * RECEIVE_MAX;

/// A piece that takes longer is too large. Half a megabyte of usual records and frames takes a quarter of it.
const PIECE_TIME_MAX: Duration = Duration::from_millis(2);

/// No piece is made smaller than that.
const PIECE_MIN: usize = 4 * 1024;

/// Smaller pieces are not timed, unless they are all that a leg may take.
const TIMED_MIN: usize = 16 * 1024;

/// What one leg takes at once at the most. It begins small: nobody knows yet what comes.
#[derive(Debug)]
pub(crate) struct ReadSize(usize);

impl Default for ReadSize {
    fn default() -> Self {
        Self(PIECE_SMALL)
    }
}

impl ReadSize {
    /// How many of `max` bytes the next `recv` may take.
    pub(crate) fn of(&self, max: usize) -> usize {
        max.min(self.0)
    }

    /// Looks at the clock before so many bytes are worked off, if they are worth it.
    pub(crate) fn begin(&self, taken: usize) -> Option<Instant> {
        (taken >= self.of(TIMED_MIN)).then(Instant::now)
    }

    /// They are worked off.
    pub(crate) fn end(&mut self, began: Option<Instant>) {
        let Some(began) = began else { return };
        self.learn(began.elapsed());
    }

    fn learn(&mut self, took: Duration) {
        if took > PIECE_TIME_MAX {
            self.0 = (self.0 / 2).max(PIECE_MIN);
        } else if took < PIECE_TIME_MAX / 4 {
            self.0 = (self.0 * 2).min(RECEIVE_MAX);
        }
    }
}

/// How long who lets others go first waits: the shortest that timers know.
pub(crate) const YIELD_DELAY: Duration = Duration::from_millis(1);

/// The share of the present turn.
#[derive(Debug)]
pub(crate) struct TurnBudget {
    left: Cell<usize>,
    renewing: Cell<bool>,
    renewer: RefCell<Option<Waker>>,
    /// Registry that let others go first, and who wakes them.
    waiting: RefCell<Vec<Waker>>,
    resumer: RefCell<Option<Waker>>,
}

impl Default for TurnBudget {
    fn default() -> Self {
        let (renewer, waiting, resumer) = Default::default();
        Self { left: Cell::new(TURN_MAX), renewing: Cell::new(false), renewer, waiting, resumer }
    }
}

impl TurnBudget {
    /// How many bytes the next `recv` may take.
    pub(crate) fn piece(&self) -> usize {
        self.left.get().clamp(PIECE_SMALL, RECEIVE_MAX)
    }

    /// Says how many it took.
    pub(crate) fn spend(&self, taken: usize) {
        if taken < PIECE_SMALL {
            return;
        }
        self.left.set(self.left.get().saturating_sub(taken));
        if !self.renewing.replace(true)
            && let Some(renewer) = self.renewer.borrow().as_ref()
        {
            renewer.wake_by_ref();
        }
    }

    /// Lets everybody else who is ready go first, and deadlines too; the task of `cx` is woken after a moment.
    pub(crate) fn yield_turn(&self, cx: &Context<'_>) {
        self.waiting.borrow_mut().push(cx.waker().clone());
        if let Some(resumer) = self.resumer.borrow().as_ref() {
            resumer.wake_by_ref();
        }
    }
}

/// Renews the share for ever. It is woken by the first large piece of a turn and then stands behind every session that was
/// ready when it was woken, so it runs when they have all had their turn.
pub(crate) async fn renew(budget: Rc<TurnBudget>) {
    std::future::poll_fn(|cx| {
        budget.left.set(TURN_MAX);
        budget.renewing.set(false);
        *budget.renewer.borrow_mut() = Some(cx.waker().clone());
        Poll::<()>::Pending
    })
    .await;
}

/// Wakes those who let others go first, for ever. It waits for a timer: the runtime puts a task that wakes itself in front of
/// all others, and looks at timers only when nobody is ready.
pub(crate) async fn resume(budget: Rc<TurnBudget>) {
    loop {
        std::future::poll_fn(|cx| {
            *budget.resumer.borrow_mut() = Some(cx.waker().clone());
            if budget.waiting.borrow().is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        runtime::sleep(YIELD_DELAY).await;
        std::mem::take(&mut *budget.waiting.borrow_mut()).into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_turn_ends_in_small_pieces_and_the_next_begins_with_large_ones() {
        runtime::block_on_any(async {
            let budget = Rc::new(TurnBudget::default());
            runtime::spawn(renew(budget.clone()));
            runtime::sleep(Duration::from_millis(1)).await;
            // all of one turn: nothing else runs between them
            let mut pieces = Vec::new();
            for _ in 0..TURN_MAX / RECEIVE_MAX + 2 {
                pieces.push(budget.piece());
                budget.spend(budget.piece());
            }
            let (small, large) = (pieces.split_off(TURN_MAX / RECEIVE_MAX), pieces);
            assert!(large.iter().all(|piece| *piece == RECEIVE_MAX), "{large:?}");
            assert!(small.iter().all(|piece| *piece == PIECE_SMALL), "{small:?}");
            runtime::sleep(Duration::from_millis(1)).await;
            assert_eq!(budget.piece(), RECEIVE_MAX, "the next turn");
        });
    }

    #[test]
    fn who_lets_others_go_first_comes_after_them() {
        let order = Rc::new(RefCell::new(Vec::new()));
        runtime::block_on_any(async {
            let budget = Rc::new(TurnBudget::default());
            runtime::spawn(resume(budget.clone()));
            runtime::sleep(Duration::from_millis(1)).await;
            let sessions = ["greedy", "other"].map(|name| {
                let (budget, order) = (budget.clone(), order.clone());
                runtime::spawn(async move {
                    for _ in 0..3 {
                        order.borrow_mut().push(name);
                        let mut polls = 0;
                        std::future::poll_fn(|cx| {
                            polls += 1;
                            if polls > 1 {
                                return Poll::Ready(());
                            }
                            budget.yield_turn(cx);
                            Poll::Pending
                        })
                        .await;
                    }
                })
            });
            for session in sessions {
                session.await;
            }
        });
        assert_eq!(*order.borrow(), ["greedy", "other"].repeat(3));
    }

    #[test]
    fn what_takes_long_is_taken_in_smaller_pieces_until_it_does_not() {
        let mut read_size = ReadSize::default();
        assert_eq!((read_size.of(RECEIVE_MAX), read_size.of(100)), (PIECE_SMALL, 100));
        for _ in 0..10 {
            read_size.learn(PIECE_TIME_MAX / 8);
        }
        assert_eq!(read_size.of(RECEIVE_MAX), RECEIVE_MAX, "bulk");
        for _ in 0..20 {
            read_size.learn(PIECE_TIME_MAX * 2);
        }
        assert_eq!(read_size.of(RECEIVE_MAX), PIECE_MIN);
        read_size.learn(PIECE_TIME_MAX / 2);
        assert_eq!(read_size.of(RECEIVE_MAX), PIECE_MIN, "as it should be");
        assert!(read_size.begin(PIECE_MIN).is_some(), "all it may take is worth a look");
        assert!(
            read_size.begin(PIECE_MIN - 1).is_none() && ReadSize::default().begin(TIMED_MIN - 1).is_none()
        );
    }

    #[test]
    fn small_messages_spend_nothing() {
        let budget = TurnBudget::default();
        for _ in 0..TURN_MAX {
            budget.spend(PIECE_SMALL - 1);
        }
        assert_eq!(budget.piece(), RECEIVE_MAX);
    }
}
