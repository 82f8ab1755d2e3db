//! The supervisor: sees the process through its phases. It lets the workers accept connections, waits for an event that ends
//! the process, and lets the workers drain.
//!
//! It runs on the main thread, which only ever sleeps in a wait for events.

use crate::control::exit::{ExitError, SOFTWARE};
use crate::control::process::reload_report::ReloadRequest;
use crate::control::process::state::{Phase, ProcessState};
use crate::control::signals::ControlEvent;
use crate::control::systemd::{self, Watchdog};
use crate::control::upgrade::handover::Handover;
use crate::control::workers::interface::Workers;
use crate::proto::websocket::relay::{By, How};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often workers are checked and the status line is sent to systemd. systemd's watchdog may ask for more often.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// How often a condition is checked while it is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Sees the process through its phases up to its end. An error means that the process could not serve, or that a worker ended by
/// itself.
pub fn supervise(
    state: &ProcessState,
    workers: &dyn Workers,
    events: &Receiver<ControlEvent>,
    handover: &mut Handover,
) -> Result<(), ExitError> {
    let mut watchdog = Watchdog::new();
    let mut end = End::Signal;
    if handover.await_turn(workers, events) {
        begin_to_serve(state, workers, handover)?;
        end = await_end(state, workers, events, &mut watchdog, handover);
    }
    let deadline = Instant::now() + state.served().config.gateway.drain;
    handover.leave_queues(state, workers, events);
    if !handover.is_stop_requested() {
        let signalled = matches!(end, End::Signal | End::HandedOver);
        drain(state, workers, events, &mut watchdog, signalled);
        handover.await_older_processes(events, deadline);
    }
    state.phase.advance(Phase::Stopped);
    match end {
        End::Signal | End::AdminRequest | End::HandedOver => Ok(()),
        End::WorkerExited(worker) => {
            let text = format!("worker {worker} ended by itself; this is a bug, the log above says where");
            Err(ExitError { code: SOFTWARE, text })
        }
    }
}

/// Why the process stops serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// SIGTERM or SIGINT.
    Signal,
    /// `POST /api/drain`.
    AdminRequest,
    /// A successor serves now.
    HandedOver,
    /// The worker with this index ended by itself.
    WorkerExited(usize),
}

fn begin_to_serve(
    state: &ProcessState,
    workers: &dyn Workers,
    handover: &mut Handover,
) -> Result<(), ExitError> {
    handover.listen(workers).map_err(|error| ExitError::os(error.to_string()))?;
    state.phase.advance(Phase::Serving);
    handover.open_admin();
    for address in &state.listening {
        tracing::info!("listening on {address}");
    }
    tracing::info!(workers = state.metrics.len(), driver = state.driver(), "serving");
    systemd::ready(&status_line(state));
    handover.store_sockets();
    Ok(())
}

/// Handles events while the process serves, until one of them ends that, a successor is ready, or a worker has ended by itself.
/// In the last case the other workers are drained, and the service manager starts the process anew.
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
        match events.recv_timeout(wait) {
            Ok(ControlEvent::End) | Err(RecvTimeoutError::Disconnected) => {
                handover.cancel();
                return End::Signal;
            }
            Ok(ControlEvent::Drain) => {
                handover.cancel();
                return End::AdminRequest;
            }
            Ok(ControlEvent::Reload) => state.request_reload(ReloadRequest::by_signal()),
            Ok(ControlEvent::HandOver) => handover.begin(),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if handover.is_ready() && handover.step_down(state, workers, events) {
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
        systemd::status(&status_line(state));
        watchdog.check(&state.metrics);
    }
}

/// Lets the workers drain and waits until no connection is open, `gateway.drain` is over, or a second signal comes. `signalled`
/// says whether the drain began with a signal. Otherwise the first signal is not yet the second: service managers send
/// theirs even if the drain was requested at the admin listener before.
fn drain(
    state: &ProcessState,
    workers: &dyn Workers,
    events: &Receiver<ControlEvent>,
    watchdog: &mut Watchdog,
    mut signalled: bool,
) {
    let window = state.served().config.gateway.drain;
    state.phase.advance(Phase::Draining);
    systemd::stopping(&status_line(state), window);
    workers.drain();
    tracing::info!(sessions = state.sessions(), "draining for at most {window:?}");
    let deadline = Instant::now() + window;
    let (mut checked, mut status_sent) = (Instant::now(), Instant::now());
    while state.connections() > 0 {
        if events.recv_timeout(POLL_INTERVAL) == Ok(ControlEvent::End)
            && std::mem::replace(&mut signalled, true)
        {
            tracing::warn!(connections = state.connections(), "second signal, cutting open connections");
            return;
        }
        if Instant::now() >= deadline {
            tracing::warn!(connections = state.connections(), "the drain is over, cutting open connections");
            return;
        }
        if watchdog.interval().is_some_and(|interval| checked.elapsed() >= interval) {
            watchdog.check(&state.metrics);
            checked = Instant::now();
        }
        if status_sent.elapsed() >= STATUS_INTERVAL {
            systemd::status(&status_line(state));
            status_sent = Instant::now();
        }
    }
    tracing::info!("drained");
}

