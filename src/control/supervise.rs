//! The supervisor: waits for the workers, then for somebody to ask for the end, then for the drain to do its work.
//!
//! It runs on the main thread and only ever sleeps in a wait for signals.

use crate::control::exit::{ExitError, SOFTWARE};
use crate::control::process::reload_report::ReloadRequest;
use crate::control::process::state::{Phase, ProcessState};
use crate::control::signals::ControlEvent;
use crate::control::systemd;
use crate::control::systemd::Watchdog;
use crate::control::upgrade::handover::Handover;
use crate::control::workers::interface::Workers;
use crate::proto::websocket::relay::{By, How};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long workers may take to listen.
const START: Duration = Duration::from_secs(30);
/// How often the workers are looked at and the status line is told, at most.
const TICK: Duration = Duration::from_secs(2);
/// How often somebody looks while something is awaited.
const LOOK: Duration = Duration::from_millis(10);

/// Sees the process through its phases, up to a clean end.
pub fn supervise(
    shared: &ProcessState,
    workers: &dyn Workers,
    asks: &Receiver<ControlEvent>,
    handover: &mut Handover,
) -> Result<(), ExitError> {
    let mut watchdog = Watchdog::new();
    let mut end = End::Signal;
    if await_workers(shared, workers, asks)? && handover.await_turn(workers, asks) {
        handover.open(workers).map_err(|refused| ExitError::os(refused.to_string()))?;
        shared.phase.advance(Phase::Serving);
        handover.show_admin();
        for address in &shared.listening {
            tracing::info!("listening on {address}");
        }
        tracing::info!(workers = shared.metrics.len(), driver = shared.driver(), "serving");
        systemd::ready(&status_line(shared));
        handover.store();
        end = await_end(shared, workers, asks, &mut watchdog, handover);
    }
    let deadline = Instant::now() + shared.current().config.gateway.drain;
    handover.leave_queues(shared, workers, asks);
    if !handover.is_stop_requested() {
        drain(shared, workers, asks, &mut watchdog, matches!(end, End::Signal | End::Succeeded));
        handover.await_past(asks, deadline);
    }
    shared.phase.advance(Phase::Stopped);
    match end {
        End::Signal | End::Asked | End::Succeeded => Ok(()),
        End::Fallen(worker) => {
            let text = format!("worker {worker} ended by itself; this is a bug, the log above says where");
            Err(ExitError { code: SOFTWARE, text })
        }
    }
}

/// Why a drain begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Signal,
    /// At the admin listener.
    Asked,
    /// Another process serves now.
    Succeeded,
    /// A worker ended by itself.
    Fallen(usize),
}

/// Waits until every worker listens; false when the end was asked for before.
fn await_workers(
    shared: &ProcessState,
    workers: &dyn Workers,
    asks: &Receiver<ControlEvent>,
) -> Result<bool, ExitError> {
    let deadline = Instant::now() + START;
    while workers.listening().map_err(ExitError::os)? < shared.metrics.len() {
        if matches!(asks.recv_timeout(LOOK), Ok(ControlEvent::End | ControlEvent::Drain)) {
            return Ok(false);
        }
        if Instant::now() > deadline {
            let text = "a worker did not begin to listen within 30 seconds; look at the log above".to_owned();
            return Err(ExitError::os(text));
        }
    }
    Ok(true)
}

