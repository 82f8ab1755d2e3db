//! Every configuration of tidegate in the documents: the complete ones serve, pieces of one are good as part of one.

use super::pages::{blocks, is_complete, pages};
use super::{Cluster, PAGE};
use crate::harness::gateway::{CONFIG_FILE, Config};
use crate::harness::whip::{ANSWER, post};
use crate::harness::{Frame, Gateway, Request};
use std::process::Command;
use toml::{Table, Value};

/// The page whose other configurations are Traefik's.
const FOREIGN: &str = "docs/migrate/traefik.md";

/// All configurations of tidegate in the documents, with their places.
fn configurations() -> Vec<(String, Table)> {
    let mut found = Vec::new();
    for page in pages() {
        for block in blocks(&page, "toml") {
            let table = block.table().unwrap_or_else(|| panic!("{}: no TOML", block.place));
            if page != FOREIGN || is_complete(&table) {
                found.push((block.place, table));
            }
        }
    }
    found
}

/// Fails unless `tidegate check` finds nothing to complain about.
#[track_caller]
fn assert_good(cluster: &Cluster, config: &Config, place: &str) {
    config.write(&cluster.workspace);
    let file = cluster.workspace.file(CONFIG_FILE);
    let done = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("check").arg("--config").arg(file).output();
    let done = done.expect("the program starts");
    let said = String::from_utf8([done.stdout, done.stderr].concat()).expect("UTF-8");
    assert!(done.status.success() && said.contains("good"), "{place}: {said}");
}

#[test]
fn every_complete_configuration_in_the_documents_serves() {
    let complete: Vec<_> = configurations().into_iter().filter(|(_, table)| is_complete(table)).collect();
    let places: Vec<_> = complete.iter().map(|(place, _)| place.as_str()).collect();
    for page in ["README.md", "nginx.md", "haproxy.md", "stream-manager-proxy.md", "traefik.md"] {
        assert!(places.iter().any(|place| place.contains(page)), "{page} has no complete one: {places:?}");
    }
    for (place, table) in complete {
        eprintln!("{place}");
        let group = table["stream_manager"].get("node_group").is_some();
        let cluster = Cluster::start();
        let config = cluster.fitted(table);
        assert_good(&cluster, &config, &place);
        let mut gateway = Gateway::start(&cluster.workspace, &config);
        let seen = cluster.first_generation();
        assert_eq!((seen.question.0, seen.question.2.as_deref()), (200, Some(PAGE)), "{place}");
        assert_eq!(seen.websocket.0, "/live/", "{place}");
        assert_eq!((seen.whip.0, seen.whip.1.as_str()), (201, ANSWER), "{place}");
        assert!(seen.refused.iter().all(|(_, status)| matches!(status, 403 | 404)), "{place}: {seen:?}");
        second_generation(&cluster, if group { "" } else { "&nodeGroup=ng1" });
        gateway.assert_healthy();
    }
}

/// The same over the routes of Stream Manager 2.0. The node group may be the configuration's.
fn second_generation(cluster: &Cluster, group: &str) {
    let target = format!("/as/v1/proxy/ws/publish/live/stream1?id=stream1{group}");
    let (mut client, mut node, path) = cluster.open(&Request::upgrade(&target).by_page(PAGE));
    assert_eq!(path, "/live/");
    node.send_frame(Frame::text("here"));
    assert_eq!(client.read_frame(), Frame::text("here"));
    let offer = post(&format!("/as/v1/proxy/whip/live/camera?signal=true{group}")).by_page(PAGE);
    let created = cluster.client().exchange(&offer);
    assert_eq!((created.status(), created.text().as_str()), (201, ANSWER), "{created:?}");
    let question = Request::get("/as/v1/streams/stream/ng1/subscribe/live/stream1").by_page(PAGE);
    let answer = cluster.client().exchange(&question);
    assert_eq!(answer.json()[0]["serverAddress"], cluster.sockets.ip().to_string(), "{answer:?}");
}

#[test]
fn every_piece_of_a_configuration_in_the_documents_is_good_as_part_of_one() {
    let pieces: Vec<_> = configurations().into_iter().filter(|(_, table)| !is_complete(table)).collect();
    assert!(pieces.len() >= 3, "{pieces:?}");
    let cluster = Cluster::start();
    for (place, piece) in pieces {
        let mut table = Table::new();
        table.insert("stream_manager".to_owned(), Value::Table(Table::new()));
        for (name, keys) in piece {
            let own = keys.as_table().unwrap_or_else(|| panic!("{place}: a key without its table")).clone();
            table.insert(name, Value::Table(own));
        }
        assert_good(&cluster, &cluster.fitted(table), &place);
    }
}

#[test]
fn the_configuration_that_the_package_installs_is_good() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/tidegate.toml");
    let table: Table = std::fs::read_to_string(path).expect("a file").parse().expect("TOML");
    assert!(is_complete(&table));
    let cluster = Cluster::start();
    assert_good(&cluster, &cluster.fitted(table), "packaging/tidegate.toml");
}
