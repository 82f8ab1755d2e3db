//! Fairness between the sessions of one worker: how much one turn of its loop takes in large pieces.
//!
//! Large pieces cost less for each byte, but while one is processed all other sessions of the worker wait. So the first
//! pieces of a turn may be as large as the worker's buffer. When they have used up the turn's share, the rest of the turn is
//! served in small pieces. Small messages never come near the share and pay nothing for it.
//!
//! Bytes differ in cost: a client may send empty records, frames of two bytes, or new keys again and again, and then a large
//! piece is work for a tenth of a second. So each leg also has a read size, which shrinks while its pieces take long.
//!
//! A piece that the other leg does not take at once has to be kept. So a leg gets large pieces only after the other one has
//! taken a megabyte at once, and all legs get small ones while the worker keeps much.

use crate::proto::millis::Millis;
use crate::worker::io::buffers::RECEIVE_MAX;
use crate::worker::io::runtime;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What a session gets in any turn, in bytes: four of the largest TLS records.
const PIECE_SMALL: usize = 64 * 1024;

/// What one turn gives away in larger pieces, in bytes: some five milliseconds of work on a slow core, and room for sixteen
/// sessions that each take a full buffer.
const TURN_MAX: usize = 16 * RECEIVE_MAX;

/// A piece that takes longer than this is too large. Half a megabyte of ordinary records and frames takes a quarter of it.
const PIECE_TIME_MAX: Duration = Duration::from_millis(2);

/// The smallest read size, in bytes.
const PIECE_MIN: usize = 4 * 1024;

/// Pieces below this many bytes are not timed, unless the leg's read size is smaller.
const TIMED_MIN: usize = 16 * 1024;

/// A leg gets large pieces after the other leg has taken this many bytes at once. The kernel takes less for a peer that never
/// reads: 128 KiB unsent, and the window with which a connection begins.
const PROVEN_MIN: usize = 1 << 20;

/// All pieces are small while the worker keeps more than this many bytes for peers that do not read: eight large pieces.
const KEPT_MAX: i64 = 4 << 20;

/// A leg that kept bytes for this long without an end is read in small pieces again.
const STALL_MIN: Millis = 250;

/// After this time a stall is told while it lasts.
const STALL_LONG: Millis = 1000;

/// Most bytes that one leg takes at once. It starts small, because the cost of the leg's bytes is not known yet, and neither
/// is whether they will be taken.
#[derive(Debug)]
pub(crate) struct ReadSize {
    size: usize,
    /// Bytes that were passed on at once, up to [`PROVEN_MIN`].
    passed: usize,
}

impl Default for ReadSize {
    fn default() -> Self {
        Self { size: PIECE_SMALL, passed: 0 }
    }
}

impl ReadSize {
    /// How many of `max` bytes the next `recv` may take.
    pub(crate) fn of(&self, max: usize) -> usize {
        let proven = if self.passed < PROVEN_MIN { PIECE_SMALL } else { RECEIVE_MAX };
        max.min(self.size).min(proven)
    }

    /// Notes that the other leg took `bytes` at once.
    pub(crate) fn passed(&mut self, bytes: usize) {
        self.passed = PROVEN_MIN.min(self.passed + bytes);
    }

    /// Notes that the other leg stopped reading for a while.
    pub(crate) fn stalled(&mut self) {
        self.passed = 0;
    }

    /// Reads the clock before `taken` bytes are processed, if they are enough to be timed.
    pub(crate) fn begin(&self, taken: usize) -> Option<Instant> {
        (taken >= self.of(TIMED_MIN)).then(Instant::now)
    }

    /// Adapts the read size to how long a piece took that began at `began`.
    pub(crate) fn end(&mut self, began: Option<Instant>) {
        let Some(began) = began else { return };
        self.adapt(began.elapsed());
    }

    fn adapt(&mut self, took: Duration) {
        if took > PIECE_TIME_MAX {
            self.size = (self.size / 2).max(PIECE_MIN);
        } else if took < PIECE_TIME_MAX / 4 {
            self.size = (self.size * 2).min(RECEIVE_MAX);
        }
    }
}

