//! A bell inside one worker: rung once, heard by everybody who waits or will wait.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

/// Rung once and for all.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    /// Rings; wakes all who wait.
    pub(crate) fn ring(&self) {
        self.rung.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Whether it was rung.
    pub(crate) fn has_rung(&self) -> bool {
        self.rung.get()
    }

    /// Waits until it is rung. May be dropped at any time. For few waiters: one that was dropped stays in the list.
    pub(crate) async fn wait(&self) {
        std::future::poll_fn(|cx| {
            if self.rung.get() {
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
