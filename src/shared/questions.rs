//! Questions on their way from workers to the control thread, and the replies.
//!
//! A worker asks through [`Questions`]; the control thread holds the other end and has one flight for each key of the whole
//! process. So a question is sent to the stream manager once, and a session that leaves cancels no flight.

use crate::proto::http::trace_context::TraceFields;
use crate::proto::red5::route::{EventKind, Keep};
use crate::proto::refusal::Refusal;
use crate::shared::answers::{Answer, Key};
pub use crate::shared::cache_status::CacheStatus;
use futures_channel::{mpsc, oneshot};
use std::net::IpAddr;
use std::sync::Arc;

/// The result of a flight: an answer, or the refusal that all waiting sessions get. Cheap to clone.
pub type Outcome = Result<Arc<Answer>, Refusal>;

/// The outcome of a question, and where it came from.
pub type Reply = (CacheStatus, Outcome);

/// A question to the stream manager.
#[derive(Debug)]
pub struct Asking {
    /// What to ask.
    pub key: Key,
    /// What kind of answer is expected.
    pub kind: EventKind,
    /// Whether equal questions may share an answer, and what of it may be kept.
    pub keep: Keep,
    /// The address of the client that asks.
    pub client: IpAddr,
    /// The trace that the stream manager is told, if the request of the client belongs to one.
    pub trace: Option<TraceFields>,
}

/// A question on its way to the control thread.
#[derive(Debug)]
pub struct Question {
    /// The question.
    pub asking: Asking,
    /// Where the reply goes.
    pub reply: oneshot::Sender<Reply>,
}

/// The end of the queue to the control thread that workers ask through.
#[derive(Debug)]
pub struct Questions(mpsc::UnboundedSender<Question>);

impl Questions {
    /// Both ends of a queue: the one to ask through, and the one from which the control thread takes questions.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Question>) {
        let (sender, receiver) = mpsc::unbounded();
        (Self(sender), receiver)
    }

    /// Sends a question. The receiver gets the reply, or an error if the control thread has ended.
    pub fn ask(&self, asking: Asking) -> oneshot::Receiver<Reply> {
        let (reply, outcome) = oneshot::channel();
        // a failed send drops `reply`, which the receiver notices
        let _ = self.0.unbounded_send(Question { asking, reply });
        outcome
    }
}
