//! The block of numbers of one worker.

use crate::metrics::close_codes::CloseCodes;
use crate::metrics::counters::{Counter, Gauge, Histogram};
use crate::metrics::labels::{AnswerOutcome, DialOutcome, ProxyFailure, Route, TlsFailure, Version, WhipEnd};
use crate::metrics::requests::Requests;
use crate::proto::red5::role::Role;
use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};

/// The numbers of one worker. An array has one entry for each value of its label, at the index `value as usize`.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Sessions that are open now and belong to a connection of this worker, by route, then by [`Role`]. WHIP and WHEP sessions
    /// belong to no connection; the table of them knows how many there are.
    pub sessions_active: [[Gauge; Role::COUNT]; Route::COUNT],
    /// Sessions that began, by route, then by [`Role`].
    pub sessions_total: [[Counter; Role::COUNT]; Route::COUNT],
    /// Connections that have sent an HTTP request and no WebSocket request, and are open now.
    pub http_connections: Gauge,
    /// Requests that were refused, by code.
    pub refusals: RefusalCounters,
    /// Relays that ended, by side ([`By`]), then by how ([`How`]).
    pub ends: [[Counter; How::ALL.len()]; By::ALL.len()],
    /// Requests with their durations, by route, method and status.
    pub requests: Requests,
    /// Codes of Close frames, by the party that sent them.
    pub close_codes: CloseCodes,
    /// From the request of a session to the first description of media by its node, by route, then by [`Role`].
    pub first_answer: [[Histogram; Role::COUNT]; Route::COUNT],
    /// From the 101 to the first frame of the node, by route, then by [`Role`].
    pub first_frame: [[Histogram; Role::COUNT]; Route::COUNT],
    /// WHIP and WHEP sessions that ended, by how.
    pub whip_ends: [Counter; WhipEnd::COUNT],
    /// Completed TLS handshakes, by version, then by whether they resumed an earlier one (0 no, 1 yes).
    pub handshakes: [[Counter; 2]; Version::COUNT],
    /// TLS handshakes that failed, by reason.
    pub handshake_failures: [Counter; TlsFailure::COUNT],
    /// Connections that were dropped because of their PROXY header, by reason.
    pub proxy_failures: [Counter; ProxyFailure::COUNT],
    /// WebSocket frames that were relayed, by the side that sent them.
    pub frames: [Counter; Side::ALL.len()],
    /// Bytes that were relayed, by the side that sent them.
    pub bytes: [Counter; Side::ALL.len()],
    /// Questions to the stream manager, by result.
    pub answers: [Counter; AnswerOutcome::COUNT],
    /// Dials of nodes, by result.
    pub dials: [Counter; DialOutcome::COUNT],
    /// From accept to the gateway's 101.
    pub setup: Histogram,
    /// TLS handshakes that completed.
    pub tls: Histogram,
    /// Questions that no stored answer could answer.
    pub lookup: Histogram,
    /// From connect to the node's 101.
    pub dial: Histogram,
    /// Accepted connections of any kind that are open now, and requests to nodes that may outlive them.
    pub connections: Gauge,
    /// Sessions that ended by a panic inside the gateway.
    pub panics: Counter,
    /// How often the worker stopped accepting clients for lack of file descriptors or memory.
    pub accept_pauses: Counter,
    /// Idle connections that were closed because another connection needed their slot or descriptor.
    pub idle_evictions: Counter,
    /// How late the last sweep ran, in microseconds.
    pub loop_lag_micros: Gauge,
    /// Grows by one with each sweep, so that the watchdog notices a worker that stands still.
    pub heartbeat: Counter,
    /// 1 while the watchdog finds that the heartbeat has stopped; control sets it, not the worker.
    pub unresponsive: Gauge,
    /// Bytes that sessions hold now because a peer does not read.
    pub buffers_lent_bytes: Gauge,
}

impl WorkerMetrics {
    /// Connections that are open now and past their first request: WebSocket sessions and HTTP connections.
    pub fn sessions(&self) -> i64 {
        self.sessions_active.iter().flatten().map(Gauge::get).sum::<i64>() + self.http_connections.get()
    }
}

/// One counter for each [`Refusal`].
#[derive(Debug)]
pub struct RefusalCounters([Counter; Refusal::ALL.len()]);

impl Default for RefusalCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl RefusalCounters {
    /// The counter of one refusal.
    pub fn of(&self, refusal: Refusal) -> &Counter {
        &self.0[refusal as usize]
    }
}
