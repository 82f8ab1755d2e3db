//! The plot: which name needs a certificate, and one order at a time.
//!
//! A round looks at what is stored, tells the status page, and does the first thing that is due under the lock of the folder.
//! While the process does not serve (it starts, drains, or has a successor) it begins no order, but finishes the one that is
//! under way, and it answers challenges all the time.

use super::http::Http;
use super::order;
use super::record::{Need, Record};
use super::renewal::{Renewal, renew_at};
use super::setup::{Setup, beside};
use super::storage::Storage;
use super::time::{now, random};
use super::trouble::{Kind, Trouble};
use crate::config::Acme;
use crate::control::process::acme_status::{NameState, NameStatus};
use crate::control::process::state::{Phase, ProcessState};
use crate::control::start::certs::{Loaded, date};
use crate::control::start::stored_certs::Stored;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How often the challenges in the folder are read. An order waits two such times before the CA may look.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(400);

/// The time between two rounds while the process does not serve, while something is due, and while nothing is.
const OTHER_PHASE_INTERVAL: Duration = Duration::from_millis(200);
const BUSY_INTERVAL: Duration = Duration::from_secs(1);
const IDLE_INTERVAL: Duration = Duration::from_secs(4);

/// How long one order may take. Its requests have times of their own; this is for a CA that delays every one of them.
const ORDER_TIMEOUT: Duration = Duration::from_secs(8 * 60);

/// Begins to order certificates and to answer challenges, on the control thread, for as long as the process lives. With an empty
/// `tls.acme.names` it waits for a reload that changes that.
pub(crate) fn start(control: &Handle, state: &Arc<ProcessState>) {
    control.spawn(answer_challenges(Arc::clone(state)));
    control.spawn(run(Arc::clone(state)));
}

/// Gives the answers to all challenges in the folder, whichever process put them there.
async fn answer_challenges(state: Arc<ProcessState>) {
    loop {
        let acme = state.served().config.acme.clone();
        let (challenges, wait) = match acme.names.is_empty() {
            true => (Vec::new(), IDLE_INTERVAL),
            false => (beside(move || Storage::new(&acme).read_challenges()).await, CHALLENGE_INTERVAL),
        };
        if let Err(error) = state.challenges.set(&challenges) {
            tracing::error!(%error, "no answer can be made for a challenge of the CA");
        }
        tokio::time::sleep(wait).await;
    }
}

async fn run(state: Arc<ProcessState>) {
    let reloads = state.acme.reloads();
    let mut issuer =
        Issuer { state, reloads, asked: HashSet::new(), troubles: HashMap::new(), missed: HashSet::new() };
    loop {
        let wait = issuer.round().await;
        let _ = tokio::time::timeout(wait, issuer.state.acme.reloaded()).await;
    }
}

struct Issuer {
    state: Arc<ProcessState>,
    /// How many reloads were noticed.
    reloads: u64,
    /// Names that the operator asked for by a reload and that were not tried since.
    asked: HashSet<String>,
    /// Names that can't even be tried, with what is wrong, and when it was noticed.
    troubles: HashMap<String, (String, i64)>,
    /// Names of which the log says that they have no certificate.
    missed: HashSet<String>,
}

/// One name as it is stored.
#[derive(Debug)]
struct Look {
    name: String,
    stored: Stored,
    record: Record,
}

/// What a name needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    /// A certificate, from this moment on.
    Certificate(Need, i64),
    /// The CA's word on when to renew.
    RenewalInfo,
}

impl Look {
    fn of(storage: &Storage, name: &str) -> Self {
        Self { name: name.to_owned(), stored: storage.read(name), record: storage.record(name) }
    }

    fn due(&self, asked: bool, now: i64) -> Due {
        match &self.stored {
            Stored::Missing | Stored::Damaged(_) => {
                Due::Certificate(Need::Lost, self.record.begins_at(Need::Lost, asked, now))
            }
            // it may be good, so another one is no help
            Stored::Unreadable(_) => Due::Nothing,
            Stored::Good(loaded) if renew_at(loaded, self.record.renewal.as_ref()) <= now => {
                Due::Certificate(Need::Renewal, self.record.begins_at(Need::Renewal, asked, now))
            }
            Stored::Good(loaded) => {
                let renewal = self.record.renewal.as_ref();
                match renewal.is_none_or(|renewal| renewal.is_stale(loaded, now)) {
                    true => Due::RenewalInfo,
                    false => Due::Nothing,
                }
            }
        }
    }

