//! The turn of a new process: from its start until it is in charge of the service, or has to end.
//!
//! The predecessor serves until then. A process that is not in charge and loses its predecessor ends, unless the predecessor told
//! it to serve already: then no other process is left to serve.

use crate::control::exit;
use crate::control::signals::ControlEvent;
use crate::control::start::control_pipe::{self, DrainingPredecessor, Message};
use crate::control::start::inherited::Predecessor;
use crate::control::start::note::Format;
use crate::control::systemd;
use crate::control::workers::interface::Workers;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

/// How often the control pipe is read while the predecessor is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What a predecessor says when a process may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The process goes on.
    Begin,
    /// A signal ends it.
    Signal,
    /// Its predecessor ended without handing over, so it ends too.
    Orphaned,
}

/// This process and the predecessor that it waits for, if there is one.
#[derive(Debug, Default)]
pub struct Turn {
    predecessor: Option<Predecessor>,
    /// Set by the first of two: this process, when it begins to wait for `go`; the thread that watches the predecessor, when it
    /// ends this process.
    decided: Arc<AtomicBool>,
    /// A reload was requested before this process was in charge.
    reload_wanted: bool,
}

impl Turn {
    /// The turn after this predecessor. Until it comes this process sends nothing to systemd.
    pub fn after(predecessor: Option<Predecessor>) -> Self {
        if predecessor.is_some() {
            systemd::await_turn();
        }
        Self { predecessor, ..Self::default() }
    }

    /// Whether a predecessor is still in charge.
    pub fn is_awaited(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Ends this process when the predecessor ends before this process is ready. A start can take long, for example when names
    /// do not resolve, and nothing else looks at the control pipe meanwhile. Fails if no thread can be started.
    pub fn watch(&self) -> io::Result<()> {
        let Some(predecessor) = &self.predecessor else { return Ok(()) };
        let (pid, pipe, decided) = (predecessor.pid, predecessor.pipe.copy()?, Arc::clone(&self.decided));
        let watch = move || {
            control_pipe::wait_for_close(&pipe);
            if !decided.swap(true, Ordering::SeqCst) {
                eprintln!(
                    "tidegate: the predecessor ({pid}) ended before it handed over, so this process ends too"
                );
                std::process::exit(exit::OS.into());
            }
        };
        thread::Builder::new().name("tidegate-turn".to_owned()).spawn(watch).map(drop)
    }

    /// Tells the predecessor why this process can't take over.
    pub fn report_failure(&mut self, why: &str) {
        if let Some(mut predecessor) = self.predecessor.take() {
            // if the predecessor is gone, the text is in the log only
            let _ = predecessor.pipe.send(&format!("failed {why}"));
        }
    }

    /// Tells the predecessor that this process could serve, takes over the state that it exports, and waits until it says `go`.
    pub fn await_go(&mut self, workers: &dyn Workers, events: &Receiver<ControlEvent>) -> Outcome {
        if self.decided.swap(true, Ordering::SeqCst) {
            // the other thread ends the process just now
            return Outcome::Orphaned;
        }
        let Some(predecessor) = &mut self.predecessor else { return Outcome::Begin };
        // an error shows as the end of the pipe below
        let _ = predecessor.pipe.send(&format!("ready {}", std::process::id()));
        let outcome = self.await_word("go", workers, events);
        if outcome == Outcome::Orphaned {
            tracing::error!("predecessor ended before it handed over, so this process ends too");
        }
        outcome
    }

    /// Acknowledges that this process serves, and waits until the predecessor puts it in charge. If the predecessor ended
    /// instead, this process is in charge: no other one is left. Returns false if a signal came before.
    pub fn await_charge(&mut self, workers: &dyn Workers, events: &Receiver<ControlEvent>) -> bool {
        match &mut self.predecessor {
            Some(Predecessor { format: Format::WithAck, pipe, .. }) => {
                // an error shows as the end of the pipe below
                let _ = pipe.send("serving");
            }
            // its `go` was its last word
            _ => return true,
        }
        match self.await_word("main", workers, events) {
            Outcome::Signal => return false,
            Outcome::Orphaned => {
                tracing::warn!("predecessor ended during the hand-over, this process serves")
            }
            Outcome::Begin => {}
        }
        true
    }

    /// Waits for this word of the predecessor. Other lines are state of the predecessor. Signals are not lost: a reload is done
    /// when this process is in charge.
    fn await_word(&mut self, word: &str, workers: &dyn Workers, events: &Receiver<ControlEvent>) -> Outcome {
        let Some(predecessor) = &mut self.predecessor else { return Outcome::Begin };
        loop {
            match predecessor.pipe.receive() {
                Message::Line(line) if line == word => return Outcome::Begin,
                Message::Line(line) if line == "reload" => self.reload_wanted = true,
                Message::Line(line) => workers.import_state(&line),
                Message::End => return Outcome::Orphaned,
                Message::NothingYet => match events.recv_timeout(POLL_INTERVAL) {
                    Ok(ControlEvent::End) => {
                        let _ = predecessor.pipe.send("failed a signal ended it");
                        tracing::warn!("a signal ends this process before it is in charge");
                        return Outcome::Signal;
                    }
                    Ok(ControlEvent::Reload) => {
                        tracing::info!("reload requested, it is done once this process is in charge");
                        self.reload_wanted = true;
                    }
                    Ok(ControlEvent::HandOver(_)) => {
                        tracing::warn!("hand-over refused: this process is not in charge yet");
                    }
                    // its listeners for operators do not answer yet
                    Ok(ControlEvent::Drain | ControlEvent::UndoDrain(_)) | Err(_) => {}
                },
            }
        }
    }

    /// Ends the wait: this process is in charge. Returns the predecessor, which drains now.
    pub fn take_charge(&mut self) -> Option<DrainingPredecessor> {
        let Predecessor { pid, pipe, .. } = self.predecessor.take()?;
        systemd::take_over();
        tracing::info!(pid, "took over the listeners from the predecessor");
        Some(DrainingPredecessor { pid, pipe })
    }

    /// Whether a reload was requested meanwhile; asked once.
    pub fn take_reload_wanted(&mut self) -> bool {
        std::mem::take(&mut self.reload_wanted)
    }
}
