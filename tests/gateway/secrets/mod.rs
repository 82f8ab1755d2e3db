//! Secrets: every place of a request, an answer or a configuration that may hold one gets a marked secret, in successful
//! and failing exchanges, at the most detailed log levels. Then everything that the gateway emits is searched for them.
//!
//! `markers` holds the table: each marker names the channels where it may appear. It has to appear there, and nowhere
//! else, neither plain nor escaped, in hexadecimal or in base64.

use configurations::{good_configurations, wrong_configurations};
use questions::{broken, questions};
use scene::{Scene, collect, look_at_operator_views};
use sessions::{sockets, whip};

mod configurations;
mod markers;
mod questions;
mod scene;
mod sessions;

fn assert_no_secret_leaks(level: &str, format: &str, access: &str) {
    let mut scene = Scene::start(level, format, access);
    questions(&mut scene);
    broken(&mut scene);
    sockets(&mut scene);
    whip(&mut scene);
    look_at_operator_views(&mut scene);
    wrong_configurations(&mut scene);
    good_configurations(&mut scene);
    collect(&mut scene);
    scene.takeover.bed.gateway.assert_no_panic();
    assert!(scene.markers.len() > 200, "{} secrets", scene.markers.len());
    scene.markers.assert_no_leak();
}

#[test]
fn no_secret_leaks_into_the_text_log_at_trace() {
    assert_no_secret_leaks("trace", "text", "stderr");
}

#[test]
fn no_secret_leaks_into_the_json_log_at_debug() {
    assert_no_secret_leaks("debug", "json", "file");
}
