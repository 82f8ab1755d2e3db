//! The workers as a crew: builds what they share, starts them, and passes on what the supervisor asks.

use super::{Crew, Launch, manager, names};
use crate::config::Driver;
use crate::worker::answers::Answers;
use crate::worker::gateway::{Gateway, Page};
use crate::worker::{self, Command, Handle, Setup, memory};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

/// All running workers.
struct Workers {
    all: Vec<Handle>,
    gateway: Arc<Gateway>,
}

impl Workers {
    fn tell(&self, command: Command) {
        self.all.iter().for_each(|worker| worker.tell(command));
    }
}

impl Crew for Workers {
    fn listening(&self) -> Result<usize, String> {
        // `worker::start` came back only when the worker ran
        Ok(self.all.len())
    }

    fn accept(&self) {
        self.tell(Command::Accept);
    }

    fn leave(&self) {
        self.tell(Command::Leave);
    }

    fn newcomers(&self) -> Option<usize> {
        let accepting = self.all.iter().any(Handle::is_accepting);
        (!accepting).then(|| self.gateway.ceiling.newcomers())
    }

    fn memory(&self) -> Vec<String> {
        memory::tell(&self.gateway)
    }

    fn recall(&self, line: &str) {
        memory::recall(&self.gateway, line);
    }

    fn fallen(&self) -> Option<usize> {
        self.all.iter().position(Handle::is_finished)
    }

    fn drain(&self) {
        self.tell(Command::Drain);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        for worker in self.all.drain(..) {
            let _ = worker.join();
        }
    }
}

/// Starts every worker. `pages` are served beside the gateway's own routes: for programs that embed it.
pub fn launch(launch: Launch, pages: Vec<Page>) -> Result<Box<dyn Crew>, String> {
    let Launch { shared, tls, seats, control } = launch;
    let config = shared.config.clone();
    let (answers, questions) = Answers::new(&config.answers, config.origins.quarantine);
    let own = names::own_addresses(&config);
    let gateway = Arc::new(Gateway::new(config.clone(), tls, answers, shared.metrics.clone(), own, pages));
    let counted = gateway.clone();
    // the first and only launch of this process sets it
    let _ = shared.stored_answers.set(Box::new(move || counted.answers.counts().0));
    names::resolve_now(&gateway);
    control.spawn(names::keep_fresh(gateway.clone()));
    control.spawn(manager::serve(gateway.clone(), extra_roots(&config)?, questions));
    let mut workers = Workers { all: Vec::with_capacity(seats.len()), gateway: gateway.clone() };
    for seat in seats {
        let setup = Setup {
            index: seat.index,
            core: seat.core,
            driver: config.gateway.driver,
            listeners: seat.listeners,
            leftovers: seat.leftovers,
            gateway: gateway.clone(),
        };
        let index = setup.index;
        let worker = worker::start(setup).map_err(|e| format!("worker {index} can't start: {e}"))?;
        workers.all.push(worker);
    }
    if let Some(worker) = workers.all.first() {
        let choice = &worker.driver;
        let _ = shared.driver_name.set(choice.name);
        match &choice.reason {
            Some(reason) if config.gateway.driver == Driver::Auto => {
                tracing::warn!(driver = choice.name, reason, "the workers do without io_uring");
            }
            _ => tracing::info!(driver = choice.name, "the workers wait on this driver"),
        }
    }
    Ok(Box::new(workers))
}

/// The certificates of the configured CA bundle; `check` and the start have read it once already.
fn extra_roots(config: &crate::config::Config) -> Result<Vec<CertificateDer<'static>>, String> {
    match &config.stream_manager.ca {
        None => Ok(Vec::new()),
        Some(path) => {
            super::certs::read_chain(path).map_err(|e| format!("the CA bundle {}: {e}", path.display()))
        }
    }
}
