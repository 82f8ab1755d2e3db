//! Every number once: one block of counters for each worker, summed when somebody asks.
//!
//! A worker writes only its own block, with relaxed atomics: no line of cache is shared between cores on the hot path.
//! The text of `/metrics` is made in [`page`]. This floor does not know what the numbers mean.

pub mod page;

use crate::proto::refusal::Refusal;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, How};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the histogram buckets, in microseconds; one more bucket takes the rest.
pub const BUCKETS_MICROS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000,
    5_000_000,
];

/// How long something took.
#[derive(Debug, Default)]
pub struct Histogram {
    pub buckets: [Counter; BUCKETS_MICROS.len() + 1],
    pub sum_micros: Counter,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }
}

/// Defines a closed set of label values: an enum whose `index` is the place of its counter.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($variant),+ }
        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            pub const COUNT: usize = Self::ALL.len();
            pub const fn word(self) -> &'static str { match self { $(Self::$variant => $word),+ } }
        }
    };
}

labels! { /// What a session does.
Route { TwoStep = "two_step", OneStep = "one_step", Http = "http" } }
labels! { /// TLS version of a finished handshake.
Version { Tls12 = "1.2", Tls13 = "1.3" } }
labels! { /// What became of a question to the stream manager.
AnswerOutcome {
    Hit = "hit", Miss = "miss", Collapsed = "collapsed", MissingHit = "missing_hit", Bypass = "bypass",
    Invalidated = "invalidated", Failed = "failed",
} }
labels! { /// How a dial of a node ended.
DialOutcome {
    Connected = "connected", Refused = "refused", Timeout = "timeout", BadHandshake = "bad_handshake",
    UpgradeTimeout = "upgrade_timeout", Cancelled = "cancelled", Exhausted = "exhausted",
    Local = "local",
} }
labels! { /// Why a TLS handshake failed.
TlsFailure { Timeout = "timeout", Protocol = "protocol", Lost = "lost" } }
labels! { /// Why a connection was dropped before TLS, where a balancer has to say whom it is from.
ProxyFailure { Untrusted = "untrusted", Malformed = "malformed", Timeout = "timeout", Lost = "lost" } }

/// The numbers of one worker.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    pub sessions_active: [Gauge; Route::COUNT],
    pub sessions_total: [Counter; Route::COUNT],
    pub refusals: RefusalCounters,
    /// By which side (`By`), then how (`How`).
    pub ends: [[Counter; How::ALL.len()]; By::ALL.len()],
    /// By `Version`, then whether the session was resumed.
    pub handshakes: [[Counter; 2]; Version::COUNT],
    pub handshake_failures: [Counter; TlsFailure::COUNT],
    pub proxy_failures: [Counter; ProxyFailure::COUNT],
    pub frames: [Counter; Side::ALL.len()],
    pub bytes: [Counter; Side::ALL.len()],
    pub answers: [Counter; AnswerOutcome::COUNT],
    pub dials: [Counter; DialOutcome::COUNT],
    /// From accept to our 101.
    pub setup: Histogram,
    pub tls: Histogram,
    pub lookup: Histogram,
    pub dial: Histogram,
    /// Accepted connections of any kind that are open now, and requests to nodes that may outlive them.
    pub connections: Gauge,
    /// Sessions that ended by a panic of ours.
    pub panics: Counter,
    /// How often clients were not taken for want of descriptors or memory.
    pub accept_pauses: Counter,
    /// How late the last sweep ran, in microseconds.
    pub loop_lag_micros: Gauge,
    /// Grows once a sweep: the watchdog looks whether it moved.
    pub heartbeat: Counter,
    /// 1 while the watchdog sees it stand still; set from outside.
    pub stands_still: Gauge,
    /// Bytes that sessions hold now because a peer does not read.
    pub buffers_lent_bytes: Gauge,
}

impl WorkerMetrics {
    /// Sessions of any route that are open now.
    pub fn sessions(&self) -> i64 {
        self.sessions_active.iter().map(Gauge::get).sum()
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
    pub fn of(&self, refusal: Refusal) -> &Counter {
        &self.0[refusal as usize]
    }
}
