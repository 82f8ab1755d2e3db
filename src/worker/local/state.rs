//! The state of one worker, shared by its sessions and its main loop.

use crate::metrics::WorkerMetrics;
use crate::proto::millis::{Millis, millis};
use crate::shared::evictions::{Eviction, Evictions};
use crate::shared::gateway::Gateway;
use crate::shared::refusal_throttle::Throttle;
use crate::shared::revision::Held;
use crate::worker::io::{fairness, latch};
use crate::worker::local::flights::Flights;
use crate::worker::local::phrases::Phrases;
use crate::worker::local::registry::Registry;
use futures_channel::mpsc;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

/// The state of one worker. Only its own thread uses it.
pub(crate) struct Worker {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) newest: RefCell<Held>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) sessions: Registry,
    /// What clients call themselves, each text once.
    pub(crate) phrases: Phrases,
    pub(crate) flights: Flights,
    /// Counts refusals until the log has a line of them.
    pub(crate) refusal_throttle: RefCell<Throttle>,
    pub(crate) draining: latch::Latch,
    pub(crate) budget: Rc<fairness::TurnBudget>,
    /// Set when the worker has to stop accepting: in a drain, and when it leaves its queues to another process.
    pub(crate) closing: latch::Latch,
    /// Another process accepts from the same sockets, now or later: the worker must neither empty nor close their queues.
    pub(crate) leaves_queues: Cell<bool>,
    /// Set by a drain that can be taken back: the control side keeps copies of the listeners, so that a listener has to stop
    /// listening once its queue is empty. Otherwise it closes with its last copy.
    pub(crate) stops_listening: Cell<bool>,
    /// Counts the drains that began and those that were taken back: a task of a drain ends when it changes.
    pub(crate) drain_changes: Cell<u64>,
    /// How many listeners it accepts from; read by the control side.
    pub(crate) open_listeners: Arc<AtomicUsize>,
    /// How other threads find connections of this worker that may make room for theirs.
    pub(crate) evictions: Arc<Evictions>,
    /// The connections that lost their slots, until the main loop takes it.
    pub(crate) evicted: Cell<Option<mpsc::UnboundedReceiver<Eviction>>>,
    epoch: Instant,
    random: Cell<u64>,
}

impl Worker {
    /// A worker without sessions. It counts the listeners that it accepts from in `open_listeners`.
    pub(crate) fn new(gateway: Arc<Gateway>, index: usize, open_listeners: Arc<AtomicUsize>) -> Self {
        let (evictions, evicted) = gateway.limiter.add_worker();
        Self {
            metrics: gateway.metrics[index].clone(),
            sessions: Registry::new(gateway.metrics.len()),
            phrases: Phrases::default(),
            flights: Flights::default(),
            refusal_throttle: RefCell::new(Throttle::of_worker()),
            draining: latch::Latch::default(),
            budget: Rc::default(),
            closing: latch::Latch::default(),
            leaves_queues: Cell::new(false),
            stops_listening: Cell::new(false),
            drain_changes: Cell::new(0),
            open_listeners,
            evictions,
            evicted: Cell::new(Some(evicted)),
            epoch: Instant::now(),
            random: Cell::new(RandomState::new().hash_one(index) | 1),
            newest: RefCell::new(Rc::new(gateway.newest())),
            gateway,
        }
    }

    /// The newest revision that this worker has taken over.
    pub(crate) fn newest(&self) -> Held {
        self.newest.borrow().clone()
    }

    /// The worker's clock: milliseconds since the worker started.
    pub(crate) fn now(&self) -> Millis {
        millis(self.epoch.elapsed())
    }

    /// A random number that need not be secret: for session ids and for masks of the gateway's own frames (xorshift64*).
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