    fn loaded(&self) -> Option<&Loaded> {
        match &self.stored {
            Stored::Good(loaded) => Some(loaded),
            _ => None,
        }
    }
}

impl Issuer {
    /// Looks at all names and does the first thing that is due. Returns how long nothing else has to be done.
    async fn round(&mut self) -> Duration {
        let acme = self.state.served().config.acme.clone();
        if acme.names.is_empty() {
            self.state.acme.set(Vec::new());
            return IDLE_INTERVAL;
        }
        self.notice_reload(&acme);
        let (storage, names) = (Storage::new(&acme), acme.names.clone());
        let looks: Vec<_> = beside(move || names.iter().map(|name| Look::of(&storage, name)).collect()).await;
        self.say_what_is_missing(&looks);
        let now = now();
        let dues: Vec<_> =
            looks.iter().map(|look| (look, look.due(self.asked.contains(&look.name), now))).collect();
        self.publish(&dues, None);
        if self.state.phase.get() != Phase::Serving || self.state.successor.get().is_some() {
            return OTHER_PHASE_INTERVAL;
        }
        let is_ready = |due: &Due| match due {
            Due::Nothing => false,
            Due::Certificate(_, begins) => *begins <= now,
            Due::RenewalInfo => true,
        };
        // a certificate before a question about one
        let ready = dues.iter().filter(|(_, due)| is_ready(due));
        let Some((look, _)) = ready.min_by_key(|(_, due)| *due == Due::RenewalInfo) else {
            let soon = dues.iter().any(|(_, due)| matches!(due, Due::Certificate(..)));
            return if soon { BUSY_INTERVAL } else { IDLE_INTERVAL };
        };
        let name = look.name.clone();
        match self.act(&acme, &name, &dues).await {
            Ok(true) => Duration::ZERO,
            Ok(false) => BUSY_INTERVAL,
            Err(trouble) => {
                self.note_trouble(&name, &trouble);
                IDLE_INTERVAL
            }
        }
    }

    fn notice_reload(&mut self, acme: &Acme) {
        let reloads = self.state.acme.reloads();
        if reloads != self.reloads {
            self.reloads = reloads;
            self.asked = acme.names.iter().cloned().collect();
            self.troubles.clear();
        }
        self.asked.retain(|name| acme.names.contains(name));
        self.troubles.retain(|name, _| acme.names.contains(name));
        self.missed.retain(|name| acme.names.contains(name));
    }

    /// Does what is due for a name, under the lock. `false` if another process has the lock. An error is trouble with the folder,
    /// which can't be stored there.
    async fn act(&mut self, acme: &Acme, name: &str, dues: &[(&Look, Due)]) -> Result<bool, Trouble> {
        let storage = Storage::new(acme);
        let (locking, ca) = (storage.clone(), acme.ca.clone());
        let Some(lock) = beside(move || locking.try_lock()).await? else { return Ok(false) };
        let http = beside(move || Http::new(ca.as_deref())).await?;
        let challenges = Arc::clone(&self.state.challenges);
        let setup = Setup { acme: acme.clone(), http, storage, lock: Arc::new(lock), challenges };
        let file = name.to_owned();
        // again, because another process may have been first
        let look = setup.storage(move |storage, lock| {
            storage.set_aside_damaged(&file, lock);
            Look::of(storage, &file)
        });
        let look = look.await;
        match look.due(self.asked.contains(name), now()) {
            Due::Certificate(need, begins) if begins <= now() => {
                self.publish(dues, Some(name));
                self.asked.remove(name);
                self.order(&setup, look, need).await?;
            }
            Due::RenewalInfo => {
                let Some(loaded) = look.loaded() else { return Ok(true) };
                let asked = order::ask_renewal(&setup, loaded, look.record.renewal.as_ref()).await;
                let renewal = asked.unwrap_or_else(|_| Renewal::unknown(loaded));
                let mut record = look.record;
                record.renewal = Some(renewal);
                write_record(&setup, name, record).await?;
            }
            _ => {}
        }
        self.troubles.remove(name);
        Ok(true)
    }

