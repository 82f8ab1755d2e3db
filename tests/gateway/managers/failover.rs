//! A stream manager that fails: the next one is asked, before clients give up, and no question with an effect twice.

use super::{PUBLISH, SUBSCRIBE, Scene, subscribe};
use crate::harness::{ClientBuilder, Gate, Reply, eventually};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// SDKs wait this long for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

#[test]
fn the_first_of_the_list_is_asked_while_it_is_well() {
    let scene = Scene::start(3);
    (0..20).for_each(|n| scene.answers(&subscribe(n), 0));
    assert_eq!(scene.manager(0).count(), 20);
    assert_eq!([1, 2].map(|n| scene.manager(n).count()), [0, 0]);
    assert_eq!([0, 1, 2].map(|n| scene.rank(n)), ["well"; 3]);
}

#[test]
fn one_that_refuses_costs_no_time() {
    let mut scene = Scene::start(3);
    scene.kill(0);
    scene.kill(1);
    let began = Instant::now();
    scene.answers(SUBSCRIBE, 2);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!([0, 1, 2].map(|n| scene.rank(n)), ["out", "out", "well"]);
    assert_eq!([scene.questions(0, "refused"), scene.questions(1, "refused")], [1.0, 1.0]);
    // asked last from now on, so that they cost nothing
    (0..20).for_each(|n| scene.answers(&subscribe(n), 2));
    eventually("its line", || scene.gateway.stderr().contains("is gone: it refuses connections"));
}

#[test]
fn what_is_no_answer_leads_to_the_next_one() {
    for (reply, outcome) in [
        (Reply::manager_error(500), "server_error"),
        (Reply::json(503, "{}"), "server_error"),
        (Reply::json(200, "<html>a page</html>"), "json"),
        (Reply::json(200, r#"{"serverAddress":"10.0."#), "json"),
        (Reply::hang_up(), "closed"),
        (Reply::json(200, "{}").truncated(), "closed"),
        (Reply::raw("220 mail.example ESMTP\r\n\r\n"), "not_http"),
        (Reply::empty(302).field("Location", "http://10.0.0.1/"), "unusable"),
    ] {
        let scene = Scene::start(2);
        scene.manager(0).answer("", reply);
        scene.answers(SUBSCRIBE, 1);
        assert!(scene.questions(0, outcome) >= 1.0, "{outcome}");
        // its own probes fail too
        eventually("it is out", || scene.rank(0) == "out");
        let before = scene.questions(1, "answered");
        scene.answers(&subscribe(1), 1);
        assert_eq!(scene.questions(1, "answered"), before + 1.0);
    }
}

#[test]
fn an_answer_is_an_answer_whatever_the_others_would_say() {
    let scene = Scene::start(2);
    for status in [404, 400, 401, 409] {
        scene.manager(0).answer("", Reply::manager_error(status));
        let target = subscribe(status as usize);
        assert_eq!(scene.get(&target).status(), status);
    }
    assert_eq!((scene.manager(1).count(), scene.rank(0).as_str()), (0, "well"));
}

#[test]
fn one_that_fails_with_one_question_only_stays_the_first() {
    let scene = Scene::start(2);
    scene.manager(0).answer("/stream1", Reply::manager_error(500));
    for n in 0..5 {
        // an answer is stored for a moment
        scene.answers(&format!("{SUBSCRIBE}&region=r{n}"), 1);
        scene.answers(&subscribe(n), 0);
    }
    // longer than its probes take
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(scene.rank(0), "well");
    scene.answers(&subscribe(99), 0);
}

#[test]
fn what_all_of_them_fail_is_the_answer_of_the_first() {
    let scene = Scene::start(2);
    scene.manager(0).answer("/stream1", Reply::manager_error(500));
    scene.manager(1).answer("/stream1", Reply::manager_error(503));
    assert_eq!(scene.get(SUBSCRIBE).status(), 500);
}

#[test]
fn an_error_of_one_that_is_well_is_not_held_back_for_one_that_is_out() {
    let scene = Scene::start(2);
    let gate = Gate::default();
    scene.manager(1).answer("", Reply::json(200, "{}").held(&gate));
    scene.manager(0).answer("/stream", Reply::manager_error(500));
    // while it counts as well, its answer is waited for
    assert_eq!(scene.get(&SUBSCRIBE.replace("stream1", "stream2")).status(), 500);
    eventually("a probe shows that it is silent", || scene.rank(1) == "out");
    let began = Instant::now();
    assert_eq!(scene.get(SUBSCRIBE).status(), 500);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    gate.open();
}

#[test]
fn a_silent_one_is_passed_by_before_clients_give_up() {
    let scene = Scene::start(3);
    let gate = Gate::default();
    for n in [0, 1] {
        scene.manager(n).answer("", Reply::json(200, "{}").held(&gate));
    }
    let began = Instant::now();
    scene.answers(SUBSCRIBE, 2);
    let first = began.elapsed();
    assert!(
        first >= Duration::from_secs(2) && first < CLIENT_TIMEOUT,
        "a share of the time for each: {first:?}"
    );
    eventually("probes show that both are silent", || [0, 1].map(|n| scene.rank(n)) == ["out", "out"]);
    let began = Instant::now();
    (0..20).for_each(|n| scene.answers(&subscribe(n), 2));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(scene.questions(0, "timeout") >= 1.0);
    gate.open();
}

#[test]
fn a_slow_one_still_answers_when_no_other_can() {
    let mut scene = Scene::start(2);
    let gate = Gate::default();
    scene.manager(0).answer("/stream1", Reply::node(scene.node(0)).held(&gate));
    scene.kill(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(2000));
            gate.open();
        });
        scene.answers(SUBSCRIBE, 0);
    });
}

