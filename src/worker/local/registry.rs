//! The sessions of one worker: a list of them by id, what it shows of them, and how it wakes them.

use crate::metrics::{Gauge, RequestRoute, WorkerMetrics};
use crate::proto::millis::Millis;
use crate::shared::clock::wall_time;
use crate::shared::record::Summary;
use crate::shared::record::archive::{Archive, Archived};
use crate::shared::session_id::SessionId;
use crate::worker::local::filter::{HTTP, SessionFilter};
use crate::worker::local::info::{Activity, SessionInfo, SessionSnapshot};
use crate::worker::local::wake::{Wake, WakeHandle};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// All sessions of one worker, by their id, and the records of those that have ended.
#[derive(Debug)]
pub(crate) struct Registry {
    all: RefCell<HashMap<SessionId, Rc<WakeHandle>>>,
    pub(crate) archive: RefCell<Archive>,
}

/// Most sessions that one query looks at, so that no core stands still for it.
const LOOKED_AT_MAX: usize = 4096;

/// Which sessions a page shows.
#[derive(Debug, Clone)]
pub struct PageQuery {
    /// The id that stands before the first one of the page.
    pub after: Option<SessionId>,
    /// Most sessions on the page.
    pub limit: usize,
    /// Which sessions are shown.
    pub filter: SessionFilter,
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The sessions, in the order of their ids.
    pub rows: Vec<SessionSnapshot>,
    /// The last id that was looked at; `None` if there are no more.
    pub seen_to: Option<SessionId>,
}

/// What is known of one session.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its id, its begin, and its record.
    pub archived: Archived,
    /// How it is now; `None` if it has ended.
    pub open: Option<SessionSnapshot>,
}

/// A session's entry in the registry; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Registration<'w> {
    sessions: &'w Registry,
    pub(crate) id: SessionId,
    pub(crate) wake_handle: Rc<WakeHandle>,
}

impl Registry {
    /// The registry of one of `workers` workers, without a session.
    pub(crate) fn new(workers: usize) -> Self {
        Self { all: RefCell::default(), archive: RefCell::new(Archive::new(workers)) }
    }

    /// Adds a session under an id that no other session of the worker has; it is the first such
    /// of `ids`, which is endless.
    pub(crate) fn register(&self, info: SessionInfo, ids: impl IntoIterator<Item = u64>) -> Registration<'_> {
        let mut all = self.all.borrow_mut();
        let id = ids.into_iter().map(SessionId).find(|id| !all.contains_key(id));
        let id = id.expect("an endless iterator");
        let wake_handle = Rc::new(WakeHandle::new(info));
        all.insert(id, wake_handle.clone());
        Registration { sessions: self, id, wake_handle }
    }

    /// Ids of the sessions that do not relay now.
    pub(crate) fn without_relay(&self) -> Vec<SessionId> {
        let all = self.all.borrow();
        all.iter()
            .filter(|(_, wake_handle)| wake_handle.info.relayed.get().is_none())
            .map(|(id, _)| *id)
            .collect()
    }

    /// What `of` makes of each relay that is neither ending nor told to end. `of` gets its id and its info.
    pub(crate) fn relays<T>(&self, mut of: impl FnMut(SessionId, &SessionInfo) -> Option<T>) -> Vec<T> {
        let all = self.all.borrow();
        let goes_on = |wake_handle: &WakeHandle| {
            wake_handle.end_reason().is_none()
                && wake_handle.info.relayed.get().is_some()
                && !wake_handle.info.closing.get()
        };
        all.iter()
            .filter(|(_, wake_handle)| goes_on(wake_handle))
            .filter_map(|(id, wake_handle)| of(*id, &wake_handle.info))
            .collect()
    }

    /// Snapshots of at most `limit` sessions that `filter` accepts, whose ids are above `after`, in the order of their ids.
    /// Visits every id, but looks at no more than [`LOOKED_AT_MAX`] sessions.
    pub(crate) fn page(&self, query: &PageQuery, worker: usize, now: Millis) -> Page {
        let all = self.all.borrow();
        let is_above = |(id, wake_handle): &(&SessionId, &Rc<WakeHandle>)| {
            query.after.is_none_or(|after| **id > after) && wake_handle.info.activity.get().is_some()
        };
        let mut ids: Vec<SessionId> = all.iter().filter(is_above).map(|(id, _)| *id).collect();
        let mut seen_to = None;
        if ids.len() > LOOKED_AT_MAX {
            ids.select_nth_unstable(LOOKED_AT_MAX);
            ids.truncate(LOOKED_AT_MAX);
            seen_to = ids.iter().max().copied();
        }
        ids.sort_unstable();
        let mut rows = Vec::new();
        for id in ids {
            let info = all.get(&id).map(|wake_handle| &wake_handle.info);
            let row = info.and_then(|info| SessionSnapshot::of(id, worker, info, now, &query.filter));
            rows.extend(row);
            if rows.len() == query.limit {
                return Page { rows, seen_to: Some(id) };
            }
        }
        Page { rows, seen_to }
    }

    /// What is known of a session that is open, or has ended.
    pub(crate) fn find(&self, id: SessionId, worker: usize, now: Millis) -> Option<Found> {
        if let Some(wake_handle) = self.all.borrow().get(&id) {
            let (info, any) = (&wake_handle.info, SessionFilter::default());
            let any = SessionFilter { route: info.activity.get().map(|what| what.word().to_owned()), ..any };
            let began = wall_time(info.accepted);
            let record = info.record.borrow().clone();
            let open = SessionSnapshot::of(id, worker, info, now, &any);
            return Some(Found { archived: Archived { id, began, record }, open });
        }
        let archive = self.archive.borrow();
        archive.find(id).map(|archived| Found { archived: archived.clone(), open: None })
    }

    /// The records of at most `limit` ended sessions that `filter` accepts, the newest first. Looks at the newest
    /// [`LOOKED_AT_MAX`] of those that a node served, and of all others.
    pub(crate) fn ended(&self, filter: &SessionFilter, limit: usize) -> Vec<Archived> {
        let archive = self.archive.borrow();
        let accepted = |archived: &&Archived| {
            let summary = Summary::of(archived.record.last_request());
            filter.accepts(summary.route.map_or(HTTP, RequestRoute::word), &summary)
        };
        archive.newest_first(LOOKED_AT_MAX).filter(accepted).take(limit).cloned().collect()
    }

    /// Wakes one session; false if the worker has no session with this id.
    pub(crate) fn wake(&self, id: SessionId, event: Wake) -> bool {
        let wake_handle = self.all.borrow().get(&id).cloned();
        wake_handle.inspect(|wake_handle| wake_handle.wake(event)).is_some()
    }

    /// Wakes a session that has lost its slot among the pending handshakes; false if it has completed its first head since, so
    /// that it needs the slot no more, or has ended.
    pub(crate) fn evict_handshake(&self, id: SessionId) -> bool {
        let wake_handle = self.all.borrow().get(&id).cloned();
        let wake_handle = wake_handle.filter(|wake_handle| wake_handle.info.activity.get().is_none());
        wake_handle.inspect(|wake_handle| wake_handle.wake(Wake::Evict)).is_some()
    }

    /// Tells every relay to end at once, and gives their number.
    pub(crate) fn abort_relays(&self) -> usize {
        let all = self.all.borrow();
        let relays = all.values().filter(|wake_handle| wake_handle.info.relayed.get().is_some());
        relays.inspect(|wake_handle| wake_handle.wake(Wake::Abort)).count()
    }

    /// Wakes the sessions whose deadline has passed at `now`.
    pub(crate) fn wake_due(&self, now: Millis) {
        for wake_handle in self.all.borrow().values().filter(|wake_handle| wake_handle.is_due(now)) {
            wake_handle.wake(Wake::Due);
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.sessions.all.borrow_mut().remove(&self.id);
        let info = &self.wake_handle.info;
        let record = info.record.take();
        // a client without a request has not heard of its id
        if record.has_request() {
            let began = wall_time(info.accepted);
            let archived = Archived { id: self.id, began, record };
            self.sessions.archive.borrow_mut().add(info.relayed.get().is_some(), archived);
        }
    }
}

