//! A refusal is in the log with what was asked for and the key that would change it, and a flood of them can't fill a disk.

use crate::harness::{Reply, Request, TestBed, eventually};
use std::collections::HashSet;

const SUBSCRIBE: &str = "/streammanager/api/4.0/event/live/stream1?action=subscribe";

/// The lines about refusals with this code.
fn lines(bed: &TestBed, code: &str) -> Vec<String> {
    let log = bed.gateway.stderr();
    let of_code = |line: &&str| line.contains("refused: ") && line.contains(&format!("code=\"{code}\""));
    log.lines().filter(of_code).map(str::to_owned).collect()
}

/// The only line about this code, once it is there.
#[track_caller]
fn line(bed: &TestBed, code: &str) -> String {
    eventually(&format!("a line about {code}"), || !lines(bed, code).is_empty());
    let lines = lines(bed, code);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

#[track_caller]
fn assert_names(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "expected {word} in: {line}");
    }
}

#[test]
fn a_node_on_the_same_machine_names_the_key_that_admits_it() {
    let bed = TestBed::with(|config, _| config.set("origins.networks", Vec::<String>::new()));
    let node = bed.ip(1).to_string();
    let target = format!("/streammanager/?id=stream1&host={node}&app=live&token=s3cret");
    let response = bed.exchange(&Request::upgrade(&target));
    response.assert_refusal(403, "origin_not_admitted");
    let session = response.field("x-tidegate-session").expect("the id of the session").to_owned();
    let line = line(&bed, "origin_not_admitted");
    assert_names(&line, &[" INFO ", "origins.networks", "this single address", &format!("node={node}")]);
    assert_names(
        &line,
        &["route=\"two_step\"", "app=\"live\"", "stream=\"stream1\"", "client=127.", &session],
    );
    assert!(line.contains("token=***") && !line.contains("s3cret"), "{line}");
    assert!(!response.text().contains(&node), "the node is for the operator's log only");
}

#[test]
fn each_rule_of_admission_names_what_would_admit_the_node() {
    let refused = |change: &dyn Fn(&mut crate::harness::Config), host: &str| {
        let bed = TestBed::with(|config, _| change(config));
        let target = format!("/streammanager/?id=stream1&host={host}&app=live");
        bed.exchange(&Request::upgrade(&target)).assert_refusal(403, "origin_not_admitted");
        line(&bed, "origin_not_admitted")
    };
    let none = |_: &mut crate::harness::Config| {};
    assert_names(&refused(&none, "10.1.2.3"), &["origins.networks", "answers.learned_ttl", "node=10.1.2.3"]);
    assert_names(&refused(&none, "169.254.169.254"), &["no key admits 169.254.169.254"]);
    assert_names(&refused(&none, "node.example"), &["origins.names"]);
    let not_learned = |config: &mut crate::harness::Config| config.set("origins.learned", false);
    assert_names(&refused(&not_learned, "10.1.2.3"), &["origins.learned = false"]);
    let strict = |config: &mut crate::harness::Config| {
        config.set("origins.strict", true);
        config.set("origins.networks", vec!["10.0.0.0/8"]);
    };
    assert_names(&refused(&strict, "10.1.2.3"), &["origins.strict", "answers.learned_ttl"]);
    assert_names(&refused(&strict, "192.168.1.1"), &["origins.strict", "not inside origins.networks"]);
}

