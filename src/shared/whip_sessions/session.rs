//! One WHIP session.

use crate::metrics::{RequestRoute, Route};
use crate::proto::red5::role::Role;
use crate::proto::red5::whip::{AffinityKey, Handle};
use crate::shared::client_address::counted_as;
use crate::shared::clock::wall_time;
use crate::shared::node_metrics::NodeSession;
use crate::shared::record::{Event, Record};
use crate::shared::session_id::SessionId;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What a WHIP session needs in memory besides its two texts, its record included, in bytes, approximately.
pub(super) const ENTRY_OVERHEAD: usize = 1280;

/// Requests about a session that its record keeps. A client may send a PATCH for each candidate.
const REQUESTS_MAX: u32 = 8;

/// A WHIP session: what a POST created at a node.
#[derive(Debug)]
pub(crate) struct WhipSession {
    /// The node that created it.
    pub(crate) node: IpAddr,
    /// The target of its resource at the node.
    pub(crate) at_node: String,
    /// Its random name in the `Location` that the client got.
    pub(crate) handle: Handle,
    /// What its client calls it: finds it for clients without a handle.
    pub(crate) key: AffinityKey,
    /// The address of the client that created it.
    pub(crate) client: IpAddr,
    /// Counts it at its node.
    _counted: NodeSession,
    /// Its id, in answers, lists and logs.
    pub(crate) id: SessionId,
    /// The moment from which the times of its record count: when the connection of its POST was accepted.
    pub(crate) epoch: Instant,
    /// When it was created.
    pub(crate) created: Instant,
    /// What happened in it.
    pub(crate) record: Mutex<Record>,
    /// How many requests came about it since.
    pub(crate) requests: AtomicU32,
}

impl WhipSession {
    pub(super) fn size(&self) -> usize {
        ENTRY_OVERHEAD + self.at_node.len() + self.key.size()
    }

    /// The address to which its memory is charged.
    pub(super) fn charged_to(&self) -> IpAddr {
        counted_as(self.client)
    }

    /// Whether it is one of WHIP or of WHEP.
    pub(crate) fn kind(&self) -> (Route, Role) {
        if self.key.is_publisher() { (Route::Whip, Role::Publisher) } else { (Route::Whep, Role::Subscriber) }
    }

    /// Its record. It is locked for a moment at a time.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins its record with a copy of the one of the connection, up to the answer to the POST.
    pub(crate) fn begin_record(&self, of_connection: &Record) {
        *self.record() = of_connection.of_last_request();
    }

    /// Adds the newest request of a connection, which was accepted at `accepted`, to the record. Names and target are left
    /// out: the POST has them. `last`: it ends the session, so it is kept whatever came before.
    pub(crate) fn note_request(&self, of_connection: &Record, accepted: Instant, last: bool) {
        if self.requests.fetch_add(1, Relaxed) >= REQUESTS_MAX && !last {
            return;
        }
        let mut record = self.record();
        let offset = accepted.saturating_duration_since(self.epoch);
        for (at, event) in of_connection.last_request() {
            let event = match event {
                Event::Accepted { .. } | Event::Secured { .. } | Event::Traced(_) => continue,
                Event::Requested { route, role, method, .. } => {
                    Event::Requested { route, role, method, target: "", app: "", stream: "" }
                }
                other => other,
            };
            record.note(at + offset, &event);
        }
    }

    /// How many requests came about it after the first one.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Adds an event that happens now to the record.
    pub(crate) fn note(&self, event: &Event<'_>) {
        self.record().note(self.epoch.elapsed(), event);
    }

    /// When it was created, by the clock of the wall.
    pub(crate) fn began(&self) -> SystemTime {
        wall_time(self.epoch)
    }

    /// A session that is created now, on a connection that was accepted at `epoch`.
    pub(crate) fn new(id: SessionId, epoch: Instant, identity: Identity) -> Self {
        let Identity { node, at_node, handle, key, client, counted } = identity;
        Self {
            _counted: counted,
            node,
            at_node,
            handle,
            key,
            client,
            id,
            epoch,
            created: Instant::now(),
            record: Mutex::default(),
            requests: AtomicU32::new(0),
        }
    }

    /// A session that a predecessor created `age` ago, with a record of what it is about. Nodes are reached at `node_port`.
    pub(crate) fn restored(id: SessionId, age: Duration, identity: Identity, node_port: u16) -> Self {
        let now = Instant::now();
        let created = now.checked_sub(age).unwrap_or(now);
        let session = Self { created, ..Self::new(id, created, identity) };
        session.restore_record(node_port);
        session
    }

    fn restore_record(&self, node_port: u16) {
        let (route, role) = match self.kind() {
            (_, Role::Publisher) => (RequestRoute::Whip, Role::Publisher),
            (_, Role::Subscriber) => (RequestRoute::Whep, Role::Subscriber),
        };
        let (app, stream) = self.key.names();
        let mut record = self.record();
        record.note(Duration::ZERO, &Event::Accepted { client: (self.client, 0).into(), through: None });
        record.begin_request();
        let (method, target) = ("POST", "");
        let about = Event::Requested { route, role: Some(role), method, target, app, stream };
        record.note(Duration::ZERO, &about);
        record.note(self.epoch.elapsed(), &Event::Inherited { node: (self.node, node_port).into() });
    }
}

/// What a WHIP session is, without its history.
#[derive(Debug)]
pub(crate) struct Identity {
    /// See the fields of the same names of [`WhipSession`].
    pub(crate) node: IpAddr,
    pub(crate) at_node: String,
    pub(crate) handle: Handle,
    pub(crate) key: AffinityKey,
    pub(crate) client: IpAddr,
    /// Counts it at its node.
    pub(crate) counted: NodeSession,
}
