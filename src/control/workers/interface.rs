//! The workers as the rest of the control side sees them: what they are started with, and what they can be told.

use crate::control::process::state::ProcessState;
use crate::control::workers::parts::RevisionParts;
use crate::shared::revision::Names;
use std::net::TcpListener;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Everything the workers are started with.
#[derive(Debug)]
pub struct Launch {
    pub shared: Arc<ProcessState>,
    pub parts: RevisionParts,
    /// One for each worker.
    pub specs: Vec<WorkerSpec>,
    /// The runtime of the control thread, where the client of the stream manager may run too.
    pub control: Handle,
}

/// What one worker is started with.
#[derive(Debug)]
pub struct WorkerSpec {
    pub index: usize,
    /// The core to pin it to.
    pub core: Option<usize>,
    /// Bound and non-blocking; at least one for each address. They listen when [`Workers::accept`] is called.
    pub listeners: Vec<TcpListener>,
    /// Listeners to be closed as soon as everybody who waits there is let in.
    pub draining_listeners: Vec<TcpListener>,
}

/// All workers together, as the supervisor sees them.
pub trait Workers {
    /// How many workers could accept connections; the reason if one can't.
    fn listening(&self) -> Result<usize, String>;
    /// Lets every worker begin to accept.
    fn accept(&self);
    /// Asks every worker to accept nobody more: another process does. Sessions go on.
    fn leave(&self) {}
    /// Once every worker has left: how many connections have not finished their first request's head.
    fn pending_handshakes(&self) -> Option<usize> {
        Some(0)
    }
    /// Asks every worker to drain. The phase is `Draining` already.
    fn drain(&self);
    /// What a successor has to know, in lines.
    fn export_state(&self) -> Vec<String> {
        Vec::new()
    }
    /// One such line of a predecessor. Nobody is accepted yet.
    fn import_state(&self, _line: &str) {}
    /// A worker that ended although nobody asked it to.
    fn exited_worker(&self) -> Option<usize> {
        None
    }
    /// The way of a reload to them.
    fn reviser(&self) -> Box<dyn Revise>;
    /// Whether nothing is left to be ended. Asked during a drain, beside the count of open connections.
    fn is_idle(&self) -> bool {
        true
    }
}

/// The way of a reload to the workers. It does not keep them alive.
pub trait Revise: Send {
    /// Hands a newer revision to every worker and waits until they took it over; names those that did not, soon.
    fn revise(&self, parts: RevisionParts) -> Vec<usize>;
    /// Names that clients may use, with their addresses now.
    fn names(&self) -> Arc<Names>;
}
