//! Waking a session from elsewhere in its worker, and the reason why it was told to end.

use crate::proto::millis::Millis;
use crate::worker::local::info::SessionInfo;
use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// Why a session is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Its deadline has passed.
    Due,
    /// The gateway drains: end with a Close.
    Drain,
    /// The operator ends this session: end with a Close.
    Kick,
    /// Its slot was needed for another connection: end before the first request, or while idle.
    Evict,
    /// End at once, without waiting for anything.
    Abort,
}

/// What a session and its worker share: the worker wakes the session through it and reads what it shows.
#[derive(Debug)]
pub(crate) struct WakeHandle {
    due: Cell<Millis>,
    rung: Cell<bool>,
    /// Why the session was told to end, if it was.
    end_reason: Cell<Option<Wake>>,
    waker: RefCell<Option<Waker>>,
    /// What operators and drains may see of the session.
    pub(crate) info: SessionInfo,
}

impl WakeHandle {
    /// A session that has not been woken yet and has no deadline.
    pub(crate) fn new(info: SessionInfo) -> Self {
        Self {
            due: Cell::new(Millis::MAX),
            rung: Cell::new(false),
            end_reason: Cell::new(None),
            waker: RefCell::new(None),
            info,
        }
    }

    /// Whether the session's deadline has passed.
    pub(crate) fn is_due(&self, now: Millis) -> bool {
        self.due.get() <= now
    }

    /// Sets the deadline at which the session is woken, on the worker's clock; `Millis::MAX` means never.
    pub(crate) fn set_due(&self, due: Millis) {
        self.due.set(due);
    }

    /// Stores the waker of the present wait. True if the session was woken since the last call: then it must not wait.
    pub(crate) fn listen(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.rung.take()
    }

    /// Why the session was told to end: `Drain`, `Kick`, `Evict` or `Abort`; `None` if it was not.
    pub(crate) fn end_reason(&self) -> Option<Wake> {
        self.end_reason.get()
    }

    pub(crate) fn wake(&self, event: Wake) {
        // the first reason stays, but an abort replaces any other
        if event == Wake::Abort || event != Wake::Due && self.end_reason.get().is_none() {
            self.end_reason.set(Some(event));
        }
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}