    /// Orders a certificate and records how that went.
    async fn order(&mut self, setup: &Setup, look: Look, need: Need) -> Result<(), Trouble> {
        let Look { name, stored, mut record } = look;
        let before = record.clone();
        record.begin(now());
        write_record(setup, &name, record).await?;
        tracing::info!(name, directory = setup.acme.directory, "certificate ordered");
        let former = match &stored {
            Stored::Good(loaded) => Some(loaded),
            _ => None,
        };
        let ordered = tokio::time::timeout(ORDER_TIMEOUT, order::issue(setup, &name, former)).await;
        let ordered = ordered.unwrap_or_else(|_| {
            let text = format!("the order took more than {} s", ORDER_TIMEOUT.as_secs());
            Err(Trouble::new(Kind::Server, text))
        });
        setup.storage(|storage, lock| storage.take_back_challenges(lock)).await;
        let mut record = before;
        match ordered {
            Ok((loaded, renewal)) => {
                let renew = date(renew_at(&loaded, Some(&renewal)));
                let until = date(loaded.facts.not_after);
                tracing::info!(name, until, renew, "certificate issued");
                record.succeed(need, renewal, now());
                self.missed.remove(&name);
            }
            Err(trouble) => {
                record.fail(&trouble, now(), random);
                say_failed(&name, former, &trouble, record.next_attempt);
            }
        }
        write_record(setup, &name, record).await
    }

    /// Trouble that leaves no record, because the folder can't be used.
    fn note_trouble(&mut self, name: &str, trouble: &Trouble) {
        let text = trouble.to_string();
        if self.troubles.get(name).is_none_or(|(before, _)| *before != text) {
            tracing::error!(name, "no certificate can be ordered: {text}");
        }
        self.troubles.insert(name.to_owned(), (text, now()));
    }

    /// Logs once for each name that it has no certificate.
    fn say_what_is_missing(&mut self, looks: &[Look]) {
        let served = self.state.served();
        // from before a reload
        let is_served = |name: &String| {
            served.certificates.iter().any(|facts| facts.by_acme && facts.names.contains(name))
        };
        for Look { name, stored, .. } in looks {
            match stored {
                Stored::Missing if !is_served(name) && self.missed.insert(name.clone()) => tracing::info!(
                    name,
                    "no certificate is stored; until one is issued, clients that ask for this name get the TLS alert \
                     unrecognized_name"
                ),
                Stored::Unreadable(found) => {
                    self.note_trouble(name, &Trouble::new(Kind::Storage, found.as_str()));
                }
                // what was wrong with it is over
                Stored::Good(_) => drop(self.troubles.remove(name)),
                _ => {}
            }
        }
    }

    /// Tells the status page. `ordering` is the name that is ordered now.
    fn publish(&self, dues: &[(&Look, Due)], ordering: Option<&str>) {
        let status = |(look, due): &(&Look, Due)| {
            let record = &look.record;
            let trouble = self.troubles.get(&look.name);
            let state = match due {
                _ if ordering == Some(look.name.as_str()) => NameState::Ordering,
                Due::Certificate(..) if record.is_failing() => NameState::Failed,
                Due::Certificate(..) if trouble.is_some() => NameState::Failed,
                Due::Certificate(..) => NameState::Waiting,
                _ if look.loaded().is_none() => NameState::Failed,
                _ => NameState::Issued,
            };
            let needed = state != NameState::Issued;
            let own = record.error.as_ref().map(|error| (error.clone(), record.error_at.unwrap_or_default()));
            let error = trouble.cloned().or(own).filter(|_| needed);
            NameStatus {
                name: look.name.clone(),
                state,
                error_at: error.as_ref().map(|(_, at)| *at),
                error: error.map(|(text, _)| text),
                next_attempt: match due {
                    Due::Certificate(_, begins) => Some(*begins),
                    _ => None,
                },
                renew_at: look.loaded().map(|loaded| renew_at(loaded, record.renewal.as_ref())),
            }
        };
        self.state.acme.set(dues.iter().map(status).collect());
    }
}

async fn write_record(setup: &Setup, name: &str, record: Record) -> Result<(), Trouble> {
    let name = name.to_owned();
    setup.storage(move |storage, lock| storage.write_record(&name, &record, lock)).await
}

/// Logs why a name has no new certificate, what is served meanwhile, and when it is tried again.
fn say_failed(name: &str, former: Option<&Loaded>, trouble: &Trouble, next_attempt: i64) {
    let next = date(next_attempt);
    match former {
        Some(former) if former.facts.not_after < now() => {
            tracing::error!(
                name,
                next_attempt = next,
                "certificate not renewed, and the served one has expired: {trouble}"
            );
        }
        Some(former) => {
            let until = date(former.facts.not_after);
            tracing::warn!(
                name,
                next_attempt = next,
                "certificate not renewed, the served one is valid until {until}: {trouble}"
            );
        }
        None => tracing::error!(name, next_attempt = next, "no certificate issued: {trouble}"),
    }
}
