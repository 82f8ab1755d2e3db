//! The sessions of one worker: who is there, what is known of them, and how to wake them.

use crate::metrics::{Route, WorkerMetrics};
use crate::proto::millis::Millis;
use crate::worker::local::info::{SessionInfo, SessionSnapshot};
use crate::worker::local::wake::{Wake, WakeHandle};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// All sessions of one worker, by the number that is their id.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    all: RefCell<HashMap<u64, Rc<WakeHandle>>>,
}

/// A session's place among them; leaves when it is dropped.
#[derive(Debug)]
pub(crate) struct Registration<'w> {
    sessions: &'w Registry,
    pub(crate) id: u64,
    pub(crate) wake_handle: Rc<WakeHandle>,
}

impl Registry {
    /// Enters a new session under an id that nobody has.
    pub(crate) fn register(&self, info: SessionInfo, mut random: impl FnMut() -> u64) -> Registration<'_> {
        let mut all = self.all.borrow_mut();
        let id = std::iter::repeat_with(&mut random).find(|id| !all.contains_key(id));
        let id = id.expect("an endless iterator");
        let wake_handle = Rc::new(WakeHandle::new(info));
        all.insert(id, wake_handle.clone());
        Registration { sessions: self, id, wake_handle }
    }

    /// Ids of those who do not relay now.
    pub(crate) fn without_relay(&self) -> Vec<u64> {
        let all = self.all.borrow();
        all.iter()
            .filter(|(_, wake_handle)| wake_handle.info.relayed.get().is_none())
            .map(|(id, _)| *id)
            .collect()
    }

    /// What `of` makes of each relay that goes on, with its id.
    pub(crate) fn relays<T>(&self, mut of: impl FnMut(u64, &SessionInfo) -> Option<T>) -> Vec<T> {
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

    /// At most `limit` sessions whose ids follow `after`, by id. Looks at every id, but makes no more rows than that.
    pub(crate) fn page(
        &self,
        after: Option<u64>,
        limit: usize,
        worker: usize,
        now: Millis,
    ) -> Vec<SessionSnapshot> {
        let all = self.all.borrow();
        let is_listed = |(id, wake_handle): &(&u64, &Rc<WakeHandle>)| {
            after.is_none_or(|after| **id > after) && wake_handle.info.route.get().is_some()
        };
        let mut ids: Vec<u64> = all.iter().filter(is_listed).map(|(id, _)| *id).collect();
        if ids.len() > limit {
            ids.select_nth_unstable(limit);
            ids.truncate(limit);
        }
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| SessionSnapshot::of(id, worker, &all.get(&id)?.info, now)).collect()
    }

    /// Tells one session something; false if there is none.
    pub(crate) fn wake(&self, id: u64, event: Wake) -> bool {
        let wake_handle = self.all.borrow().get(&id).cloned();
        wake_handle.inspect(|wake_handle| wake_handle.wake(event)).is_some()
    }

    /// Tells every relay to end now; how many there are.
    pub(crate) fn abort_relays(&self) -> usize {
        let all = self.all.borrow();
        let relays = all.values().filter(|wake_handle| wake_handle.info.relayed.get().is_some());
        relays.inspect(|wake_handle| wake_handle.wake(Wake::Abort)).count()
    }

    /// Wakes those whose deadline has come.
    pub(crate) fn wake_due(&self, now: Millis) {
        for wake_handle in self.all.borrow().values().filter(|wake_handle| wake_handle.is_due(now)) {
            wake_handle.wake(Wake::Due);
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.sessions.all.borrow_mut().remove(&self.id);
    }
}

/// Counts a session as active for as long as it lives.
pub(crate) struct ActiveGuard {
    metrics: Arc<WorkerMetrics>,
    wake_handle: Rc<WakeHandle>,
    route: Route,
}

impl ActiveGuard {
    pub(crate) fn new(metrics: Arc<WorkerMetrics>, wake_handle: Rc<WakeHandle>, route: Route) -> Self {
        metrics.sessions_active[route as usize].add(1);
        metrics.sessions_total[route as usize].add(1);
        wake_handle.info.route.set(Some(route));
        Self { metrics, wake_handle, route }
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.metrics.sessions_active[self.route as usize].add(-1);
        self.wake_handle.info.route.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn info() -> SessionInfo {
        SessionInfo::new(SocketAddr::from(([127, 0, 0, 1], 1)), 0)
    }

    #[test]
    fn pages_list_everybody_once_and_in_order() {
        let sessions = Registry::default();
        let mut next = 1000_u64;
        let places: Vec<_> = (0..25)
            .map(|_| {
                next = next.wrapping_mul(0x5851_f42d_4c95_7f2d) | 1;
                let place = sessions.register(info(), || next);
                place.wake_handle.info.route.set(Some(Route::TwoStep));
                place
            })
            .collect();
        let silent = sessions.register(info(), || 3);
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = sessions.page(after, 10, 0, 0);
            assert!(page.len() <= 10 && page.is_sorted_by_key(|row| row.id));
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.iter().map(|row| row.id));
        }
        let mut all: Vec<_> = places.iter().map(|place| place.id).collect();
        all.sort_unstable();
        assert_eq!(seen, all);
        assert!(!seen.contains(&silent.id), "it has asked for nothing");
    }

    #[test]
    fn an_id_in_use_is_not_given_twice() {
        let sessions = Registry::default();
        let first = sessions.register(info(), || 7);
        let mut numbers = [7, 7, 8].into_iter();
        let second = sessions.register(info(), || numbers.next().expect("enough"));
        assert_eq!((first.id, second.id), (7, 8));
        drop(first);
        assert!(!sessions.wake(7, Wake::Kick) && sessions.wake(8, Wake::Kick));
        assert_eq!(second.wake_handle.end_reason(), Some(Wake::Kick));
        sessions.wake(8, Wake::Drain);
        assert_eq!(second.wake_handle.end_reason(), Some(Wake::Kick), "the first word counts");
        sessions.wake(8, Wake::Abort);
        assert_eq!(second.wake_handle.end_reason(), Some(Wake::Abort));
    }
}
