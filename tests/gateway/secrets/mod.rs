//! Secrets that are marked, said in every place where there is one, on good ways and on failing ones, at the levels of the
//! log that say most; then everything that the gateway emits is searched for them.
//!
//! `markers` has the table: each marker names where it may turn up, has to turn up there, and may nowhere else, neither as
//! it is nor escaped, in hexadecimal or in base64.

use configurations::{good_configurations, wrong_configurations};
use questions::{broken, questions};
use scene::{Scene, collect, look_at_operator_views};
use sessions::{sockets, whip};

mod configurations;
mod markers;
mod questions;
mod scene;
mod sessions;

fn all_secrets_are_kept(level: &str, format: &str, access: &str) {
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
    scene.markers.assert_kept();
}

#[test]
fn no_secret_is_told_in_text_at_trace() {
    all_secrets_are_kept("trace", "text", "stderr");
}

#[test]
fn no_secret_is_told_in_json_at_debug() {
    all_secrets_are_kept("debug", "json", "file");
}
