//! Questions on their way from workers to the control thread, and what comes back.
//!
//! A worker asks through [`Questions`]; the control thread receives the other end and has one flight for each key of the
//! whole process. So a question is sent to the stream manager once, and a caller that leaves cancels nothing.

use crate::proto::red5::route::{EventKind, Keep};
use crate::proto::refusal::Refusal;
use crate::shared::answers::{Answer, Key};
use futures_channel::{mpsc, oneshot};
use std::sync::Arc;

/// What a flight came back with: an answer, or the refusal that all its waiters get. Cheap to clone.
pub type Outcome = Result<Arc<Answer>, Refusal>;

/// An outcome and how it was come by.
pub type Reply = (CacheStatus, Outcome);

/// How an answer was come by; the words of `Cache-Status` (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// It was stored.
    Hit,
    /// It was asked for.
    Miss,
    /// A flight that was under way brought it.
    Collapsed,
    /// It was asked for alone and may not be shared.
    Bypass,
}

/// A question on its way to the control thread.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub key: Key,
    /// What kind of answer is expected.
    pub kind: EventKind,
    /// Whether equal questions may share an answer, and what of it may be kept.
    pub keep: Keep,
    /// Where the reply goes.
    pub reply: oneshot::Sender<Reply>,
}

/// The workers' end of the way to the control thread.
#[derive(Debug)]
pub struct Questions(mpsc::UnboundedSender<Question>);

impl Questions {
    /// Both ends: the one that asks, and the one from which the control thread takes the questions.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Question>) {
        let (sender, receiver) = mpsc::unbounded();
        (Self(sender), receiver)
    }

    /// Sends a question. The receiver gets `Err` if the control thread has ended.
    pub fn ask(&self, key: Key, kind: EventKind, keep: Keep) -> oneshot::Receiver<Reply> {
        let (reply, outcome) = oneshot::channel();
        // a failed send drops `reply`, which the receiver notices
        let _ = self.0.unbounded_send(Question { key, kind, keep, reply });
        outcome
    }
}