/// Counts a session as active until it is dropped.
pub(crate) struct ActiveGuard {
    metrics: Arc<WorkerMetrics>,
    wake_handle: Rc<WakeHandle>,
    activity: Activity,
}

impl ActiveGuard {
    pub(crate) fn new(metrics: Arc<WorkerMetrics>, wake_handle: Rc<WakeHandle>, activity: Activity) -> Self {
        active(&metrics, activity).add(1);
        if let Activity::Session(route, role) = activity {
            metrics.sessions_total[route as usize][role as usize].add(1);
        }
        wake_handle.info.activity.set(Some(activity));
        Self { metrics, wake_handle, activity }
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        active(&self.metrics, self.activity).add(-1);
        self.wake_handle.info.activity.set(None);
    }
}

/// The number of connections that do the same.
fn active(metrics: &WorkerMetrics, activity: Activity) -> &Gauge {
    match activity {
        Activity::Requests => &metrics.http_connections,
        Activity::Session(route, role) => &metrics.sessions_active[route as usize][role as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::time::Instant;

    fn info() -> SessionInfo {
        SessionInfo::new(SocketAddr::from(([127, 0, 0, 1], 1)), Instant::now(), 0)
    }

    #[test]
    fn pages_list_every_session_once_and_in_order() {
        let sessions = Registry::new(1);
        let mut next = 1000_u64;
        let registrations: Vec<_> = (0..25)
            .map(|_| {
                next = next.wrapping_mul(0x5851_f42d_4c95_7f2d) | 1;
                let registration = sessions.register(info(), [next]);
                registration.wake_handle.info.activity.set(Some(Activity::Requests));
                registration
            })
            .collect();
        let without_request = sessions.register(info(), [3]);
        let filter = SessionFilter { route: Some(HTTP.to_owned()), ..SessionFilter::default() };
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = sessions.page(&PageQuery { after, limit: 10, filter: filter.clone() }, 0, 0);
            assert!(page.rows.len() <= 10 && page.rows.is_sorted_by_key(|snapshot| snapshot.id));
            seen.extend(page.rows.iter().map(|snapshot| snapshot.id));
            let Some(last) = page.seen_to else { break };
            after = Some(last);
        }
        let mut all: Vec<_> = registrations.iter().map(|registration| registration.id).collect();
        all.sort_unstable();
        assert_eq!(seen, all);
        assert!(!seen.contains(&without_request.id), "it has sent no request");
    }

    #[test]
    fn an_id_in_use_is_not_given_to_another_session() {
        let sessions = Registry::new(1);
        let first = sessions.register(info(), [7]);
        let second = sessions.register(info(), [7, 7, 8]);
        assert_eq!((first.id, second.id), (SessionId(7), SessionId(8)));
        drop(first);
        assert!(!sessions.wake(SessionId(7), Wake::Kick) && sessions.wake(SessionId(8), Wake::Kick));
        assert_eq!(second.wake_handle.end_reason(), Some(Wake::Kick));
        sessions.wake(SessionId(8), Wake::Drain);
        assert_eq!(second.wake_handle.end_reason(), Some(Wake::Kick), "the first reason stays");
        sessions.wake(SessionId(8), Wake::Abort);
        assert_eq!(second.wake_handle.end_reason(), Some(Wake::Abort));
    }
}
