//! A reload that changes the list: what the former managers said, and the nodes that they named.

use super::{SUBSCRIBE, Scene, subscribe};
use crate::harness::{ClientBuilder, Gate, NodeListener, Reply, Request};

#[test]
fn an_answer_of_the_old_list_stays_valid_when_one_is_added() {
    let mut scene = Scene::with(2, |config| config.set("answers.subscribe_ttl", "60s"));
    scene.reload(&[0]);
    scene.answers(SUBSCRIBE, 0);
    let asked = scene.manager(0).count();
    scene.reload(&[1, 0]);
    scene.answers(SUBSCRIBE, 0);
    assert_eq!((scene.manager(0).count(), scene.manager(1).count()), (asked, 0), "a stored answer");
    scene.answers(&subscribe(1), 1);
}

#[test]
fn one_that_is_taken_out_is_asked_no_more_and_its_answers_stay_while_they_lead_to_a_node() {
    // its node is in origins.networks, so that the answer still leads there
    let mut scene = Scene::with(2, |config| config.set("answers.subscribe_ttl", "60s"));
    scene.answers(SUBSCRIBE, 0);
    let asked = scene.manager(0).count();
    scene.reload(&[1]);
    scene.answers(SUBSCRIBE, 0);
    scene.answers(&subscribe(1), 1);
    assert_eq!(scene.manager(0).count(), asked);
    let status = scene.gateway.monitoring_get("/api/status").json();
    assert_eq!(status["managers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn all_answers_end_when_no_manager_stays() {
    let mut scene = Scene::with(2, |config| config.set("answers.subscribe_ttl", "60s"));
    scene.reload(&[0]);
    scene.answers(SUBSCRIBE, 0);
    scene.reload(&[1]);
    scene.answers(SUBSCRIBE, 1);
}

#[test]
fn nodes_that_only_removed_managers_named_are_forgotten() {
    let mut scene = Scene::with(2, |config| {
        config.set("answers.subscribe_ttl", "60s");
        // nodes have to be learned besides
        config.set("origins.strict", true);
    });
    let nodes = [0, 1].map(|n| NodeListener::listen((scene.node(n), 5080).into()));
    let opens = |scene: &Scene, n: usize| scene.opens(&nodes[n]);
    scene.answers(SUBSCRIBE, 0);
    assert_eq!((opens(&scene, 0), opens(&scene, 1)), (101, 403));
    // the second one names the same node
    scene.manager(0).answer("/both", Reply::manager_error(500));
    scene.manager(1).answer("/both", Reply::node(scene.node(0)));
    scene.answers(&SUBSCRIBE.replace("stream1", "both"), 0);
    scene.reload(&[1]);
    assert_eq!((opens(&scene, 0), opens(&scene, 1)), (101, 403), "the one that stays named it too");
    scene.answers(SUBSCRIBE, 0);

    scene.reload(&[0, 1]);
    scene.answers(&subscribe(1), 0);
    scene.kill(0);
    scene.answers(&subscribe(2), 1);
    assert_eq!((opens(&scene, 0), opens(&scene, 1)), (101, 101));
    scene.reload(&[0]);
    assert_eq!((opens(&scene, 0), opens(&scene, 1)), (101, 403));
    scene.get(&subscribe(2)).assert_refusal(502, "manager_failed");
    scene.answers(&subscribe(1), 0);
}

#[test]
fn a_question_under_way_is_answered_after_a_reload_takes_its_manager_out() {
    let mut scene = Scene::start(2);
    let gate = Gate::default();
    scene.manager(0).answer("/stream1", Reply::node(scene.node(0)).held(&gate));
    let mut client = ClientBuilder::to(scene.workspace.gateway()).connect_tls();
    client.send_request(&Request::get(SUBSCRIBE));
    scene.manager(0).wait_for_requests(1);
    scene.reload(&[1]);
    // a question after the reload joins no flight of before
    scene.answers(SUBSCRIBE, 1);
    gate.open();
    let response = client.read_response();
    assert_eq!(response.status(), 200, "{response:?}");
}