/// Logs how many sessions the drain closed (`told`) and how many were cut, once the workers have ended.
pub fn log_summary(state: &ProcessState) {
    let ends = |how: How| -> u64 {
        state.metrics.iter().map(|worker| worker.ends[By::Gateway as usize][how as usize].get()).sum()
    };
    tracing::info!(told = ends(How::Drain), cut = ends(How::Cut), "ended");
}

/// The line for `systemctl status`.
fn status_line(state: &ProcessState) -> String {
    let (phase, sessions) = (state.phase.get().word(), state.sessions());
    let refused = state.last_reload.load().as_ref().is_some_and(|last| last.outcome.is_err());
    let note = if refused { "; the last reload was refused, the log says why" } else { "" };
    format!("{phase}: {sessions} sessions on {} workers ({}){note}", state.metrics.len(), state.driver())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::workers::interface::Revise;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Sender, channel};
    use std::thread;

    const CONFIG: &str = "gateway.drain = \"20s\"\nstream_manager.url = \"http://10.0.0.2\"\n\
                          tls.certificates = [{ chain = \"c\", key = \"k\" }]\n";

    /// Workers of a test: they record that they were drained, and one ends by itself when the test says so.
    #[derive(Clone, Default)]
    struct FakeWorkers {
        drained: Arc<AtomicBool>,
        exited: Arc<AtomicBool>,
    }

    impl Workers for FakeWorkers {
        fn accept(&self) {}
        fn drain(&self) {
            self.drained.store(true, Ordering::SeqCst);
        }
        fn reviser(&self) -> Box<dyn Revise> {
            unreachable!("the supervisor revises nothing")
        }
        fn exited_worker(&self) -> Option<usize> {
            self.exited.load(Ordering::SeqCst).then_some(1)
        }
    }

    struct Scene {
        state: Arc<ProcessState>,
        events: Sender<ControlEvent>,
        workers: FakeWorkers,
        supervisor: thread::JoinHandle<Result<(), ExitError>>,
    }

    impl Scene {
        fn begin() -> Self {
            let config = crate::config::read(CONFIG).expect("a good configuration");
            let state = Arc::new(ProcessState::new(config, 2, Vec::new(), Vec::new()));
            let (events, receiver) = channel();
            let workers = FakeWorkers::default();
            let (inside, fakes) = (Arc::clone(&state), workers.clone());
            let supervisor =
                thread::spawn(move || supervise(&inside, &fakes, &receiver, &mut Handover::default()));
            Self { state, events, workers, supervisor }
        }

        fn send(&self, event: ControlEvent) {
            self.events.send(event).expect("the supervisor listens");
        }

        fn end(self) -> Result<(), ExitError> {
            self.supervisor.join().expect("no panic")
        }
    }

    fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn a_drain_waits_until_the_last_connection_is_gone() {
        let scene = Scene::begin();
        let state = Arc::clone(&scene.state);
        state.metrics[1].connections.add(1);
        wait_for("serving", || state.phase.get() == Phase::Serving);
        scene.send(ControlEvent::Reload);
        scene.send(ControlEvent::End);
        wait_for("the drain of the workers", || scene.workers.drained.load(Ordering::SeqCst));
        assert_eq!(state.phase.get(), Phase::Draining);
        state.metrics[1].connections.add(-1);
        assert!(scene.end().is_ok());
        assert_eq!(state.phase.get(), Phase::Stopped);
    }

    #[test]
    fn a_worker_that_ends_by_itself_ends_the_process_after_a_drain() {
        let scene = Scene::begin();
        wait_for("serving", || scene.state.phase.get() == Phase::Serving);
        let workers = scene.workers.clone();
        workers.exited.store(true, Ordering::SeqCst);
        let error = scene.end().expect_err("a worker ended");
        assert!(workers.drained.load(Ordering::SeqCst), "the others are drained");
        assert_eq!(error.code, SOFTWARE);
    }

    #[test]
    fn a_second_signal_ends_the_process_at_once() {
        let scene = Scene::begin();
        scene.state.metrics[0].connections.add(1);
        let began = Instant::now();
        scene.send(ControlEvent::End);
        scene.send(ControlEvent::End);
        assert!(scene.end().is_ok());
        assert!(began.elapsed() < Duration::from_secs(15), "it waited for the drain");
    }

    #[test]
    fn the_first_signal_does_not_cut_a_drain_that_was_requested_at_the_admin_listener() {
        let scene = Scene::begin();
        scene.state.metrics[0].connections.add(1);
        for event in [ControlEvent::Drain, ControlEvent::Drain, ControlEvent::End] {
            scene.send(event);
        }
        wait_for("the drain of the workers", || scene.workers.drained.load(Ordering::SeqCst));
        thread::sleep(10 * POLL_INTERVAL);
        assert!(!scene.supervisor.is_finished(), "it did not wait for the drain");
        scene.send(ControlEvent::End);
        assert!(scene.end().is_ok());
    }
}
