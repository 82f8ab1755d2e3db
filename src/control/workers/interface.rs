//! The workers as the supervisor and the reloader see them. Tests of the supervisor bring workers of their own.

use crate::control::workers::parts::RevisionParts;
use crate::shared::revision::Revision;
use crate::worker::ReopenedListener;
use std::sync::Arc;
use std::time::Duration;

/// All workers together, as the supervisor sees them. When it is dropped the workers cut what is left and end.
pub trait Workers {
    /// Lets every worker begin to accept connections.
    fn accept(&self);
    /// Whether every worker accepts connections.
    fn are_accepting(&self) -> bool {
        true
    }
    /// Lets every worker stop accepting connections, because another process accepts them. Sessions go on.
    fn leave(&self) {}
    /// After [`Workers::leave`]: how many connections have not finished the head of their first request. `None` while a
    /// worker still accepts.
    fn pending_handshakes(&self) -> Option<usize> {
        Some(0)
    }
    /// Lets every worker drain within `window`. The phase is `Draining` already. `may_undo` is whether [`Workers::reopen`] may
    /// follow.
    fn drain(&self, window: Duration, may_undo: bool);
    /// Takes back a drain: every worker accepts from its listeners again, and tells no more sessions to end. The outer index is
    /// the worker.
    fn reopen(&self, _listeners: Vec<Vec<ReopenedListener>>) {}
    /// The state that a successor needs, one line per entry.
    fn export_state(&self) -> Vec<String> {
        Vec::new()
    }
    /// Takes over one such line of a predecessor. It is called before the workers accept connections.
    fn import_state(&self, _line: &str) {}
    /// The index of a worker that ended although it was not stopped.
    fn exited_worker(&self) -> Option<usize> {
        None
    }
    /// The access of the reloader to them.
    fn reviser(&self) -> Box<dyn Revise>;
}

/// The access of the reloader to the workers. It does not keep them alive.
pub trait Revise: Send {
    /// Hands a newer revision to every worker and waits until they took it over, for 5 s at most. Returns the indexes of
    /// the workers that did not in this time.
    fn revise(&self, parts: RevisionParts) -> Vec<usize>;
    /// The revision that was handed to the workers last.
    fn newest(&self) -> Arc<Revision>;
}
