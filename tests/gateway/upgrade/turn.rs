//! The new process between its start and its charge: at every step its predecessor may end or a signal may come. It is either in
//! charge or ended.

use crate::harness::predecessor::FakePredecessor;
use crate::harness::systemd::ServiceManager;
use crate::harness::{ClientBuilder, Request, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// How far the new process is when something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Started,
    Ready,
    Go,
    Serving,
    Main,
}

const STEPS: [Step; 5] = [Step::Started, Step::Ready, Step::Go, Step::Serving, Step::Main];

/// Plays the predecessor up to this step.
#[track_caller]
fn at(step: Step) -> FakePredecessor {
    let mut predecessor = FakePredecessor::start(2, |_, _| {});
    if step >= Step::Ready {
        predecessor.hear("ready ");
    }
    if step >= Step::Go {
        predecessor.say("{\"learned\":{\"node\":\"10.0.0.1\",\"millis_left\":1000}}");
        predecessor.say("go");
    }
    if step >= Step::Serving {
        predecessor.hear("serving");
    }
    if step >= Step::Main {
        predecessor.say("main");
    }
    predecessor
}

fn signal(predecessor: &FakePredecessor, signal: Signal) {
    let pid = Pid::from_raw(predecessor.successor.pid().cast_signed()).expect("a process id");
    kill_process(pid, signal).expect("it runs");
}

/// A client connects and gets an answer.
#[track_caller]
fn serves(predecessor: &FakePredecessor) {
    let mut client = ClientBuilder::to(predecessor.workspace.gateway()).connect_tls();
    client.exchange(&Request::get("/nowhere")).assert_refusal(404, "no_such_route");
}

#[test]
fn a_new_process_that_loses_its_predecessor_is_in_charge_after_go_and_ends_before() {
    for step in STEPS {
        let mut predecessor = at(step);
        predecessor.end();
        if step >= Step::Go {
            predecessor.is_in_charge();
            serves(&predecessor);
            signal(&predecessor, Signal::TERM);
            assert_eq!(predecessor.code(), Some(0), "{step:?}");
        } else {
            assert_eq!(predecessor.code(), Some(71), "{step:?}");
            let log = predecessor.successor.stderr();
            assert!(log.contains("before it handed over"), "{step:?}: {log}");
            assert!(!log.contains("serving"), "{step:?}: {log}");
        }
    }
}

#[test]
fn a_signal_ends_a_new_process_at_every_step() {
    for step in STEPS {
        for end in [Signal::TERM, Signal::INT, Signal::KILL] {
            let mut predecessor = at(step);
            signal(&predecessor, end);
            let code = predecessor.code();
            if end != Signal::KILL && step > Step::Started {
                assert_eq!(code, Some(0), "{step:?} {end:?}: {}", predecessor.successor.stderr());
                if step < Step::Main {
                    assert_eq!(predecessor.hear("failed"), "failed a signal ended it\n");
                }
            }
            // the predecessor's copies of the listeners still take clients
            ClientBuilder::to(predecessor.workspace.gateway()).connect_tcp();
        }
    }
}

#[test]
fn only_the_process_in_charge_asks_older_ones_to_drain_at_its_end() {
    for step in [Step::Ready, Step::Serving, Step::Main] {
        let mut predecessor = at(step);
        let mut older = predecessor.older.try_clone().unwrap();
        // its end shows that the new process has ended, whatever it waits for
        let end = std::thread::spawn(move || {
            let mut text = [0; 100];
            let read = std::io::Read::read(&mut older, &mut text).unwrap_or(0);
            String::from_utf8_lossy(&text[..read]).into_owned()
        });
        if step == Step::Main {
            predecessor.is_in_charge();
        }
        signal(&predecessor, Signal::TERM);
        let heard = end.join().unwrap();
        assert_eq!(heard, if step == Step::Main { "drain\n" } else { "" }, "{step:?}");
        predecessor.older.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(predecessor.code(), Some(0), "{step:?}");
    }
}

#[test]
fn requests_at_every_step_are_done_once_the_new_process_is_in_charge() {
    for step in [Step::Ready, Step::Go, Step::Serving] {
        let mut predecessor = at(step);
        signal(&predecessor, Signal::HUP);
        signal(&predecessor, Signal::USR2);
        let log = || predecessor.successor.stderr();
        eventually("the hand-over is refused", || {
            log().contains("hand-over refused: this process is not in charge")
        });
        eventually("the reload is put off", || log().contains("reload requested, it is done once"));
        for line in &["go", "main"][usize::from(step > Step::Ready)..] {
            predecessor.say(line);
        }
        predecessor.is_in_charge();
        predecessor.successor.wait_for_revision(2);
    }
}

#[test]
fn a_predecessor_that_was_asked_for_a_reload_passes_it_on() {
    let mut predecessor = at(Step::Serving);
    predecessor.say("reload");
    predecessor.say("main");
    predecessor.is_in_charge();
    predecessor.successor.wait_for_revision(2);
}

#[test]
fn systemd_hears_of_a_new_process_only_when_it_is_in_charge() {
    let mut service = None;
    let mut predecessor = FakePredecessor::start(2, |config, workspace| {
        let path = workspace.file("notify");
        config.set_env("NOTIFY_SOCKET", path.to_str().expect("UTF-8"));
        service = Some(ServiceManager::listen(path));
    });
    let mut service = service.unwrap();
    predecessor.hear("ready ");
    predecessor.say("go");
    predecessor.hear("serving");
    serves(&predecessor);
    service.take_all();
    assert_eq!(service.messages, [""; 0]);
    predecessor.say("main");
    service.wait_for("READY=1");
    predecessor.end();
    // one that ends before that is silent too
    let mut predecessor = FakePredecessor::start(2, |config, workspace| {
        let path = workspace.file("notify");
        config.set_env("NOTIFY_SOCKET", path.to_str().expect("UTF-8"));
        service = ServiceManager::listen(path);
    });
    predecessor.hear("ready ");
    signal(&predecessor, Signal::TERM);
    assert_eq!(predecessor.code(), Some(0));
    service.take_all();
    assert_eq!(service.messages, [""; 0]);
}

#[test]
fn a_predecessor_of_the_first_version_hands_over_without_an_acknowledgement() {
    let mut predecessor = FakePredecessor::start(1, |_, _| {});
    predecessor.hear("ready ");
    predecessor.say("go");
    predecessor.is_in_charge();
    serves(&predecessor);
}

#[test]
fn a_note_of_a_later_format_is_refused() {
    let mut predecessor = FakePredecessor::start(3, |_, _| {});
    assert_eq!(predecessor.code(), Some(71));
    assert!(predecessor.successor.stderr().contains("a format that this version does not read"));
}

#[test]
fn the_note_leaves_the_environment() {
    let predecessor = at(Step::Main);
    predecessor.is_in_charge();
    let environment = std::fs::read(format!("/proc/{}/environ", predecessor.successor.pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("PATH="), "{environment}");
    assert!(!environment.contains("TIDEGATE_HANDOVER"), "{environment}");
    assert!(!environment.contains("report="), "{environment}");
}
