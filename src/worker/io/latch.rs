//! A latch inside one worker: once it is set, every task that waits for it, now or later, goes on.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

/// A flag that tasks wait for. Only the end of a drain that is taken back clears it.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    is_set: Cell<bool>,
    /// How often it was set: a task that waits goes on even if the latch was cleared before the task ran.
    times: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Latch {
    /// Sets the latch and wakes every task that waits for it.
    pub(crate) fn set(&self) {
        self.is_set.set(true);
        self.times.update(|times| times + 1);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Clears the latch: tasks that begin to wait now wait until it is set again.
    pub(crate) fn clear(&self) {
        self.is_set.set(false);
    }

    /// Whether the latch is set.
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// Waits until the latch is set. May be dropped at any time. Meant for few waiters: the waker of a dropped wait stays in
    /// the list until the latch is set.
    pub(crate) async fn wait(&self) {
        let times = self.times.get();
        std::future::poll_fn(|cx| {
            if self.is_set.get() || self.times.get() != times {
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
