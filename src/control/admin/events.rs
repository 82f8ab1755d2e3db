//! `/api/events`: the flow of sessions and the status of the process as server-sent events (WHATWG HTML, 9.2), for the status
//! page and for programs.
//!
//! The first event, `history`, has all samples of the last 15 minutes and the status. Each `sample` has one more of both. The
//! last one, `end`, says why there will be no more: the process ends, or another process serves in its place.

use crate::control::admin::api_error::ApiError;
use crate::control::admin::recorder::{Recorder, STREAMS_MAX, Tick};
use crate::control::admin::status;
use crate::control::process::state::ProcessState;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::{Either, select};
use futures_util::stream::{Stream, unfold};
use serde_json::json;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// A stream that is so many samples behind is ended: its client does not read. It may come back, and gets the history.
const BEHIND_MAX: u64 = 5;

/// Fails when the listener of a stream ends, because its sender is dropped then.
pub(crate) type Ending = watch::Receiver<()>;

/// A stream of events to one client.
struct EventStream {
    state: Arc<ProcessState>,
    recorder: Arc<Recorder>,
    ticks: watch::Receiver<Tick>,
    ending: Ending,
    /// The number of the last sample that was sent.
    sent: u64,
    next: Next,
    _permit: OwnedSemaphorePermit,
}

/// The event that comes next.
enum Next {
    History,
    Sample,
    Nothing,
}

/// Answers with the stream. 503 if there are too many.
pub(crate) async fn stream(
    State(state): State<Arc<ProcessState>>,
    Extension(recorder): Extension<Arc<Recorder>>,
    Extension(ending): Extension<Ending>,
) -> Result<Response, ApiError> {
    let (ticks, _permit) = recorder.follow().ok_or_else(|| {
        let text = format!("{STREAMS_MAX} streams of events are open; close a status page");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
    })?;
    let stream = EventStream { state, recorder, ticks, ending, sent: 0, next: Next::History, _permit };
    Ok(Sse::new(stream.events()).into_response())
}

impl EventStream {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        unfold(self, async |mut stream| {
            let event = match stream.next {
                Next::History => stream.history(),
                Next::Sample => stream.sample().await?,
                Next::Nothing => return None,
            };
            Some((Ok(event), stream))
        })
    }

    fn history(&mut self) -> Event {
        self.next = Next::Sample;
        self.sent = self.ticks.borrow_and_update().number;
        let mut history = self.recorder.history();
        history["status"] = status::to_json(&self.state);
        Event::default().event("history").data(history.to_string())
    }

    /// The next sample, or the last event; `None` if the client has not read for long.
    async fn sample(&mut self) -> Option<Event> {
        loop {
            if !changed(&mut self.ticks, &mut self.ending).await {
                self.next = Next::Nothing;
                return Some(self.end());
            }
            let Tick { number, text } = self.ticks.borrow_and_update().clone();
            if number.saturating_sub(self.sent) > BEHIND_MAX {
                return None;
            }
            // made before this stream was followed
            if !text.is_empty() {
                self.sent = number;
                return Some(Event::default().event("sample").data(text));
            }
        }
    }

    fn end(&self) -> Event {
        let end = json!({ "phase": self.state.phase.get().word(), "successor": self.state.successor.get() });
        Event::default().event("end").data(end.to_string())
    }
}

/// Waits for a sample. False if the listener ends.
async fn changed(ticks: &mut watch::Receiver<Tick>, ending: &mut Ending) -> bool {
    let (ticked, ended) = (pin!(ticks.changed()), pin!(ending.changed()));
    matches!(select(ticked, ended).await, Either::Left((Ok(()), _)))
}
