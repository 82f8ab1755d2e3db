//! Why a question got no usable answer from the stream manager: read from the error of the HTTP client.

use crate::metrics::ManagerOutcome;
use crate::proto::refusal::Refusal;
use hyper_util::client::legacy;
use std::error::Error;
use std::fmt;
use std::io;

/// Longest detail that is kept, in bytes: it may quote what a stream manager sent.
const DETAIL_MAX: usize = 200;

/// Why a question failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) outcome: ManagerOutcome,
    /// What the operating system, TLS or HTTP says of it; may be empty.
    pub(crate) detail: String,
    /// No connection was there to send the question on.
    pub(crate) is_unheard: bool,
}

impl Fault {
    pub(crate) fn new(outcome: ManagerOutcome, detail: impl fmt::Display) -> Self {
        let mut detail = detail.to_string();
        let end = (0..=DETAIL_MAX.min(detail.len())).rev().find(|end| detail.is_char_boundary(*end));
        detail.truncate(end.unwrap_or_default());
        Self { outcome, detail, is_unheard: false }
    }

    /// The fault that an error of a request shows.
    pub(crate) fn of(error: &legacy::Error) -> Self {
        Self { is_unheard: error.is_connect(), ..Self::read(error) }
    }

    fn read(error: &legacy::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = error.source();
        let mut last = error.to_string();
        while let Some(found) = cause {
            if let Some(outcome) = outcome(found) {
                return Self::new(outcome, innermost(found));
            }
            last = found.to_string();
            cause = found.source();
        }
        let outcome = if error.is_connect() { ManagerOutcome::Unreachable } else { ManagerOutcome::Closed };
        Self::new(outcome, last)
    }

    /// Whether no answer or connection came in time.
    pub(crate) fn is_of_time(&self) -> bool {
        self.outcome == ManagerOutcome::Timeout
    }

    /// What a client is told of it.
    pub(crate) fn refusal(&self) -> Refusal {
        if self.is_of_time() { Refusal::ManagerTimeout } else { Refusal::ManagerFailed }
    }

    /// Whether one such fault shows that the stream manager can't be reached. Others may be due to the question.
    pub(crate) const fn is_of_the_way(&self) -> bool {
        use ManagerOutcome::{Dns, Refused, Tls, Unreachable};
        matches!(self.outcome, Dns | Refused | Tls | Unreachable)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.outcome {
            ManagerOutcome::Answered => "it answers",
            ManagerOutcome::Dns => "its name does not resolve",
            ManagerOutcome::Refused => "it refuses connections",
            ManagerOutcome::Unreachable => "it can't be reached",
            ManagerOutcome::Tls => "TLS with it fails",
            ManagerOutcome::Timeout => "it does not answer in time",
            ManagerOutcome::ServerError => "it answers with a server error",
            ManagerOutcome::Closed => "it closes connections before an answer is whole",
            ManagerOutcome::NotHttp => "what it answers is not HTTP",
            ManagerOutcome::Json => "what it answers is no JSON that can be read",
            ManagerOutcome::Unusable => "its answer is of no use",
            ManagerOutcome::NotAsked => "it was not asked",
        };
        f.write_str(text)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

/// What one error in the chain of causes shows; `None` if another one has to.
fn outcome(cause: &(dyn Error + 'static)) -> Option<ManagerOutcome> {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return of_io(error);
    }
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        return match error {
            _ if error.is_parse() => Some(ManagerOutcome::NotHttp),
            _ if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
                Some(ManagerOutcome::Closed)
            }
            _ => None,
        };
    }
    // the type of this error is private to hyper_util
    cause.to_string().starts_with("dns error").then_some(ManagerOutcome::Dns)
}

fn of_io(error: &io::Error) -> Option<ManagerOutcome> {
    // an error of TLS is wrapped twice, and `source` passes it over
    if let Some(inner) = error.get_ref() {
        if inner.is::<rustls::Error>() {
            return Some(ManagerOutcome::Tls);
        }
        if let Some(inner) = inner.downcast_ref() {
            return of_io(inner);
        }
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(ManagerOutcome::Refused),
        io::ErrorKind::TimedOut => Some(ManagerOutcome::Timeout),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::AddrNotAvailable => Some(ManagerOutcome::Unreachable),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            Some(ManagerOutcome::Closed)
        }
        _ => None,
    }
}

/// The text of the last cause, which says most.
fn innermost(mut error: &(dyn Error + 'static)) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
