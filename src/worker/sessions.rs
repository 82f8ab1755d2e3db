//! The sessions of one worker: who is there, and how to wake them.

use super::Worker;
use crate::metrics::Route;
use crate::proto::relay::Millis;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Waker};

/// What a session hears from its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A deadline that it named has come.
    Due,
    /// The gateway goes down.
    Drain,
}

/// What a session and its worker share.
#[derive(Debug)]
pub(crate) struct Pager {
    due: Cell<Millis>,
    rung: Cell<bool>,
    drain: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Pager {
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

    /// Whether the gateway goes down.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.get()
    }

    fn ring(&self, event: Event) {
        if event == Event::Drain {
            self.drain.set(true);
        }
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// All sessions of one worker.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    next: Cell<u64>,
    all: RefCell<HashMap<u64, Rc<Pager>>>,
}

/// A session's place among them; leaves when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'w> {
    sessions: &'w Sessions,
    id: u64,
    pub pager: Rc<Pager>,
}

impl Sessions {
    /// Enters a new session; one that comes while the gateway goes down knows it from the start.
    pub(crate) fn enter(&self, draining: bool) -> Place<'_> {
        let id = self.next.get();
        self.next.set(id + 1);
        let pager = Rc::new(Pager {
            due: Cell::new(Millis::MAX),
            rung: Cell::new(false),
            drain: Cell::new(draining),
            waker: RefCell::new(None),
        });
        self.all.borrow_mut().insert(id, pager.clone());
        Place { sessions: self, id, pager }
    }

    /// Everybody who is there now.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.all.borrow().keys().copied().collect()
    }

    /// Tells one session something, if it is still there.
    pub(crate) fn wake(&self, id: u64, event: Event) {
        let pager = self.all.borrow().get(&id).cloned();
        if let Some(pager) = pager {
            pager.ring(event);
        }
    }

    /// Wakes those whose deadline has come.
    pub(crate) fn wake_due(&self, now: Millis) {
        for pager in self.all.borrow().values().filter(|pager| pager.due.get() <= now) {
            pager.ring(Event::Due);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.sessions.all.borrow_mut().remove(&self.id);
    }
}

/// Counts a session as active for as long as it lives.
pub(super) struct ActiveGuard {
    worker: Rc<Worker>,
    route: Route,
}

impl ActiveGuard {
    pub(super) fn new(worker: &Rc<Worker>, route: Route) -> Self {
        worker.metrics.sessions_active[route as usize].add(1);
        worker.metrics.sessions_total[route as usize].add(1);
        Self { worker: worker.clone(), route }
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.worker.metrics.sessions_active[self.route as usize].add(-1);
    }
}
