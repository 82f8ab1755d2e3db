//! Starts the workers with what they share, and passes on to them what the supervisor and the reloader want.

use crate::config::Driver;
use crate::control::process::state::{GatewayCounts, ProcessState};
use crate::control::process::worker_query::WorkerQueries;
use crate::control::start::listeners::PerWorker;
use crate::control::stream_manager::client::ManagerClient;
use crate::control::stream_manager::dns;
use crate::control::stream_manager::flights::{self, Flights};
use crate::control::stream_manager::health::Managers;
use crate::control::workers::interface::{Revise, Workers};
use crate::control::workers::parts::RevisionParts;
use crate::shared::gateway::{Fallback, Gateway};
use crate::shared::revision::Revision;
use crate::shared::transfer;
use crate::worker::{self, Command, DriverChoice, Handle, Mailbox, ReopenedListener, WorkerSpec};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tokio::runtime;

/// How long the workers may take to take over a revision before a log line names those that did not. It takes microseconds.
const REVISE_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything the workers are started with.
#[derive(Debug)]
pub struct Launch {
    pub state: Arc<ProcessState>,
    /// The first revision.
    pub parts: RevisionParts,
    /// One for each worker.
    pub specs: Vec<WorkerSpec>,
    /// The runtime of the control thread, which asks the stream manager and resolves names.
    pub control: runtime::Handle,
}

/// The start records of the workers, one for each core. `per_worker` are the listeners of each worker.
pub fn specs(
    driver: Driver,
    cores: Vec<Option<usize>>,
    per_worker: PerWorker,
    mut draining_listeners: Vec<TcpListener>,
) -> Vec<WorkerSpec> {
    let spec = |(index, (core, listeners))| {
        // all of them go to worker 0: queues that only have to be emptied are too little work to share
        let draining_listeners = std::mem::take(&mut draining_listeners);
        WorkerSpec { index, core, driver, listeners, draining_listeners }
    };
    cores.into_iter().zip(per_worker).enumerate().map(spec).collect()
}

/// Starts every worker and waits until each could accept connections; they do so after [`Workers::accept`]. `fallback`
/// answers requests without a route of the gateway, for programs that embed it. The error names the worker that can't start, and why.
pub fn launch(launch: Launch, fallback: Option<Fallback>) -> Result<Box<dyn Workers>, String> {
    let Launch { state, parts, specs, control } = launch;
    let revision = Arc::new(parts.into_revision());
    let config = &revision.config;
    let (gateway, questions) = Gateway::new(revision.clone(), state.metrics.clone(), fallback);
    let gateway = Arc::new(gateway);
    let managers = Arc::clone(&state.managers);
    let client = ManagerClient::new(gateway.clone(), revision.clone(), &managers);
    let manager = Arc::new(Flights::new(gateway.clone(), client));
    control.spawn(dns::re_resolve(gateway.clone()));
    control.spawn(flights::serve(manager.clone(), questions));
    control.spawn(flights::watch(manager.clone()));
    let handles = Vec::with_capacity(specs.len());
    let mut workers = RunningWorkers { handles, gateway, manager, managers };
    for spec in specs {
        let index = spec.index;
        let worker = worker::start(spec, workers.gateway.clone());
        workers.handles.push(worker.map_err(|error| format!("worker {index} can't start: {error}"))?);
    }
    workers.publish(&state);
    if let Some(worker) = workers.handles.first() {
        log_driver(&worker.driver, config.gateway.driver);
    }
    Ok(Box::new(workers))
}

fn log_driver(DriverChoice { name, reason }: &DriverChoice, configured: Driver) {
    match reason {
        Some(reason) if configured == Driver::Auto => {
            tracing::warn!(driver = name, reason, "io_uring is not available, the workers use epoll");
        }
        _ => tracing::info!(driver = name, "the workers wait on this driver"),
    }
}

/// All running workers.
struct RunningWorkers {
    handles: Vec<Handle>,
    gateway: Arc<Gateway>,
    manager: Arc<Flights>,
    managers: Arc<Managers>,
}