#[test]
fn other_refusals_name_their_key_too() {
    let bed = TestBed::with(|config, _| {
        config.set("cors.allow_missing", false);
        config.set("limits.body_max", "1KiB");
    });
    let page = Request::upgrade(&bed.websocket_target(1)).with("Origin", "https://evil.example");
    bed.exchange(&page).assert_refusal(403, "cross_site");
    assert_names(&line(&bed, "cross_site"), &["cors.allow_origins", "origin=\"https://evil.example\""]);
    let target = bed.websocket_target(1).replace("app=live", "app=other");
    let here = format!("https://{}:8443", crate::harness::certs::NAME);
    bed.exchange(&Request::upgrade(&target).with("Origin", &here)).assert_refusal(403, "app_not_allowed");
    assert_names(&line(&bed, "app_not_allowed"), &["origins.apps", "app=\"other\""]);
    bed.get(&format!("/{}", "x".repeat(20_000))).assert_refusal(414, "target_too_long");
    assert_names(&line(&bed, "target_too_long"), &["limits.target_size"]);
    let long =
        Request::new("POST", "/as/v1/proxy/whip/live/s?nodeGroup=g").body("application/sdp", [b'v'; 2000]);
    bed.exchange(&long).assert_refusal(413, "body_too_large");
    assert_names(&line(&bed, "body_too_large"), &["limits.body_max", "route=\"whip\"", "app=\"live\""]);
    bed.manager.answer("/stream1", Reply::hang_up());
    bed.get(SUBSCRIBE).assert_refusal(502, "manager_failed");
    assert_names(
        &line(&bed, "manager_failed"),
        &["stream_manager.url", "route=\"event\"", "stream=\"stream1\""],
    );
    let missing = TestBed::with(|config, _| config.set("cors.allow_missing", false));
    missing.exchange(&Request::upgrade(&missing.websocket_target(1))).assert_refusal(403, "cross_site");
    assert_names(&line(&missing, "cross_site"), &["cors.allow_missing"]);
}

#[test]
fn limits_are_named_one_by_one() {
    let refused = |key: &str, value: toml::Value, code: &str| {
        let bed = TestBed::with(|config, _| config.set(key, value));
        let mut kept = Vec::new();
        for _ in 0..4 {
            let mut client = bed.client();
            client.send_request(&Request::get("/nowhere"));
            client.read_response();
            kept.push(client);
        }
        eventually("a refusal", || !lines(&bed, code).is_empty());
        let line = lines(&bed, code).remove(0);
        assert_names(&line, &[key]);
        line
    };
    let line = refused("limits.sessions_per_ip", 1.into(), "too_many");
    assert!(!line.contains("new_per_ip"), "{line}");
    let line = refused("limits.requests_per_ip", "1/s".into(), "too_many");
    assert!(!line.contains("sessions_per_ip"), "{line}");
    refused("limits.new_per_ip", "1/s".into(), "too_many");
}

/// Over kept connections, so that the flood is one of requests.
#[test]
fn a_flood_of_refusals_with_random_apps_writes_a_bounded_number_of_lines() {
    let bed = TestBed::start();
    let flood = |of: usize| {
        let mut client = bed.client();
        for n in 0..2_500 {
            let app = format!("app{of}x{n}{}", "y".repeat(n % 40));
            client.send_request(&Request::upgrade(
                &bed.websocket_target(1).replace("=live", &format!("={app}")),
            ));
            client.read_response().assert_refusal(403, "app_not_allowed");
            if n % 100 == 99 {
                client = bed.client();
            }
        }
    };
    std::thread::scope(|scope| {
        for of in 0..4 {
            scope.spawn(move || flood(of));
        }
    });
    assert_eq!(bed.gateway.metric("tidegate_refusals_total", &[("code", "app_not_allowed")]), 10_000.0);
    let lines = lines(&bed, "app_not_allowed");
    // 64 pairs, and one for all others; a minute later one more of each at most
    assert!((60..=130).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.len() < 2000), "each line is short");
    let distinct: HashSet<_> = lines.iter().collect();
    assert_eq!(distinct.len(), lines.len());
    // a code that was not refused before has its line all the same
    bed.get("/nowhere").assert_refusal(404, "no_such_route");
    assert_names(&line(&bed, "no_such_route"), &["no route has this path"]);
}

#[test]
fn at_debug_each_refusal_is_a_line() {
    let bed = TestBed::with(|config, _| config.set("log.level", "debug"));
    for _ in 0..10 {
        bed.get("/nowhere").assert_refusal(404, "no_such_route");
    }
    eventually("ten lines", || lines(&bed, "no_such_route").len() == 10);
}
