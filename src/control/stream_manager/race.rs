//! One question on its way through the stream managers: asked in their order, one after the other, until one answers.
//!
//! A refused connection, a server error or an answer that can't be read leads to the next one at once. One that does not answer
//! within its share of the time is not given up: the next one is asked beside it, and the first answer counts. A question that
//! may have an effect is asked at another one only while no stream manager can have heard it.

use crate::control::stream_manager::manager::{Asked, Manager, Tried};
use crate::control::stream_manager::standing::Rank;
use crate::proto::refusal::Refusal;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::vec::IntoIter;
use tokio::time::Instant;

/// A question that is under way.
pub(crate) struct Race<'q> {
    asked: Asked<'q>,
    /// The stream managers that it was not sent to yet.
    left: IntoIter<Arc<Manager>>,
    /// After this time without an answer the next one is asked too.
    share: Duration,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Tried> + Send + 'q>>>,
    /// When the next one is asked, whether or not the others answered.
    next_at: Instant,
    /// The one that was asked last was out before it was asked.
    last_is_out: bool,
    best: Option<Tried>,
}

impl<'q> Race<'q> {
    /// A race through `managers`, in their order.
    pub(crate) fn new(asked: Asked<'q>, managers: Vec<Arc<Manager>>, share: Duration) -> Self {
        let (left, running) = (managers.into_iter(), FuturesUnordered::new());
        Self { asked, left, share, running, next_at: Instant::now(), last_is_out: false, best: None }
    }

    /// How the question ended. Without an answer it is what the first one said in another way, else the last refusal.
    pub(crate) async fn run(mut self) -> Tried {
        self.ask_next();
        loop {
            let beside = self.asked.may_repeat() && self.left.len() > 0;
            // what another one said is not held back for one that is out
            let has_reply = self.best.as_ref().is_some_and(|best| best.outcome.is_ok());
            let is_over = has_reply && self.last_is_out && self.running.len() == 1;
            let until = if beside || is_over { self.next_at } else { self.asked.deadline + self.share };
            let Ok(ended) = tokio::time::timeout_at(until, self.running.next()).await else {
                if !beside {
                    break;
                }
                self.ask_next();
                continue;
            };
            let Some(tried) = ended else { break };
            if tried.is_answer || (tried.was_heard && !self.asked.may_repeat()) {
                return tried;
            }
            if self.best.as_ref().is_none_or(|best| best.outcome.is_err()) {
                self.best = Some(tried);
            }
            if Instant::now() < self.asked.deadline {
                self.ask_next();
            }
        }
        self.best.unwrap_or_else(Tried::none)
    }

    /// Sends the question to the next stream manager that may be asked, if there is one.
    fn ask_next(&mut self) {
        while let Some(manager) = self.left.next() {
            if manager.allows(&self.asked) {
                let now = Instant::now();
                self.last_is_out = manager.health.rank(now.into_std()) == Rank::Out;
                let time_left = self.asked.deadline.saturating_duration_since(now);
                let others = u32::try_from(self.left.len()).unwrap_or(u32::MAX);
                self.next_at = now + self.share.min(time_left / others.saturating_add(1));
                self.running.push(Box::pin(manager.ask(self.asked)));
                return;
            }
        }
    }
}

impl Tried {
    /// No stream manager may be asked: all of them are silent.
    const fn none() -> Self {
        Self { manager: None, outcome: Err(Refusal::ManagerTimeout), is_answer: false, was_heard: false }
    }
}
