//! A latch inside one worker: set once, and every task that waits for it, now or later, goes on.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

/// A flag that is set once and never cleared.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    is_set: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Latch {
    /// Sets the latch and wakes every task that waits for it.
    pub(crate) fn set(&self) {
        self.is_set.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Whether the latch was set.
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// Waits until the latch is set. May be dropped at any time. Meant for few waiters: the waker of a dropped wait stays in
    /// the list until the latch is set.
    pub(crate) async fn wait(&self) {
        std::future::poll_fn(|cx| {
            if self.is_set.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
