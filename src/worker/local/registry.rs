//! The sessions of one worker: who is there, what is known of them, and how to wake them.

use crate::metrics::{Route, WorkerMetrics};
use crate::proto::millis::Millis;
use crate::worker::local::info::{Card, Row};
use crate::worker::local::wake::{Event, Pager};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// All sessions of one worker, by the number that is their id.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: RefCell<HashMap<u64, Rc<Pager>>>,
}

/// A session's place among them; leaves when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'w> {
    sessions: &'w Sessions,
    pub(crate) id: u64,
    pub(crate) pager: Rc<Pager>,
}

impl Sessions {
    /// Enters a new session under an id that nobody has.
    pub(crate) fn enter(&self, card: Card, mut random: impl FnMut() -> u64) -> Place<'_> {
        let mut all = self.all.borrow_mut();
        let id = std::iter::repeat_with(&mut random).find(|id| !all.contains_key(id));
        let id = id.expect("an endless iterator");
        let pager = Rc::new(Pager::new(card));
        all.insert(id, pager.clone());
        Place { sessions: self, id, pager }
    }

    /// Ids of those who do not relay now.
    pub(crate) fn without_relay(&self) -> Vec<u64> {
        let all = self.all.borrow();
        all.iter().filter(|(_, pager)| pager.card.relayed.get().is_none()).map(|(id, _)| *id).collect()
    }

    /// What `of` makes of each relay that goes on, with its id.
    pub(crate) fn relays<T>(&self, mut of: impl FnMut(u64, &Card) -> Option<T>) -> Vec<T> {
        let all = self.all.borrow();
        let goes_on = |pager: &Pager| {
            pager.told().is_none() && pager.card.relayed.get().is_some() && !pager.card.closing.get()
        };
        all.iter()
            .filter(|(_, pager)| goes_on(pager))
            .filter_map(|(id, pager)| of(*id, &pager.card))
            .collect()
    }

    /// At most `limit` sessions whose ids follow `after`, by id. Looks at every id, but makes no more rows than that.
    pub(crate) fn page(&self, after: Option<u64>, limit: usize, worker: usize, now: Millis) -> Vec<Row> {
        let all = self.all.borrow();
        let is_listed = |(id, pager): &(&u64, &Rc<Pager>)| {
            after.is_none_or(|after| **id > after) && pager.card.route.get().is_some()
        };
        let mut ids: Vec<u64> = all.iter().filter(is_listed).map(|(id, _)| *id).collect();
        if ids.len() > limit {
            ids.select_nth_unstable(limit);
            ids.truncate(limit);
        }
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| Row::of(id, worker, &all.get(&id)?.card, now)).collect()
    }

    /// Tells one session something; false if there is none.
    pub(crate) fn wake(&self, id: u64, event: Event) -> bool {
        let pager = self.all.borrow().get(&id).cloned();
        pager.inspect(|pager| pager.ring(event)).is_some()
    }

    /// Tells every relay to end now; how many there are.
    pub(crate) fn cut(&self) -> usize {
        let all = self.all.borrow();
        let relays = all.values().filter(|pager| pager.card.relayed.get().is_some());
        relays.inspect(|pager| pager.ring(Event::Cut)).count()
    }

    /// Wakes those whose deadline has come.
    pub(crate) fn wake_due(&self, now: Millis) {
        for pager in self.all.borrow().values().filter(|pager| pager.is_due(now)) {
            pager.ring(Event::Due);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.sessions.all.borrow_mut().remove(&self.id);
    }
}

/// Counts a session as active for as long as it lives.
pub(crate) struct ActiveGuard {
    metrics: Arc<WorkerMetrics>,
    pager: Rc<Pager>,
    route: Route,
}

impl ActiveGuard {
    pub(crate) fn new(metrics: Arc<WorkerMetrics>, pager: Rc<Pager>, route: Route) -> Self {
        metrics.sessions_active[route as usize].add(1);
        metrics.sessions_total[route as usize].add(1);
        pager.card.route.set(Some(route));
        Self { metrics, pager, route }
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.metrics.sessions_active[self.route as usize].add(-1);
        self.pager.card.route.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn card() -> Card {
        Card::new(SocketAddr::from(([127, 0, 0, 1], 1)), 0)
    }

    #[test]
    fn pages_list_everybody_once_and_in_order() {
        let sessions = Sessions::default();
        let mut next = 1000_u64;
        let places: Vec<_> = (0..25)
            .map(|_| {
                next = next.wrapping_mul(0x5851_f42d_4c95_7f2d) | 1;
                let place = sessions.enter(card(), || next);
                place.pager.card.route.set(Some(Route::TwoStep));
                place
            })
            .collect();
        let silent = sessions.enter(card(), || 3);
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
        let sessions = Sessions::default();
        let first = sessions.enter(card(), || 7);
        let mut numbers = [7, 7, 8].into_iter();
        let second = sessions.enter(card(), || numbers.next().expect("enough"));
        assert_eq!((first.id, second.id), (7, 8));
        drop(first);
        assert!(!sessions.wake(7, Event::Kick) && sessions.wake(8, Event::Kick));
        assert_eq!(second.pager.told(), Some(Event::Kick));
        sessions.wake(8, Event::Drain);
        assert_eq!(second.pager.told(), Some(Event::Kick), "the first word counts");
        sessions.wake(8, Event::Cut);
        assert_eq!(second.pager.told(), Some(Event::Cut));
    }
}
