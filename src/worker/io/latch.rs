//! A bell inside one worker: is_set once, heard by everybody who waits or will wait.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

/// Rung once and for all.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    is_set: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Latch {
    /// Rings; wakes all who wait.
    pub(crate) fn set(&self) {
        self.is_set.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Whether it was is_set.
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// Waits until it is is_set. May be dropped at any time. For few waiters: one that was dropped stays in the list.
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
