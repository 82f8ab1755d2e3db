//! How a session is woken, and why it was end_reason to end.

use crate::proto::millis::Millis;
use crate::worker::local::info::SessionInfo;
use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// What a session hears from its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A deadline that it named has come.
    Due,
    /// The gateway goes down: end well.
    Drain,
    /// The operator ends this session: end well.
    Kick,
    /// End now, however it looks.
    Abort,
}

/// What a session and its worker share.
#[derive(Debug)]
pub(crate) struct WakeHandle {
    due: Cell<Millis>,
    rung: Cell<bool>,
    /// Why it was end_reason to end, if it was.
    end_reason: Cell<Option<Wake>>,
    waker: RefCell<Option<Waker>>,
    pub(crate) info: SessionInfo,
}

impl WakeHandle {
    /// A session that was not woken yet and has no deadline.
    pub(crate) const fn new(info: SessionInfo) -> Self {
        Self {
            due: Cell::new(Millis::MAX),
            rung: Cell::new(false),
            end_reason: Cell::new(None),
            waker: RefCell::new(None),
            info,
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

    /// Why this session was end_reason to end, if it was.
    pub(crate) fn end_reason(&self) -> Option<Wake> {
        self.end_reason.get()
    }

    pub(crate) fn wake(&self, event: Wake) {
        // a cut ends what takes too long to end well; otherwise the first word counts
        if event == Wake::Abort || event != Wake::Due && self.end_reason.get().is_none() {
            self.end_reason.set(Some(event));
        }
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}
