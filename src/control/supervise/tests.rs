//! The supervisor with workers that a test plays.

use super::*;
use crate::control::workers::interface::Revise;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

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
    fn drain(&self, _window: Duration, _may_undo: bool) {
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

/// The outcome of a request; the sender is never dropped without one.
fn outcome_of<T>(mut receiver: futures_channel::oneshot::Receiver<Result<T, String>>) -> Result<T, String> {
    let mut outcome = None;
    wait_for("an outcome", || {
        outcome = receiver.try_recv().expect("not dropped");
        outcome.is_some()
    });
    outcome.expect("it came")
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

#[test]
fn a_drain_of_the_admin_listener_is_taken_back_and_one_by_a_signal_is_not() {
    let scene = Scene::begin();
    let state = Arc::clone(&scene.state);
    state.metrics[0].connections.add(1);
    wait_for("serving", || state.phase.get() == Phase::Serving);
    let undo = || {
        let (reply, outcome) = futures_channel::oneshot::channel();
        scene.send(ControlEvent::UndoDrain(reply));
        outcome_of(outcome)
    };
    assert!(undo().expect_err("nothing to undo").contains("no drain"));
    scene.send(ControlEvent::Drain);
    assert_eq!(undo(), Ok(()));
    assert_eq!(state.phase.get(), Phase::Serving);
    scene.send(ControlEvent::Drain);
    scene.send(ControlEvent::End);
    assert!(undo().expect_err("a signal came").contains("by a signal"));
    assert_eq!(state.phase.get(), Phase::Draining);
    scene.send(ControlEvent::End);
    assert!(scene.end().is_ok());
}
