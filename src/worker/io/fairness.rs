//! How much one turn of the worker's loop takes in large pieces.
//!
//! Large pieces are cheaper for each byte, but while one is worked off every other session of the core waits. So the first
//! of a turn may be as large as the core's buffer, and when together they have had their share, the rest of the turn is
//! served in small ones. Small messages never come near it and pay nothing for it.
//!
//! Bytes are not all alike: a client may send records of nothing, frames of two bytes, new keys again and again, and then a
//! large piece is work for a tenth of a second. So each leg has an appetite as well, which shrinks while its pieces take long.

use crate::worker::io::buffers::RECEIVE_MAX;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What a session gets in any turn: four of the largest TLS records.
const SMALL: usize = 64 * 1024;

/// What one turn gives away in larger pieces: some five milliseconds on a slow core, and room for sixteen sessions that
/// take all they can.
const TURN: usize = 16 * RECEIVE_MAX;

/// A piece that takes longer is too large. Half a megabyte of usual records and frames takes a quarter of it.
const LONG: Duration = Duration::from_millis(2);

/// No piece is made smaller than that.
const LEAST: usize = 4 * 1024;

/// Smaller pieces are not timed, unless they are all that a leg may take.
const TIMED: usize = 16 * 1024;

/// What one leg takes at once at the most. It begins small: nobody knows yet what comes.
#[derive(Debug)]
pub(crate) struct Appetite(usize);

impl Default for Appetite {
    fn default() -> Self {
        Self(SMALL)
    }
}

impl Appetite {
    /// How many of `max` bytes the next `recv` may take.
    pub(crate) fn of(&self, max: usize) -> usize {
        max.min(self.0)
    }

    /// Looks at the clock before so many bytes are worked off, if they are worth it.
    pub(crate) fn begin(&self, taken: usize) -> Option<Instant> {
        (taken >= self.of(TIMED)).then(Instant::now)
    }

    /// They are worked off.
    pub(crate) fn end(&mut self, began: Option<Instant>) {
        let Some(began) = began else { return };
        self.learn(began.elapsed());
    }

    fn learn(&mut self, took: Duration) {
        if took > LONG {
            self.0 = (self.0 / 2).max(LEAST);
        } else if took < LONG / 4 {
            self.0 = (self.0 * 2).min(RECEIVE_MAX);
        }
    }
}

/// How long who lets others go first waits: the shortest that timers know.
pub(crate) const PAUSE: Duration = Duration::from_millis(1);

/// The share of the present turn.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<usize>,
    renewing: Cell<bool>,
    renewer: RefCell<Option<Waker>>,
    /// Sessions that let others go first, and who wakes them.
    waiting: RefCell<Vec<Waker>>,
    resumer: RefCell<Option<Waker>>,
}

impl Default for Budget {
    fn default() -> Self {
        let (renewer, waiting, resumer) = Default::default();
        Self { left: Cell::new(TURN), renewing: Cell::new(false), renewer, waiting, resumer }
    }
}

impl Budget {
    /// How many bytes the next `recv` may take.
    pub(crate) fn piece(&self) -> usize {
        self.left.get().clamp(SMALL, RECEIVE_MAX)
    }

    /// Says how many it took.
    pub(crate) fn spend(&self, taken: usize) {
        if taken < SMALL {
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
    pub(crate) fn let_others(&self, cx: &Context<'_>) {
        self.waiting.borrow_mut().push(cx.waker().clone());
        if let Some(resumer) = self.resumer.borrow().as_ref() {
            resumer.wake_by_ref();
        }
    }
}

/// Renews the share for ever. It is woken by the first large piece of a turn and then stands behind every session that was
/// ready when it was woken, so it runs when they have all had their turn.
pub(crate) async fn renew(budget: Rc<Budget>) {
    std::future::poll_fn(|cx| {
        budget.left.set(TURN);
        budget.renewing.set(false);
        *budget.renewer.borrow_mut() = Some(cx.waker().clone());
        Poll::<()>::Pending
    })
    .await;
}

/// Wakes those who let others go first, for ever. It waits for a timer: the runtime puts a task that wakes itself in front of
/// all others, and looks at timers only when nobody is ready.
pub(crate) async fn resume(budget: Rc<Budget>) {
    loop {
        std::future::poll_fn(|cx| {
            *budget.resumer.borrow_mut() = Some(cx.waker().clone());
            if budget.waiting.borrow().is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        monoio::time::sleep(PAUSE).await;
        std::mem::take(&mut *budget.waiting.borrow_mut()).into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_turn_ends_in_small_pieces_and_the_next_begins_with_large_ones() {
        let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
            .enable_timer()
            .build()
            .expect("a ring or epoll");
        runtime.block_on(async {
            let budget = Rc::new(Budget::default());
            monoio::spawn(renew(budget.clone()));
            monoio::time::sleep(Duration::from_millis(1)).await;
            // all of one turn: nothing else runs between them
            let mut pieces = Vec::new();
            for _ in 0..TURN / RECEIVE_MAX + 2 {
                pieces.push(budget.piece());
                budget.spend(budget.piece());
            }
            let (small, large) = (pieces.split_off(TURN / RECEIVE_MAX), pieces);
            assert!(large.iter().all(|piece| *piece == RECEIVE_MAX), "{large:?}");
            assert!(small.iter().all(|piece| *piece == SMALL), "{small:?}");
            monoio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(budget.piece(), RECEIVE_MAX, "the next turn");
        });
    }

    #[test]
    fn who_lets_others_go_first_comes_after_them() {
        let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
            .enable_timer()
            .build()
            .expect("a ring or epoll");
        let order = Rc::new(RefCell::new(Vec::new()));
        runtime.block_on(async {
            let budget = Rc::new(Budget::default());
            monoio::spawn(resume(budget.clone()));
            monoio::time::sleep(Duration::from_millis(1)).await;
            let sessions = ["greedy", "other"].map(|name| {
                let (budget, order) = (budget.clone(), order.clone());
                monoio::spawn(async move {
                    for _ in 0..3 {
                        order.borrow_mut().push(name);
                        let mut polls = 0;
                        std::future::poll_fn(|cx| {
                            polls += 1;
                            if polls > 1 {
                                return Poll::Ready(());
                            }
                            budget.let_others(cx);
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
        let mut appetite = Appetite::default();
        assert_eq!((appetite.of(RECEIVE_MAX), appetite.of(100)), (SMALL, 100));
        for _ in 0..10 {
            appetite.learn(LONG / 8);
        }
        assert_eq!(appetite.of(RECEIVE_MAX), RECEIVE_MAX, "bulk");
        for _ in 0..20 {
            appetite.learn(LONG * 2);
        }
        assert_eq!(appetite.of(RECEIVE_MAX), LEAST);
        appetite.learn(LONG / 2);
        assert_eq!(appetite.of(RECEIVE_MAX), LEAST, "as it should be");
        assert!(appetite.begin(LEAST).is_some(), "all it may take is worth a look");
        assert!(appetite.begin(LEAST - 1).is_none() && Appetite::default().begin(TIMED - 1).is_none());
    }

    #[test]
    fn small_messages_spend_nothing() {
        let budget = Budget::default();
        for _ in 0..TURN {
            budget.spend(SMALL - 1);
        }
        assert_eq!(budget.piece(), RECEIVE_MAX);
    }
}
