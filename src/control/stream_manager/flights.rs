//! The questions to the stream manager: one flight for each key, shared by all workers.
//!
//! Flights run on the control thread, so that name resolution, TLS and a slow stream manager never hold up a worker. A
//! `ManagerClient` decides where and how a question is asked. A reload replaces it; flights that are under way keep the one they
//! began with, and answer no question that is asked after a reload has taken out a stream manager.

use crate::control::stream_manager::client::ManagerClient;
use crate::control::stream_manager::shares::{QuestionPermit, Shares};
use crate::proto::red5::route::{self, Keep, Priority};
use crate::proto::refusal::Refusal;
use crate::shared::answers::{CacheLookup, Key};
use crate::shared::client_address::counted_as;
use crate::shared::gateway::Gateway;
use crate::shared::questions::{Asking, CacheStatus, Question, Reply};
use arc_swap::ArcSwap;
use futures_channel::{mpsc, oneshot};
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt};
use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often it is looked at whether a stream manager needs a probe: its return has to be noticed within a second.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// The waiting sessions of each flight, by the generation of the answers in which it began, and by its key.
type Waiters = HashMap<(u64, Key), Vec<oneshot::Sender<Reply>>>;

/// The flights that are under way, and the client that asks the next questions.
pub(crate) struct Flights {
    gateway: Arc<Gateway>,
    client: ArcSwap<ManagerClient>,
    waiters: Mutex<Waiters>,
    shares: Arc<Shares>,
}

/// Answers the questions of the workers until all workers have ended. Has to run on tokio.
pub(crate) async fn serve(flights: Arc<Flights>, mut questions: mpsc::UnboundedReceiver<Question>) {
    while let Some(question) = questions.next().await {
        flights.clone().take(question);
    }
}

/// Watches whether the stream managers answer. While questions to one fail, it is asked one of the gateway's own each
/// [`WATCH_INTERVAL`]: its return must not wait for a client. Runs until the process ends.
pub(crate) async fn watch(flights: Arc<Flights>) {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        flights.client.load().watch();
    }
}

impl Flights {
    /// Starts without a flight. Questions are asked by `client`, answers are stored in `gateway`.
    pub(crate) fn new(gateway: Arc<Gateway>, client: ManagerClient) -> Self {
        Self {
            gateway,
            client: ArcSwap::from_pointee(client),
            waiters: Mutex::default(),
            shares: Arc::default(),
        }
    }

    /// From now on `client` asks the questions, and the gateway knows its revision. Stored answers stay if it asks one of the same
    /// stream managers, except those that only name nodes which none of them named. If it asks none of them, all are dropped.
    pub(crate) fn revise(&self, client: ManagerClient) {
        let old = self.client.swap(Arc::new(client));
        let (new, answers) = (self.client.load(), &self.gateway.answers);
        if old.managers().all(|manager| !new.asks(manager)) {
            answers.forget_all();
        } else if !old.managers().all(|manager| new.asks(manager)) {
            answers.retain(|answer| self.gateway.leads_somewhere(answer));
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        // every change of the map is a single call: a panic leaves none half done
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a question among those under way, by its client and by what its key says of its priority.
    fn begin(&self, key: &Key, client: IpAddr) -> Result<QuestionPermit, Refusal> {
        let priority = route::route(key).map_or(Priority::Normal, |route| route.priority("GET"));
        let shared = self.gateway.newest().config.limits.sessions_per_ip.is_some();
        self.shares.begin(counted_as(client), priority, shared)
    }

    /// Adds a question to the flight of its key that is under way, or begins one.
    fn take(self: Arc<Self>, question: Question) {
        let Question { asking, reply } = question;
        if asking.keep == Keep::Never {
            self.take_alone(asking, reply);
            return;
        }
        let Asking { key, kind, keep, client, trace } = asking;
        // an answer may have been stored after the worker looked for one
        if let CacheLookup::Hit(answer) = self.gateway.answers.look(&key) {
            let _ = reply.send((CacheStatus::Hit, Ok(answer)));
            return;
        }
        // a flight of an earlier generation may ask a stream manager that a reload has replaced
        let generation = self.gateway.answers.generation();
        let flight = (generation, key.clone());
        let mut waiters = self.waiters();
        if let Some(waiting) = waiters.get_mut(&flight) {
            waiting.push(reply);
            return;
        }
        let permit = match self.begin(&key, client) {
            Ok(permit) => permit,
            Err(refusal) => {
                let _ = reply.send((CacheStatus::Miss, Err(refusal)));
                return;
            }
        };
        waiters.insert(flight.clone(), vec![reply]);
        drop(waiters);
        tokio::task::spawn(async move {
            let client = self.client.load_full();
            // after a panic too, the flight has to be removed and its waiters answered
            let asked = AssertUnwindSafe(client.ask(&key, kind, keep, trace.as_ref())).catch_unwind().await;
            let outcome = asked.unwrap_or(Err(Refusal::ManagerFailed));
            drop(permit);
            if let Ok(answer) = &outcome {
                self.gateway.answers.keep(key, answer, generation);
            }
            let waiting = self.waiters().remove(&flight).unwrap_or_default();
            for (index, waiter) in waiting.into_iter().enumerate() {
                let status = if index == 0 { CacheStatus::Miss } else { CacheStatus::Collapsed };
                let _ = waiter.send((status, outcome.clone()));
            }
        });
    }

    /// Asks a question whose answer may not be shared. It is cancelled when its session no longer waits for the reply.
    fn take_alone(self: Arc<Self>, asking: Asking, mut reply: oneshot::Sender<Reply>) {
        let Asking { key, kind, client, trace, .. } = asking;
        let permit = match self.begin(&key, client) {
            Ok(permit) => permit,
            Err(refusal) => {
                let _ = reply.send((CacheStatus::Bypass, Err(refusal)));
                return;
            }
        };
        tokio::task::spawn(async move {
            let client = self.client.load_full();
            let ask = pin!(client.ask(&key, kind, Keep::Never, trace.as_ref()));
            let asked = select(ask, reply.cancellation()).await;
            drop(permit);
            let outcome = match asked {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => return,
            };
            let _ = reply.send((CacheStatus::Bypass, outcome));
        });
    }
}
