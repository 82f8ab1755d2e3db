//! Stream managers that come back: noticed without a client, and preferred again only after a while.

use super::{Scene, subscribe};
use crate::harness::{Reply, eventually};
use std::time::{Duration, Instant};

#[test]
fn a_return_is_noticed_within_a_second_and_without_a_client() {
    let mut scene = Scene::start(3);
    (0..3).for_each(|n| scene.kill(n));
    scene.get(&subscribe(0)).assert_refusal(502, "manager_failed");
    for n in [2, 0, 1] {
        assert_eq!(scene.rank(n), "out");
        scene.revive(n);
        let began = Instant::now();
        eventually("it is back", || scene.rank(n) == "settling");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(scene.status(n)["up"], true);
    }
}

#[test]
fn one_that_came_back_is_preferred_again_after_it_was_well_for_a_while() {
    let mut scene = Scene::start(2);
    scene.kill(0);
    scene.answers(&subscribe(0), 1);
    scene.revive(0);
    let back = Instant::now();
    eventually("it is back", || scene.rank(0) == "settling");
    for n in 1..10 {
        scene.answers(&subscribe(n), 1);
    }
    // while it settles it is asked by probes alone
    assert!(scene.manager(0).lines().iter().all(|line| line.contains("tidegate-probe")));
    let deadline = back + Duration::from_secs(20);
    while scene.rank(0) != "well" {
        assert!(Instant::now() < deadline, "it is preferred again");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(back.elapsed() > Duration::from_secs(9), "{:?}", back.elapsed());
    scene.answers(&subscribe(20), 0);
}

#[test]
fn one_that_comes_and_goes_disturbs_no_question() {
    let mut scene = Scene::start(2);
    scene.kill(0);
    scene.answers(&subscribe(0), 1);
    for round in 1..5 {
        scene.revive(0);
        eventually("it is back", || scene.rank(0) == "settling");
        scene.answers(&subscribe(10 * round), 1);
        scene.kill(0);
        scene.answers(&subscribe(10 * round + 1), 1);
        eventually("a probe finds that it is gone", || scene.rank(0) == "out");
    }
    let of_clients = scene.questions(0, "refused") - scene.questions(0, "answered");
    assert!(of_clients > 0.0);
    assert_eq!(scene.gateway.stderr().matches("is gone: ").count(), 1, "{}", scene.gateway.stderr());
}

#[test]
fn while_the_first_settles_it_serves_what_the_other_fails() {
    let mut scene = Scene::start(2);
    scene.kill(0);
    scene.answers(&subscribe(0), 1);
    scene.revive(0);
    eventually("it is back", || scene.rank(0) == "settling");
    scene.manager(1).answer("/stream", Reply::manager_error(500));
    scene.manager(1).answer("/live/s", Reply::manager_error(500));
    scene.answers(&subscribe(1), 0);
}

#[test]
fn that_one_without_questions_is_gone_is_known_before_it_is_needed() {
    let mut scene = Scene::start(2);
    scene.kill(1);
    let deadline = Instant::now() + Duration::from_secs(20);
    while scene.rank(1) != "out" {
        assert!(Instant::now() < deadline, "a probe finds out");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(scene.status(1)["up"], false);
    let shown = scene.gateway.command(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let line = shown.lines().find(|line| line.contains(":5080 DOWN since")).expect("a line of it");
    assert!(line.starts_with("manager     http://") && line.contains("it refuses connections"), "{line}");
}