/// The bytes that wait for a leg.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Since when bytes wait, on the worker's clock; 0 while none do.
    since: Millis,
    /// Whether it was told that the stall lasts.
    told: bool,
}

/// What is new about a stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stall {
    /// It has lasted for long. Told once for each stall.
    Lasts,
    /// The last bytes were taken now, after so many milliseconds.
    Ended(Millis),
}

impl Backlog {
    /// Notes whether bytes wait for the leg at `now`, and tells what is new about a stall.
    pub(crate) fn note(&mut self, waits: bool, now: Millis) -> Option<Stall> {
        let lasted = now.saturating_sub(self.since);
        match (self.since, waits) {
            (0, true) => self.since = now.max(1),
            (1.., true) if lasted >= STALL_LONG && !self.told => {
                self.told = true;
                return Some(Stall::Lasts);
            }
            (1.., false) => {
                self.clear();
                return (lasted > STALL_MIN).then_some(Stall::Ended(lasted));
            }
            _ => {}
        }
        None
    }

    /// Whether it was told that the bytes that wait are not taken.
    pub(crate) const fn is_told(&self) -> bool {
        self.told
    }

    /// When a stall that lasts has to be told; [`Millis::MAX`] while none does.
    pub(crate) fn due(&self) -> Millis {
        if self.since == 0 || self.told { Millis::MAX } else { self.since.saturating_add(STALL_LONG) }
    }

    /// Forgets the bytes: they will never be taken.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Steps that a task takes one after the other without a wait; then it yields. On the ring each wait for a socket ends a
/// task's turn. Epoll reports at once that more bytes are there, so a peer that sends without pause would keep the worker.
pub(crate) const STEPS_MAX: u32 = 4;

/// How long a yielding task sleeps: one tick of the runtime's timers, the shortest there is.
pub(crate) const YIELD_DELAY: Duration = Duration::from_millis(1);

/// What is left of the present turn's share.
#[derive(Debug)]
pub(crate) struct TurnBudget {
    left: Cell<usize>,
    renewing: Cell<bool>,
    renewer: RefCell<Option<Waker>>,
    /// Tasks that yielded their turn.
    yielded: RefCell<Vec<Waker>>,
    resumer: RefCell<Option<Waker>>,
}

impl Default for TurnBudget {
    fn default() -> Self {
        let (renewer, yielded, resumer) = Default::default();
        Self { left: Cell::new(TURN_MAX), renewing: Cell::new(false), renewer, yielded, resumer }
    }
}

impl TurnBudget {
    /// How many bytes the next `recv` may take, while the worker keeps `kept` bytes for peers that do not read.
    pub(crate) fn piece(&self, kept: i64) -> usize {
        if kept > KEPT_MAX { PIECE_SMALL } else { self.left.get().clamp(PIECE_SMALL, RECEIVE_MAX) }
    }

    /// Takes the bytes of a large piece off the share.
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

