//! A stream manager's name with several addresses, and names that do not resolve.

use super::{SUBSCRIBE, node, start, subscribe};
use crate::harness::{ClientBuilder, Config, Gateway, Request, Workspace, can_mount, eventually, with_hosts};
use std::time::{Duration, Instant};

#[test]
fn the_next_address_of_a_name_is_tried_when_one_refuses() {
    if !can_mount("a name with two addresses") {
        return;
    }
    let workspace = Workspace::claim();
    let hosts = workspace.file("hosts");
    let lines = [0, 1].map(|n| format!("{} manager.test\n", super::address(&workspace, n).ip()));
    std::fs::write(&hosts, lines.concat()).unwrap();
    let mut config = Config::new(&workspace);
    config.set("stream_manager.url", "http://manager.test:5080");
    let gateway = Gateway::spawn_by(with_hosts(&hosts), &workspace, &config).wait_until_ready();
    let answered = |n: usize, by: usize| {
        let began = Instant::now();
        let response = ClientBuilder::to(workspace.gateway()).connect_tls().get(&subscribe(n));
        assert_eq!(response.status(), 200, "{response:?}");
        assert!(response.text().contains(&node(&workspace, by).to_string()), "{response:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    };
    for (n, up) in [1, 0, 1].into_iter().enumerate() {
        let manager = start(&workspace, up);
        answered(n, up);
        drop(manager);
    }
    // both are addresses of the stream manager, which no client reaches as a node
    for n in [0, 1] {
        let host = super::address(&workspace, n).ip();
        let target = format!("/streammanager/?id=s&host={host}&app=live");
        let mut client = ClientBuilder::to(workspace.gateway()).connect_tls();
        client.send_request(&Request::upgrade(&target));
        client.read_response().assert_refusal(403, "origin_not_admitted");
    }
    assert_eq!(gateway.metric("tidegate_manager_up", &[]), 1.0);
}

#[test]
fn a_name_that_does_not_resolve_is_passed_by_and_named_with_its_line() {
    if !can_mount("a name that does not resolve") {
        return;
    }
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    config.unset("stream_manager.url");
    let known = format!("http://{}", super::address(&workspace, 1));
    config.set("stream_manager.urls", vec!["http://gone.invalid:5080".to_owned(), known]);
    let _manager = start(&workspace, 1);
    let hosts = workspace.file("hosts");
    std::fs::write(&hosts, "").unwrap();
    let gateway = Gateway::spawn_by(with_hosts(&hosts), &workspace, &config).wait_until_ready();
    let response = ClientBuilder::to(workspace.gateway()).connect_tls().get(SUBSCRIBE);
    assert_eq!(response.status(), 200, "{response:?}");
    assert!(response.text().contains(&node(&workspace, 1).to_string()));
    eventually("a line that names the key", || {
        gateway.stderr().contains("a name in stream_manager.urls does not resolve now")
    });
}
