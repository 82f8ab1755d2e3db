//! The workers as a crew: builds what they share, starts them, and passes on what the supervisor asks and what a reload
//! brings.

use crate::config::Driver;
use crate::control::process::worker_query::WorkerQueries;
use crate::control::stream_manager::client::Asker;
use crate::control::stream_manager::dns;
use crate::control::stream_manager::flights;
use crate::control::stream_manager::flights::Manager;
use crate::control::workers::interface::{Launch, Revise, Workers};
use crate::control::workers::parts::RevisionParts;
use crate::shared::gateway::{Fallback, Gateway};
use crate::shared::revision::Names;
use crate::shared::transfer;
use crate::worker;
use crate::worker::{Command, Handle, Mailbox, Setup};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long a worker may take to take over a revision before somebody hears of it. It takes microseconds.
const TAKE_OVER: Duration = Duration::from_secs(5);

/// All running workers.
struct RunningWorkers {
    handles: Vec<Handle>,
    gateway: Arc<Gateway>,
    manager: Arc<Manager>,
}

impl RunningWorkers {
    fn tell(&self, command: impl Fn() -> Command) {
        self.handles.iter().for_each(|worker| worker.send(command()));
    }
}

impl Workers for RunningWorkers {
    fn listening(&self) -> Result<usize, String> {
        // `worker::start` came back only when the worker ran
        Ok(self.handles.len())
    }

    fn accept(&self) {
        self.tell(|| Command::Accept);
    }

    fn leave(&self) {
        self.tell(|| Command::Leave);
    }

    fn pending_handshakes(&self) -> Option<usize> {
        let accepting = self.handles.iter().any(Handle::is_accepting);
        (!accepting).then(|| self.gateway.limiter.pending_handshakes())
    }

    fn export_state(&self) -> Vec<String> {
        transfer::export(&self.gateway)
    }

    fn import_state(&self, line: &str) {
        transfer::import(&self.gateway, line);
    }

    fn exited_worker(&self) -> Option<usize> {
        self.handles.iter().position(Handle::is_finished)
    }

    fn drain(&self) {
        self.tell(|| Command::Drain);
    }

    fn reviser(&self) -> Box<dyn Revise> {
        Box::new(Reviser {
            mailboxes: self.handles.iter().map(Handle::mailbox).collect(),
            gateway: self.gateway.clone(),
            manager: self.manager.clone(),
        })
    }
}

impl Drop for RunningWorkers {
    fn drop(&mut self) {
        self.tell(|| Command::Stop);
        for worker in self.handles.drain(..) {
            let _ = worker.join();
        }
    }
}

/// The way of a reload to the workers.
struct Reviser {
    mailboxes: Vec<Mailbox>,
    gateway: Arc<Gateway>,
    manager: Arc<Manager>,
}

impl Revise for Reviser {
    fn names(&self) -> Arc<Names> {
        self.gateway.newest().names.load_full()
    }

    fn revise(&self, parts: RevisionParts) -> Vec<usize> {
        let (revision, roots) = parts.into_revision();
        // until it is looked anew: one address that is refused too many is better than one too few
        revision.extra_denied.store(self.gateway.newest().extra_denied.load_full());
        let revision = Arc::new(revision);
        let asker = Asker::new(self.gateway.clone(), revision.clone(), roots);
        self.gateway.revise(&revision);
        self.manager.revise(asker);
        let (taken, takes) = channel();
        for mailbox in &self.mailboxes {
            mailbox.send(Command::Revise(revision.clone(), taken.clone()));
        }
        drop(taken);
        let deadline = Instant::now() + TAKE_OVER;
        let mut waiting: Vec<usize> = (0..self.mailboxes.len()).collect();
        while !waiting.is_empty() {
            // a worker that ended dropped its sender
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(index) = takes.recv_timeout(left) else { break };
            waiting.retain(|worker| *worker != index);
        }
        waiting
    }
}

/// Starts every worker. `fallback` answers what matches no route of the gateway, for programs that embed it.
pub fn launch(launch: Launch, fallback: Option<Fallback>) -> Result<Box<dyn Workers>, String> {
    let Launch { shared, parts, specs, control } = launch;
    let config = parts.config.clone();
    let (revision, roots) = parts.into_revision();
    let revision = Arc::new(revision);
    let (gateway, questions) = Gateway::new(revision.clone(), shared.metrics.clone(), fallback);
    let gateway = Arc::new(gateway);
    let counted = gateway.clone();
    // the first and only launch of this process sets it
    let _ = shared.stored_answers.set(Box::new(move || counted.answers.count()));
    let manager = Arc::new(Manager::new(gateway.clone(), Asker::new(gateway.clone(), revision, roots)));
    control.spawn(dns::keep_fresh(gateway.clone()));
    control.spawn(flights::serve(manager.clone(), questions));
    let mut workers =
        RunningWorkers { handles: Vec::with_capacity(specs.len()), gateway: gateway.clone(), manager };
    for spec in specs {
        let setup = Setup {
            index: spec.index,
            core: spec.core,
            driver: config.gateway.driver,
            listeners: spec.listeners,
            draining_listeners: spec.draining_listeners,
            gateway: gateway.clone(),
        };
        let index = setup.index;
        let worker = worker::start(setup).map_err(|e| format!("worker {index} can't start: {e}"))?;
        workers.handles.push(worker);
    }
    if let Some(worker) = workers.handles.first() {
        let choice = &worker.driver;
        let _ = shared.driver_name.set(choice.name);
        match &choice.reason {
            Some(reason) if config.gateway.driver == Driver::Auto => {
                tracing::warn!(driver = choice.name, reason, "the workers do without io_uring");
            }
            _ => tracing::info!(driver = choice.name, "the workers wait on this driver"),
        }
    }
    let mailboxes = workers.handles.iter().map(Handle::mailbox).collect();
    let _ = shared.worker_queries.set(WorkerQueries::new(mailboxes, gateway));
    Ok(Box::new(workers))
}