/// Waits until the end is asked for, or somebody else serves; or until a worker has exited_worker: the others are drained and
/// somebody starts us anew.
fn await_end(
    shared: &ProcessState,
    workers: &dyn Workers,
    asks: &Receiver<ControlEvent>,
    watchdog: &mut Watchdog,
    handover: &mut Handover,
) -> End {
    let tick = watchdog.every().map_or(TICK, |every| every.min(TICK));
    let mut ticked = Instant::now();
    loop {
        let wait = if handover.is_under_way() { LOOK } else { tick };
        match asks.recv_timeout(wait) {
            Ok(ControlEvent::End) | Err(RecvTimeoutError::Disconnected) => {
                handover.cancel();
                return End::Signal;
            }
            Ok(ControlEvent::Drain) => {
                handover.cancel();
                return End::Asked;
            }
            Ok(ControlEvent::Reload) => shared.request_reload(ReloadRequest::by_signal()),
            Ok(ControlEvent::HandOver) => handover.begin(),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if handover.is_ready() && handover.step_down(shared, workers, asks) {
            return End::Succeeded;
        }
        if ticked.elapsed() < tick {
            continue;
        }
        ticked = Instant::now();
        if let Some(worker) = workers.exited_worker() {
            tracing::error!(worker, "a worker ended by itself");
            handover.cancel();
            return End::Fallen(worker);
        }
        systemd::status(&status_line(shared));
        watchdog.feed(&shared.metrics);
    }
}

/// Asks the workers to drain and waits until nothing is open, the time is over, or a second signal comes. A drain that was
/// asked for otherwise is not cut short by the first: service managers send theirs whatever was done before.
fn drain(
    shared: &ProcessState,
    workers: &dyn Workers,
    asks: &Receiver<ControlEvent>,
    watchdog: &mut Watchdog,
    mut signalled: bool,
) {
    let window = shared.current().config.gateway.drain;
    shared.phase.advance(Phase::Draining);
    systemd::stopping(&status_line(shared), window);
    workers.drain();
    tracing::info!(sessions = shared.sessions(), "draining for at most {window:?}");
    let deadline = Instant::now() + window;
    let (mut fed, mut said) = (Instant::now(), Instant::now());
    while shared.connections() > 0 || !workers.is_idle() {
        if asks.recv_timeout(LOOK) == Ok(ControlEvent::End) && std::mem::replace(&mut signalled, true) {
            tracing::warn!(connections = shared.connections(), "a second signal: ending at once");
            return;
        }
        if Instant::now() >= deadline {
            tracing::warn!(connections = shared.connections(), "the drain is over: cutting what is left");
            return;
        }
        if watchdog.every().is_some_and(|every| fed.elapsed() >= every) {
            watchdog.feed(&shared.metrics);
            fed = Instant::now();
        }
        if said.elapsed() >= TICK {
            systemd::status(&status_line(shared));
            said = Instant::now();
        }
    }
    tracing::info!("drained");
}

/// Says what became of the sessions of a drain, once the workers have ended.
pub fn sum_up(shared: &ProcessState) {
    let of = |how: How| -> u64 {
        shared.metrics.iter().map(|worker| worker.ends[By::Gateway as usize][how as usize].get()).sum()
    };
    tracing::info!(told = of(How::Drain), cut = of(How::Cut), "ended");
}

fn status_line(shared: &ProcessState) -> String {
    let (phase, sessions) = (shared.phase.get().word(), shared.sessions());
    let refused = shared.last_reload.load().as_ref().is_some_and(|last| last.outcome.is_err());
    let note = if refused { "; the last reload was refused, the log says why" } else { "" };
    format!("{phase}: {sessions} sessions on {} workers ({}){note}", shared.metrics.len(), shared.driver())
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

    /// Workers of a test: they listen at once, or never.
    struct Fake {
        fails: bool,
        drained: Arc<AtomicBool>,
        fell: Arc<AtomicBool>,
    }

    impl Workers for Fake {
        fn listening(&self) -> Result<usize, String> {
            if self.fails { Err("no ring".to_owned()) } else { Ok(2) }
        }
        fn accept(&self) {}
        fn drain(&self) {
            self.drained.store(true, Ordering::SeqCst);
        }
        fn reviser(&self) -> Box<dyn Revise> {
            unreachable!("the supervisor revises nothing")
        }
        fn exited_worker(&self) -> Option<usize> {
            self.fell.load(Ordering::SeqCst).then_some(1)
        }
    }

    struct Scene {
        shared: Arc<ProcessState>,
        asks: Sender<ControlEvent>,
        drained: Arc<AtomicBool>,
        fell: Arc<AtomicBool>,
        supervisor: thread::JoinHandle<Result<(), ExitError>>,
    }

    fn begin(fails: bool) -> Scene {
        let config = crate::config::read(CONFIG).expect("a good configuration");
        let shared = Arc::new(ProcessState::new(config, 2, Vec::new(), Vec::new()));
        let (asks, receiver) = channel();
        let drained = Arc::new(AtomicBool::new(false));
        let fell = Arc::new(AtomicBool::new(false));
        let fake = Fake { fails, drained: Arc::clone(&drained), fell: Arc::clone(&fell) };
        let inside = Arc::clone(&shared);
        let supervisor =
            thread::spawn(move || supervise(&inside, &fake, &receiver, &mut Handover::default()));
        Scene { shared, asks, drained, fell, supervisor }
    }

    fn wait_for(what: &str, mut seen: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !seen() {
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn a_drain_waits_until_the_last_connection_is_gone() {
        let scene = begin(false);
        scene.shared.metrics[1].connections.add(1);
        wait_for("serving", || scene.shared.phase.get() == Phase::Serving);
        scene.asks.send(ControlEvent::Reload).expect("the supervisor listens");
        scene.asks.send(ControlEvent::End).expect("the supervisor listens");
        wait_for("workers asked to drain", || scene.drained.load(Ordering::SeqCst));
        assert_eq!(scene.shared.phase.get(), Phase::Draining);
        scene.shared.metrics[1].connections.add(-1);
        assert!(scene.supervisor.join().expect("no panic").is_ok());
        assert_eq!(scene.shared.phase.get(), Phase::Stopped);
    }

    #[test]
    fn a_worker_that_fell_ends_the_process_with_a_drain() {
        let scene = begin(false);
        wait_for("serving", || scene.shared.phase.get() == Phase::Serving);
        scene.fell.store(true, Ordering::SeqCst);
        let stop = scene.supervisor.join().expect("no panic").expect_err("one fell");
        assert!(scene.drained.load(Ordering::SeqCst), "the others are drained");
        assert_eq!(stop.code, SOFTWARE);
    }

    #[test]
    fn a_second_signal_ends_at_once() {
        let scene = begin(false);
        scene.shared.metrics[0].connections.add(1);
        let began = Instant::now();
        scene.asks.send(ControlEvent::End).expect("the supervisor listens");
        scene.asks.send(ControlEvent::End).expect("the supervisor listens");
        assert!(scene.supervisor.join().expect("no panic").is_ok());
        assert!(began.elapsed() < Duration::from_secs(15), "it waited for the drain");
    }

    #[test]
    fn the_first_signal_does_not_cut_a_drain_that_was_asked_for() {
        let scene = begin(false);
        scene.shared.metrics[0].connections.add(1);
        for ask in [ControlEvent::Drain, ControlEvent::Drain, ControlEvent::End] {
            scene.asks.send(ask).expect("the supervisor listens");
        }
        wait_for("workers asked to drain", || scene.drained.load(Ordering::SeqCst));
        thread::sleep(10 * LOOK);
        assert!(!scene.supervisor.is_finished(), "it did not wait for the drain");
        scene.asks.send(ControlEvent::End).expect("the supervisor listens");
        assert!(scene.supervisor.join().expect("no panic").is_ok());
    }

    #[test]
    fn a_worker_that_can_not_listen_is_told() {
        let stop = begin(true).supervisor.join().expect("no panic").expect_err("no ring");
        assert_eq!(stop.code, crate::control::exit::OS);
        assert!(stop.text.contains("no ring"));
    }
}
