//! How a session is woken, and why it was told to end.

use crate::proto::millis::Millis;
use crate::worker::local::info::Card;
use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// What a session hears from its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A deadline that it named has come.
    Due,
    /// The gateway goes down: end well.
    Drain,
    /// The operator ends this session: end well.
    Kick,
    /// End now, however it looks.
    Cut,
}

/// What a session and its worker share.
#[derive(Debug)]
pub(crate) struct Pager {
    due: Cell<Millis>,
    rung: Cell<bool>,
    /// Why it was told to end, if it was.
    told: Cell<Option<Event>>,
    waker: RefCell<Option<Waker>>,
    pub(crate) card: Card,
}

impl Pager {
    /// A session that was not woken yet and has no deadline.
    pub(crate) const fn new(card: Card) -> Self {
        Self {
            due: Cell::new(Millis::MAX),
            rung: Cell::new(false),
            told: Cell::new(None),
            waker: RefCell::new(None),
            card,
        }
    }

    /// Whether its deadline has come.
    pub(crate) fn is_due(&self, now: Millis) -> bool {
        self.due.get() <= now
    }

    /// Asks to be woken at `due` or soon after; `Millis::MAX` is never.
    pub(crate) fn set_due(&self, due: Millis) {
        self.due.set(due);
    }

    /// Leaves the waker of the present wait. True: something came since the last look, do not wait.
    pub(crate) fn listen(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.rung.take()
    }

    /// Why this session was told to end, if it was.
    pub(crate) fn told(&self) -> Option<Event> {
        self.told.get()
    }

    pub(crate) fn ring(&self, event: Event) {
        // a cut ends what takes too long to end well; otherwise the first word counts
        if event == Event::Cut || event != Event::Due && self.told.get().is_none() {
            self.told.set(Some(event));
        }
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}