impl RunningWorkers {
    fn send_all(&self, command: impl Fn() -> Command) {
        self.handles.iter().for_each(|worker| worker.send(command()));
    }

    fn mailboxes(&self) -> Vec<Mailbox> {
        self.handles.iter().map(Handle::mailbox).collect()
    }

    /// Lets the admin listener read from them. A process launches its workers once, so nothing is set twice.
    fn publish(&self, state: &ProcessState) {
        let gateway = self.gateway.clone();
        let _ = state.stored_answers.set(Box::new(move || gateway.answers.count()));
        let gateway = self.gateway.clone();
        let counts = move || GatewayCounts {
            nodes: gateway.node_metrics.rows(&gateway.nodes.quarantined(), Instant::now()),
            sessions: gateway.limiter.sessions(),
            handshakes: gateway.limiter.pending_handshakes(),
        };
        let _ = state.gateway_counts.set(Box::new(counts));
        let _ = state.worker_queries.set(WorkerQueries::new(self.mailboxes(), self.gateway.clone()));
        if let Some(worker) = self.handles.first() {
            let _ = state.driver_name.set(worker.driver.name);
            worker.driver.reason.iter().for_each(|reason| drop(state.driver_reason.set(reason.clone())));
        }
    }
}

impl Workers for RunningWorkers {
    fn accept(&self) {
        self.send_all(|| Command::Accept);
    }

    fn are_accepting(&self) -> bool {
        self.handles.iter().all(Handle::is_accepting)
    }

    fn leave(&self) {
        self.send_all(|| Command::Leave);
    }

    fn pending_handshakes(&self) -> Option<usize> {
        let accepting = self.handles.iter().any(Handle::is_accepting);
        (!accepting).then(|| self.gateway.limiter.pending_handshakes())
    }

    fn drain(&self, window: Duration, may_undo: bool) {
        self.send_all(|| Command::Drain { window, may_undo });
    }

    fn reopen(&self, listeners: Vec<Vec<ReopenedListener>>) {
        for (worker, listeners) in self.handles.iter().zip(listeners) {
            worker.send(Command::Reopen(listeners));
        }
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

    fn reviser(&self) -> Box<dyn Revise> {
        let (mailboxes, gateway, manager) = (self.mailboxes(), self.gateway.clone(), self.manager.clone());
        Box::new(Reviser { mailboxes, gateway, manager, managers: Arc::clone(&self.managers) })
    }
}

impl Drop for RunningWorkers {
    fn drop(&mut self) {
        self.send_all(|| Command::Stop);
        for worker in self.handles.drain(..) {
            let _ = worker.join();
        }
    }
}

/// Hands newer revisions to the workers and to the client of the stream manager.
struct Reviser {
    mailboxes: Vec<Mailbox>,
    gateway: Arc<Gateway>,
    manager: Arc<Flights>,
    managers: Arc<Managers>,
}

impl Revise for Reviser {
    fn newest(&self) -> Arc<Revision> {
        self.gateway.newest()
    }

    fn revise(&self, parts: RevisionParts) -> Vec<usize> {
        let revision = parts.into_revision();
        // until `dns::re_resolve` looks again: one denied address too many is better than one too few
        revision.extra_denied.store(self.gateway.newest().extra_denied.load_full());
        let revision = Arc::new(revision);
        self.gateway.revise(&revision);
        self.manager.revise(ManagerClient::new(self.gateway.clone(), revision.clone(), &self.managers));
        let (taken_over, indexes) = channel();
        for mailbox in &self.mailboxes {
            mailbox.send(Command::Revise(revision.clone(), taken_over.clone()));
        }
        drop(taken_over);
        let deadline = Instant::now() + REVISE_TIMEOUT;
        let mut missing: Vec<usize> = (0..self.mailboxes.len()).collect();
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            // it fails at the deadline, and when all others ended: a worker that ends drops its sender
            let Ok(index) = indexes.recv_timeout(left) else { break };
            missing.retain(|worker| *worker != index);
        }
        missing
    }
}