#[test]
fn a_publish_question_that_may_have_been_heard_is_asked_once() {
    for reply in [Reply::manager_error(500), Reply::hang_up(), Reply::json(200, "{}").truncated()] {
        let scene = Scene::start(3);
        scene.manager(0).answer("/publish/", reply);
        let status = scene.get(PUBLISH).status();
        assert!(matches!(status, 500 | 502), "{status}");
        assert_eq!([0, 1, 2].map(|n| publishes(&scene, n)), [1, 0, 0]);
    }
    let scene = Scene::with(3, |config| config.set("stream_manager.timeout", "1500ms"));
    let gate = Gate::default();
    scene.manager(0).answer("/publish/", Reply::nodes(&[scene.node(0)]).held(&gate));
    scene.get(PUBLISH).assert_refusal(504, "manager_timeout");
    assert_eq!([0, 1, 2].map(|n| publishes(&scene, n)), [1, 0, 0]);
    gate.open();
}

#[test]
fn a_publish_question_that_none_heard_goes_on() {
    let mut scene = Scene::start(3);
    scene.kill(0);
    scene.manager(1).answer("/publish/", Reply::nodes(&[scene.node(1)]));
    let response = scene.get(PUBLISH);
    assert_eq!(response.status(), 200, "{response:?}");
    assert!(response.text().contains(&scene.node(1).to_string()));
    assert_eq!([1, 2].map(|n| publishes(&scene, n)), [1, 0]);
}

/// A stream manager whose machine takes no connection and says nothing: its queue is full.
fn unreachable(scene: &Scene, n: usize) -> (socket2::Socket, Vec<TcpStream>) {
    let address = super::address(&scene.workspace, n);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(0).unwrap();
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let filling = (0..8).map_while(connect).collect();
    (socket, filling)
}

#[test]
fn one_that_takes_no_connection_has_heard_nothing() {
    let mut scene = Scene::start(3);
    scene.kill(0);
    let _full = unreachable(&scene, 0);
    scene.manager(1).answer("/publish/", Reply::nodes(&[scene.node(1)]));
    let began = Instant::now();
    let response = scene.get(PUBLISH);
    assert_eq!(response.status(), 200, "{response:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!([1, 2].map(|n| publishes(&scene, n)), [1, 0]);
    scene.answers(SUBSCRIBE, 1);
    eventually("probes show that it is out", || scene.rank(0) == "out");
    let began = Instant::now();
    (0..10).for_each(|n| scene.answers(&subscribe(n), 1));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

fn publishes(scene: &Scene, n: usize) -> usize {
    scene.manager(n).lines().iter().filter(|line| line.contains("/publish/")).count()
}

/// Every order in which three die; the last one serves.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn no_question_is_lost_that_one_of_three_could_answer() {
    let mut scene = Scene::with(3, |config| config.set("limits.sessions_per_ip", "off"));
    for order in ORDERS {
        let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (gateway, killed) = (scene.workspace.gateway(), &order[..2]);
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (over, asked) = (&over, &asked);
                scope.spawn(move || {
                    let mut connection = ClientBuilder::to(gateway).connect_tls();
                    while !over.load(SeqCst) {
                        let n = asked.fetch_add(1, SeqCst);
                        let began = Instant::now();
                        let target = subscribe(n + 10_000 * order[0] + 100_000 * order[1]);
                        let response = connection.get(&format!("{target}&region=c{client}"));
                        assert_eq!(response.status(), 200, "{order:?}: {response:?}");
                        assert!(began.elapsed() < CLIENT_TIMEOUT, "{:?}", began.elapsed());
                    }
                });
            }
            for n in killed {
                std::thread::sleep(Duration::from_millis(300));
                scene.kill(*n);
            }
            std::thread::sleep(Duration::from_millis(300));
            over.store(true, SeqCst);
        });
        assert!(asked.load(SeqCst) > 50, "{} questions", asked.load(SeqCst));
        for n in killed {
            scene.revive(*n);
        }
        eventually("all are back", || (0..3).all(|n| scene.rank(n) != "out"));
    }
    scene.gateway.assert_healthy();
}

#[test]
fn while_all_are_dead_fresh_answers_are_served_and_the_rest_fails_at_once() {
    let mut scene = Scene::with(3, |config| config.set("answers.subscribe_ttl", "60s"));
    scene.answers(SUBSCRIBE, 0);
    (0..3).for_each(|n| scene.kill(n));
    let began = Instant::now();
    for n in 0..20 {
        scene.get(&subscribe(n)).assert_refusal(502, "manager_failed");
        assert_eq!(scene.get(SUBSCRIBE).status(), 200);
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!([0, 1, 2].map(|n| scene.rank(n)), ["out"; 3]);
    scene.revive(1);
    scene.answers(&subscribe(100), 1);
}
