//! The main flow on each IO driver: epoll behaves like io_uring.

use crate::harness::{Frame, Gateway, HttpPeer, Reply, Request, TestBed, Workspace, eventually};

/// The main flow of a page: ask for the node, open the WebSocket, exchange frames, hand off, close.
#[track_caller]
fn main_flow(driver: &str) {
    let mut bed = TestBed::with(|config, _| {
        config.set("gateway.driver", driver);
        config.set("origins.strict", true);
    });
    assert_eq!(bed.gateway.metric("tidegate_info", &[("driver", driver)]), 1.0);
    let listener = bed.node(1);
    bed.manager.answer("/stream1", Reply::node(listener.ip()));
    let answer = bed.get("/streammanager/api/4.0/event/live/stream1?action=broadcast").json();
    let (host, app) = (answer["serverAddress"].as_str().unwrap(), answer["scope"].as_str().unwrap());

    let target = format!("/streammanager/?id=stream1&host={host}&app={}", app.replace('/', "%2F"));
    let mut client = bed.client();
    client.send_request(&Request::upgrade(&target));
    let mut node = listener.accept();
    assert_eq!(node.accept_upgrade().target(), "/live/?id=stream1");
    assert_eq!(client.read_response().status(), 101);
    for size in [0, 1, 300, 12_000, 65_536] {
        client.send_frame(Frame::binary(vec![1; size]));
        assert_eq!(node.read_frame().payload.len(), size);
        node.send_frame(Frame::binary(vec![2; size]));
        assert_eq!(client.read_frame().payload.len(), size);
    }
    client.send_frame(Frame::text(r#"{"switchChannel":"red5pro"}"#));
    client.send_frame(Frame::empty_close());
    assert_eq!(node.read_frame(), Frame::text(r#"{"switchChannel":"red5pro"}"#));
    assert_eq!(node.read_frame(), Frame::empty_close());
    node.send_frame(Frame::empty_close());
    assert_eq!(client.read_frame(), Frame::empty_close());
    client.expect_end();
    node.expect_end();
    bed.gateway.terminate();
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn the_main_flow_works_on_epoll() {
    main_flow("epoll");
}

#[test]
fn the_main_flow_works_on_io_uring_where_it_is_available() {
    if io_uring::IoUring::new(8).is_ok() {
        return main_flow("io_uring");
    }
    // without io_uring the gateway must refuse to start instead of serving with another driver than the configured one
    let workspace = Workspace::claim();
    let _manager = HttpPeer::start(workspace.manager());
    let mut config = crate::harness::Config::new(&workspace);
    config.set("gateway.driver", "io_uring");
    let mut gateway = Gateway::spawn(&workspace, &config);
    assert_ne!(gateway.wait_for_exit().code(), Some(0));
    assert!(gateway.stderr().contains("io_uring"), "{}", gateway.stderr());
}

#[test]
fn the_gateway_chooses_a_driver_and_says_which() {
    let bed = TestBed::start();
    let drivers =
        ["io_uring", "epoll"].map(|driver| bed.gateway.metric("tidegate_info", &[("driver", driver)]));
    assert_eq!(drivers.iter().sum::<f64>(), 1.0);
    let named = ["io_uring", "epoll"][usize::from(drivers[0] == 0.0)];
    eventually("the log names the driver", || bed.gateway.stderr().contains(named));
}
