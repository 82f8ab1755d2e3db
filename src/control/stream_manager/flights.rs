//! The questions to the stream manager: one flight for each, for all workers.
//!
//! It runs on the control thread, so that name resolution, TLS and slow peers never meet a worker. How a question is
//! asked is the [`Asker`]'s; a reload puts another one in its place, and questions in the air are not disturbed.

use crate::control::stream_manager::client::Asker;
use crate::proto::red5::route::{EventKind, Keep};
use crate::proto::refusal::Refusal;
use crate::shared::answers::CacheLookup;
use crate::shared::answers::Key;
use crate::shared::gateway::Gateway;
use crate::shared::questions::{CacheStatus, Question, Reply};
use arc_swap::ArcSwap;
use futures_channel::{mpsc, oneshot};
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Questions in the air at once; each may hold a connection to the stream manager. Names are the clients' to choose, so
/// without it a slow stream manager would be met by as many connections as there are clients.
const QUESTIONS_MAX: usize = 1024;

type Flights = HashMap<Key, Vec<oneshot::Sender<Reply>>>;

/// Everything that is in the air, and how to ask what comes next.
pub(crate) struct Manager {
    gateway: Arc<Gateway>,
    asker: ArcSwap<Asker>,
    flights: Mutex<Flights>,
    air: Arc<Semaphore>,
}

/// Answers questions until all workers are gone. Has to run on tokio.
pub(crate) async fn serve(manager: Arc<Manager>, mut questions: mpsc::UnboundedReceiver<Question>) {
    while let Some(question) = questions.next().await {
        manager.clone().take(question);
    }
}

impl Manager {
    /// Nothing is in the air yet.
    pub(crate) fn new(gateway: Arc<Gateway>, asker: Asker) -> Self {
        Self {
            gateway,
            asker: ArcSwap::from_pointee(asker),
            flights: Mutex::default(),
            air: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        }
    }

    /// Questions are asked another way from now on. What another stream manager said is forgotten.
    pub(crate) fn revise(&self, asker: Asker) {
        let old = self.asker.swap(Arc::new(asker));
        if !self.asker.load().asks_the_same_as(&old) {
            self.gateway.answers.forget_all();
        }
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        // every change of the map is a single call: a panic leaves none half done
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a question: into a flight that is in the air, or into one of its own.
    fn take(self: Arc<Self>, question: Question) {
        let Question { key, kind, keep, reply } = question;
        if keep == Keep::Never {
            self.take_alone(key, kind, reply);
            return;
        }
        // another worker's flight may have landed between that worker's look and ours
        if let CacheLookup::Hit(answer) = self.gateway.answers.look(&key) {
            let _ = reply.send((CacheStatus::Hit, Ok(answer)));
            return;
        }
        let mut flights = self.flights();
        if let Some(waiting) = flights.get_mut(&key) {
            waiting.push(reply);
            return;
        }
        let Ok(place) = self.air.clone().try_acquire_owned() else {
            let _ = reply.send((CacheStatus::Miss, Err(Refusal::Overloaded)));
            return;
        };
        flights.insert(key.clone(), vec![reply]);
        drop(flights);
        tokio::task::spawn(async move {
            // whatever happens, nobody is left waiting for this key
            let asker = self.asker.load_full();
            let asked = AssertUnwindSafe(asker.ask(&key, kind, keep)).catch_unwind().await;
            let outcome = asked.unwrap_or(Err(Refusal::ManagerFailed));
            drop(place);
            if let Ok(answer) = &outcome
                && self.asker.load().asks_the_same_as(&asker)
            {
                self.gateway.answers.keep(key.clone(), answer);
            }
            let waiting = self.flights().remove(&key).unwrap_or_default();
            for (place, waiter) in waiting.into_iter().enumerate() {
                let by = if place == 0 { CacheStatus::Miss } else { CacheStatus::Collapsed };
                let _ = waiter.send((by, outcome.clone()));
            }
        });
    }

    /// A question that is nobody else's: it ends when its caller leaves.
    fn take_alone(self: Arc<Self>, key: Key, kind: EventKind, mut reply: oneshot::Sender<Reply>) {
        let Ok(place) = self.air.clone().try_acquire_owned() else {
            let _ = reply.send((CacheStatus::Bypass, Err(Refusal::Overloaded)));
            return;
        };
        tokio::task::spawn(async move {
            let asker = self.asker.load_full();
            let ask = pin!(asker.ask(&key, kind, Keep::Never));
            let asked = select(ask, reply.cancellation()).await;
            drop(place);
            let outcome = match asked {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => return,
            };
            let _ = reply.send((CacheStatus::Bypass, outcome));
        });
    }
}
