//! What load balancers hear at `gateway.health_path` on the listeners for clients.

use crate::harness::connection::End;
use crate::harness::{Request, TestBed, eventually};

fn bed_with_health(more: &[(&str, i64)]) -> TestBed {
    TestBed::with(|config, _| {
        config.set("gateway.health_path", "/healthz");
        for (key, value) in more {
            config.set(key, *value);
        }
    })
}

#[test]
fn a_health_check_is_200_while_the_gateway_serves_and_503_in_a_drain() {
    let bed = bed_with_health(&[]);
    let listener = bed.node(1);
    let mut balancer = bed.client();
    for target in ["/healthz", "/healthz?from=balancer"] {
        let answer = balancer.get(target);
        assert_eq!((answer.status(), answer.text()), (200, "serving\n".to_owned()));
    }
    balancer.send_request(&Request::new("HEAD", "/healthz"));
    assert!(balancer.read_head().line.starts_with("HTTP/1.1 200"));
    assert_eq!(balancer.get("/healthz").status(), 200, "no body came with the answer to the HEAD");
    let (_client, _node) = bed.relay(&listener);
    bed.gateway.terminate();
    eventually("not ready any more", || bed.gateway.ready() == Some(503));
    eventually("the listeners are closed", || std::net::TcpStream::connect(bed.workspace.gateway()).is_err());
    balancer.send_request(&Request::get("/healthz"));
    let answer = balancer.read_response();
    assert_eq!((answer.status(), answer.text()), (503, "draining\n".to_owned()));
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(balancer.expect_end(), End::Clean);
    assert_eq!(bed.manager.count(), 0, "the manager was not asked");
}

#[test]
fn a_health_check_is_answered_over_every_limit_of_sessions() {
    let bed = bed_with_health(&[("limits.sessions", 2), ("limits.sessions_per_ip", 1)]);
    let mut holder = bed.client();
    assert_eq!(holder.get("/nowhere").status(), 404);
    bed.get("/nowhere").assert_refusal(429, "too_many");
    for _ in 0..3 {
        let mut balancer = bed.client();
        let answer = balancer.get("/healthz");
        assert_eq!((answer.status(), answer.text()), (200, "serving\n".to_owned()));
        assert_eq!(answer.field("connection"), Some("close"), "no session is left over the limit");
        assert_eq!(balancer.expect_end(), End::Clean);
    }
}

#[test]
fn other_methods_and_paths_are_no_health_checks_and_neither_is_any_path_by_default() {
    let bed = bed_with_health(&[]);
    for method in ["POST", "OPTIONS", "DELETE"] {
        let refused = bed.exchange(&Request::new(method, "/healthz"));
        refused.assert_refusal(405, "method_not_allowed");
        assert_eq!(refused.field("allow"), Some("GET, HEAD"));
    }
    for target in ["/healthz/", "/healthzz", "/Healthz", "/health", "/a/healthz"] {
        bed.get(target).assert_refusal(404, "no_such_route");
    }
    TestBed::start().get("/healthz").assert_refusal(404, "no_such_route");
}
