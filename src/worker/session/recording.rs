//! What a session notes of its requests: in its record, in the metrics and in the access log.

use crate::metrics::requests::method_number;
use crate::metrics::{RequestRoute, Route};
use crate::proto::http::head::Request;
use crate::proto::red5::role::Role;
use crate::shared::record::Event;
use crate::worker::session::access_log::{self, STATUS_CLIENT_LEFT};
use crate::worker::session::answer::Answer;
use crate::worker::session::context::Session;
use crate::worker::session::current::Current;
use std::borrow::Cow;
use std::time::Instant;

/// Longest target that a record keeps, in bytes.
const TARGET_MAX: usize = 512;

/// Longest name of an app or a stream that a record keeps, in bytes.
const NAME_MAX: usize = 80;

/// What a request is about, as the record of its session keeps it.
#[derive(Debug, Clone)]
pub(crate) struct About<'r> {
    pub route: RequestRoute,
    pub role: Option<Role>,
    pub app: Cow<'r, str>,
    pub stream: &'r str,
}

impl Session {
    /// Notes that the head of a request is complete.
    /// Its target has its parameters redacted.
    pub(crate) fn note_request(&self, request: &Request<'_>, target: &str, about: About<'_>) {
        let About { route, role, app, stream } = about;
        let info = &self.wake_handle.info;
        let phrases = &self.worker.phrases;
        let mut record = info.record.borrow_mut();
        record.begin_request();
        phrases.keep(&mut record.agent, request.user_agent);
        phrases.keep(&mut record.origin, request.origin.map(str::as_bytes));
        let since = Instant::now();
        let event = Event::Requested {
            route,
            role,
            method: cut(request.method, NAME_MAX),
            target: cut(target, TARGET_MAX),
            app: cut(&app, NAME_MAX),
            stream: cut(stream, NAME_MAX),
        };
        record.note(since.duration_since(info.accepted), &event);
        self.current.set(Some(Current { route, method: method_number(request.method), since }));
    }

    /// Notes that a head came that can't be read, or not in time: a request of which nothing is known.
    pub(crate) fn note_unreadable(&self) {
        let mut record = self.wake_handle.info.record.borrow_mut();
        record.begin_request();
        (record.agent, record.origin) = (None, None);
        let route = RequestRoute::Other;
        let requested = Event::Requested { route, role: None, method: "", target: "", app: "", stream: "" };
        record.note(self.accepted.elapsed(), &requested);
        self.current.set(None);
    }

    /// Notes an event that happens now.
    pub(crate) fn note(&self, event: &Event<'_>) {
        self.wake_handle.info.note(event);
    }

    /// Notes that the request gets this answer: counts it, and writes its line to the access log.
    pub(crate) fn note_answer(&self, answer: &Answer) {
        let &Answer { status, refusal, ref bytes } = answer;
        let head = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(0, |end| end + 4);
        let event = Event::Answered { status, refusal, bytes: (bytes.len() - head) as u64 };
        self.end_of_request(status, &event);
        access_log::write_request(self);
    }

    /// Notes that a node took the WebSocket, and the client gets its 101. The access log gets the session at its end.
    pub(crate) fn note_upgrade(&self) {
        self.end_of_request(101, &Event::Answered { status: 101, refusal: None, bytes: 0 });
    }

    /// Notes that the client left before its request was answered.
    pub(crate) fn note_left(&self) {
        self.end_of_request(STATUS_CLIENT_LEFT, &Event::Left);
        access_log::write_request(self);
    }

    /// Counts the time from the request of a session of this kind to the first description of media by its node.
    pub(crate) fn note_description(&self, (route, role): (Route, Role)) {
        if let Some(Current { since, .. }) = self.current.get() {
            self.worker.metrics.first_answer[route as usize][role as usize].observe(since.elapsed());
        }
    }

    /// Notes how a request ends, and counts it with its duration.
    fn end_of_request(&self, status: u16, event: &Event<'_>) {
        let now = Instant::now();
        let info = &self.wake_handle.info;
        info.record.borrow_mut().note(now.duration_since(info.accepted), event);
        if let Some(Current { route, method, since }) = self.current.get() {
            self.worker.metrics.requests.observe(route, method, status, now.duration_since(since));
        }
    }
}

/// The beginning of a text, at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
