//! The supervisor: sees the process through its phases. It lets the workers accept connections, waits for an event that ends
//! the process, and lets the workers drain (`drain`).
//!
//! It runs on the main thread, which only ever sleeps in a wait for events.

mod accepting;
mod drain;
pub mod report;
#[cfg(test)]
mod tests;

use crate::control::exit::{self, ExitError, SOFTWARE};
use crate::control::process::reload_report::ReloadRequest;
use crate::control::process::state::{Phase, ProcessState, answer};
use crate::control::signals::ControlEvent;
use crate::control::supervise::accepting::await_accepting;
use crate::control::supervise::drain::{Drain, Drained};
use crate::control::supervise::report::{End, POLL_INTERVAL, STATUS_INTERVAL, status_line};
use crate::control::systemd::{self, Watchdog};
use crate::control::upgrade::handover::Handover;
use crate::control::upgrade::turn::Outcome;
use crate::control::workers::interface::Workers;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

/// Sees the process through its phases up to its end. An error means that the process could not serve, or that a worker ended by
/// itself.
pub fn supervise(
    state: &ProcessState,
    workers: &dyn Workers,
    events: &Receiver<ControlEvent>,
    handover: &mut Handover,
) -> Result<(), ExitError> {
    let mut watchdog = Watchdog::new();
    let mut end = match handover.await_turn(workers, events) {
        Outcome::Begin => serve(state, workers, events, &mut watchdog, handover)?,
        Outcome::Signal => End::Signal,
        Outcome::Orphaned => End::Orphaned,
    };
    loop {
        match (Drain { state, workers, events, watchdog: &mut watchdog }).run(end, handover) {
            Drained::Over => break,
            Drained::Undone => end = await_end(state, workers, events, &mut watchdog, handover),
        }
    }
    state.phase.advance(Phase::Stopped);
    match end {
        End::Signal | End::AdminRequest | End::HandedOver => Ok(()),
        End::Orphaned => Err(ExitError {
            code: exit::OS,
            text: "the predecessor ended before it handed over, so this process ends too".to_owned(),
        }),
        End::WorkerExited(worker) => {
            let text = format!("worker {worker} ended by itself; this is a bug, the log above says where");
            Err(ExitError { code: SOFTWARE, text })
        }
    }
}

/// Begins to serve, and serves up to an end. Fails if the workers can't accept.
fn serve(
    state: &ProcessState,
    workers: &dyn Workers,
    events: &Receiver<ControlEvent>,
    watchdog: &mut Watchdog,
    handover: &mut Handover,
) -> Result<End, ExitError> {
    handover.listen(workers).map_err(|error| ExitError::os(error.to_string()))?;
    await_accepting(workers)?;
    if !handover.await_charge(workers, events) {
        return Ok(End::Signal);
    }
    state.phase.advance(Phase::Serving);
    handover.open_operator_listeners();
    for address in &state.listening {
        tracing::info!("listening on {address}");
    }
    tracing::info!(workers = state.metrics.len(), driver = state.driver(), "serving");
    systemd::ready(&status_line(state));
    handover.store_sockets();
    if handover.take_reload_wanted() {
        state.request_reload(ReloadRequest::by_signal());
    }
    Ok(await_end(state, workers, events, watchdog, handover))
}

/// Handles events while the process serves, until one of them ends that, a successor is in charge, or a worker has ended by
/// itself. In the last case the other workers are drained, and the service manager starts the process anew.
fn await_end(
    state: &ProcessState,
    workers: &dyn Workers,
    events: &Receiver<ControlEvent>,
    watchdog: &mut Watchdog,
    handover: &mut Handover,
) -> End {
    let interval = watchdog.interval().map_or(STATUS_INTERVAL, |interval| interval.min(STATUS_INTERVAL));
    let mut checked = Instant::now();
    loop {
        let wait = if handover.is_under_way() { POLL_INTERVAL } else { interval };
        let is_quiet = match events.recv_timeout(wait) {
            Ok(ControlEvent::End) | Err(RecvTimeoutError::Disconnected) => {
                handover.cancel();
                return End::Signal;
            }
            Ok(ControlEvent::Drain) => {
                handover.cancel();
                return End::AdminRequest;
            }
            Ok(ControlEvent::Reload) => {
                state.request_reload(ReloadRequest::by_signal());
                false
            }
            Ok(ControlEvent::HandOver(reply)) => {
                handover.begin(state, reply);
                false
            }
            Ok(ControlEvent::UndoDrain(reply)) => {
                answer(Some(reply), Err("no drain is under way".to_owned()));
                false
            }
            Err(RecvTimeoutError::Timeout) => true,
        };
        // not while an event waits: one that ends the service ends a successor too
        if is_quiet && handover.advance(workers) && handover.step_down(state) {
            return End::HandedOver;
        }
        if checked.elapsed() < interval {
            continue;
        }
        checked = Instant::now();
        if let Some(worker) = workers.exited_worker() {
            tracing::error!(worker, "worker ended by itself");
            handover.cancel();
            return End::WorkerExited(worker);
        }
        handover.import_late_state(workers);
        systemd::status(&status_line(state));
        watchdog.check(&state.metrics);
    }
}