    /// Yields: the task of `cx` is woken after [`YIELD_DELAY`], so that all ready tasks and passed deadlines come first.
    pub(crate) fn yield_turn(&self, cx: &Context<'_>) {
        self.yielded.borrow_mut().push(cx.waker().clone());
        if let Some(resumer) = self.resumer.borrow().as_ref() {
            resumer.wake_by_ref();
        }
    }
}

/// Renews the share, for as long as the worker runs. The first large piece of a turn wakes this task, which then stands behind
/// every session that was ready at that moment: it runs when all of them have had their turn.
pub(crate) async fn renew(budget: Rc<TurnBudget>) {
    std::future::poll_fn(|cx| {
        budget.left.set(TURN_MAX);
        budget.renewing.set(false);
        *budget.renewer.borrow_mut() = Some(cx.waker().clone());
        Poll::<()>::Pending
    })
    .await;
}

/// Wakes the tasks that yielded, for as long as the worker runs. It waits by a timer, because the runtime puts a task that wakes
/// itself in front of all others, and looks at timers only when no task is ready.
pub(crate) async fn resume(budget: Rc<TurnBudget>) {
    loop {
        std::future::poll_fn(|cx| {
            *budget.resumer.borrow_mut() = Some(cx.waker().clone());
            if budget.yielded.borrow().is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        runtime::sleep(YIELD_DELAY).await;
        std::mem::take(&mut *budget.yielded.borrow_mut()).into_iter().for_each(Waker::wake);
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
            // all in one turn: no other task runs between them
            let mut pieces = Vec::new();
            for _ in 0..TURN_MAX / RECEIVE_MAX + 2 {
                pieces.push(budget.piece(0));
                budget.spend(budget.piece(0));
            }
            let (small, large) = (pieces.split_off(TURN_MAX / RECEIVE_MAX), pieces);
            assert!(large.iter().all(|piece| *piece == RECEIVE_MAX), "{large:?}");
            assert!(small.iter().all(|piece| *piece == PIECE_SMALL), "{small:?}");
            runtime::sleep(Duration::from_millis(1)).await;
            assert_eq!(budget.piece(0), RECEIVE_MAX, "the next turn");
        });
    }

    #[test]
    fn a_yielding_task_runs_after_ready_ones() {
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
    fn pieces_shrink_while_they_take_long_and_grow_while_they_do_not() {
        let mut read_size = ReadSize::default();
        read_size.passed(PROVEN_MIN);
        assert_eq!((read_size.of(RECEIVE_MAX), read_size.of(100)), (PIECE_SMALL, 100));
        for _ in 0..10 {
            read_size.adapt(PIECE_TIME_MAX / 8);
        }
        assert_eq!(read_size.of(RECEIVE_MAX), RECEIVE_MAX, "bulk");
        for _ in 0..20 {
            read_size.adapt(PIECE_TIME_MAX * 2);
        }
        assert_eq!(read_size.of(RECEIVE_MAX), PIECE_MIN);
        read_size.adapt(PIECE_TIME_MAX / 2);
        assert_eq!(read_size.of(RECEIVE_MAX), PIECE_MIN, "a fair time keeps the size");
        assert!(read_size.begin(PIECE_MIN).is_some(), "a full piece is timed, however small");
        assert!(
            read_size.begin(PIECE_MIN - 1).is_none() && ReadSize::default().begin(TIMED_MIN - 1).is_none()
        );
    }

    #[test]
    fn pieces_are_large_only_while_the_other_leg_takes_them() {
        let mut read_size = ReadSize::default();
        for _ in 0..10 {
            read_size.adapt(PIECE_TIME_MAX / 8);
        }
        assert_eq!(read_size.of(RECEIVE_MAX), PIECE_SMALL, "nothing was taken yet");
        read_size.passed(PROVEN_MIN - 1);
        assert_eq!(read_size.of(RECEIVE_MAX), PIECE_SMALL);
        read_size.passed(1);
        assert_eq!(read_size.of(RECEIVE_MAX), RECEIVE_MAX);
        read_size.stalled();
        assert_eq!(read_size.of(RECEIVE_MAX), PIECE_SMALL, "after a stall");
        let budget = TurnBudget::default();
        assert_eq!((budget.piece(KEPT_MAX), budget.piece(KEPT_MAX + 1)), (RECEIVE_MAX, PIECE_SMALL));
    }

    #[test]
    fn a_stall_ends_when_the_last_bytes_are_taken() {
        let mut backlog = Backlog::default();
        let noted =
            [(false, 0), (true, 0), (true, 200), (false, 252), (false, 900), (true, 900), (false, 1150)];
        let told = noted.map(|(waits, now)| backlog.note(waits, now));
        assert_eq!(told, [None, None, None, Some(Stall::Ended(251)), None, None, None]);
    }

    #[test]
    fn a_stall_that_lasts_is_told_once() {
        let mut backlog = Backlog::default();
        let told = [100, 1000, 1100, 1200, 9000].map(|now| backlog.note(true, now));
        assert_eq!(told, [None, None, Some(Stall::Lasts), None, None]);
        backlog.clear();
        assert_eq!(backlog.note(false, 9001), None, "bytes that were dropped were not taken");
    }

    #[test]
    fn small_messages_spend_nothing() {
        let budget = TurnBudget::default();
        for _ in 0..TURN_MAX {
            budget.spend(PIECE_SMALL - 1);
        }
        assert_eq!(budget.piece(0), RECEIVE_MAX);
    }
}
